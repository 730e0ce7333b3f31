//! How long the pictures of a DVD's subtitles are shown, which they say themselves.

/// Of pictures that do not say it, in microseconds.
const USUAL: i64 = 5_000_000;

/// Microseconds in a tick of their clock, 1024 of 90 kHz.
const TICK: i64 = 11_378;

/// How long the picture of `packet` is shown, in microseconds: up to its command to stop.
pub(super) fn shown(packet: &[u8]) -> i64 {
    stop(packet).map_or(USUAL, |ticks| i64::from(ticks) * TICK)
}

/// The time of the command to stop. Commands come in chains of a time each; the first chain lies where the second
/// word of the packet says, and each says where the next one lies.
fn stop(packet: &[u8]) -> Option<u16> {
    let word = |at: usize| {
        let bytes = packet.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let mut chain = usize::from(word(2)?);
    loop {
        let (time, next) = (word(chain)?, usize::from(word(chain + 2)?));
        let mut at = chain + 4;
        loop {
            at += match packet.get(at)? {
                0x00 | 0x01 => 1,                      // shown
                0x02 if time > 0 => return Some(time), // no longer shown
                0x03 | 0x04 => 3,                      // colours, contrasts
                0x05 => 7,                             // place
                0x06 => 5,                             // where the rows lie
                0x07 => 1 + usize::from(word(at + 1)?),
                _ => break,
            };
        }
        if next <= chain {
            return None; // the last one
        }
        chain = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_say_how_long_they_are_shown() {
        let begin = [0x03, 1, 2, 0x04, 1, 2, 0x01, 0xff];
        let packet = |chains: &[u8]| [&[0, 40, 0, 5, 9][..], chains].concat();
        // The first chain takes 12 bytes from 5 on.
        let first = [&[0, 0, 0, 17][..], &begin].concat();
        let end = [0x00, 0xb0, 0, 17, 0x02, 0xff];
        let whole = packet(&[&first[..], &end].concat());
        assert_eq!(shown(&whole), 176 * TICK, "two seconds");
        let endless = packet(&[&[0, 0, 0, 5][..], &begin].concat());
        assert_eq!(shown(&endless), USUAL);
        for length in 0..whole.len() - 1 {
            assert_eq!(shown(&whole[..length]), USUAL, "cut off at {length}");
        }
    }
}
