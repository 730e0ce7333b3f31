//! Whether a video file is whole, by the sizes that the outermost parts of mp4, mov and Matroska
//! files state. Other containers, and files that state no sizes, pass.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::folders::quoted;

/// Parts of mp4 and mov files at their outermost level, as four letters each.
const PARTS: [&[u8; 4]; 8] = [
    b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"uuid",
];

/// First bytes of a Matroska file, and of the one part that holds all else.
const MATROSKA: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
const SEGMENT: [u8; 4] = [0x18, 0x53, 0x80, 0x67];

/// Fails when `path` ends before one of its parts does, as broken-off downloads do.
pub fn ensure_whole(path: &Path) -> Result<()> {
    let name = path.display();
    let failed = || format!("could not read `{name}`");
    let mut file = File::open(path).with_context(failed)?;
    let length = file.metadata().with_context(failed)?.len();
    let promised = promised_length(&mut file, length).unwrap_or(length);
    ensure!(
        promised <= length,
        "`{name}` is cut off after {length} of {promised} bytes: get the whole file, or save what is \
         left of it first: ffmpeg -i {} -c copy rest.mkv",
        quoted(&name.to_string())
    );
    Ok(())
}

/// The length that a file of `length` bytes should have; `None` where it does not tell.
fn promised_length(file: &mut (impl Read + Seek), length: u64) -> Option<u64> {
    let (mut start, mut end) = (0, None);
    while start < length {
        file.seek(SeekFrom::Start(start)).ok()?;
        let mut head = [0; 16];
        let read = read_up_to(file, &mut head);
        let head = &head[..read];
        let part_end = match start {
            0 if head.starts_with(&MATROSKA) => return matroska(file),
            _ => start.checked_add(part_length(head)?)?,
        };
        end = Some(part_end);
        start = part_end;
    }
    end
}

/// Length of the part of an mp4 or mov file that begins with `head`; `None` when it reaches to the
/// end of the file or is none.
fn part_length(head: &[u8]) -> Option<u64> {
    let kind = head.get(4..8)?;
    if !PARTS.iter().any(|part| part.as_slice() == kind) {
        return None;
    }
    let short = u32::from_be_bytes(head[..4].try_into().ok()?);
    let (length, least) = match short {
        1 => (u64::from_be_bytes(head.get(8..16)?.try_into().ok()?), 16),
        _ => (u64::from(short), 8),
    };
    (length >= least).then_some(length)
}

/// Length of a Matroska file as its segment tells; `None` for live streams, which do not.
fn matroska(file: &mut (impl Read + Seek)) -> Option<u64> {
    file.seek(SeekFrom::Start(MATROSKA.len() as u64)).ok()?;
    let header = element_size(file)?;
    let segment = file.stream_position().ok()?.checked_add(header)?;
    file.seek(SeekFrom::Start(segment)).ok()?;
    let mut kind = [0; 4];
    file.read_exact(&mut kind).ok()?;
    let size = (kind == SEGMENT).then(|| element_size(file))??;
    file.stream_position().ok()?.checked_add(size)
}

/// A size of Matroska: as many bytes as the first one has leading zeros, and one; all ones is unknown.
fn element_size(file: &mut impl Read) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes[..1]).ok()?;
    let more = bytes[0].leading_zeros() as usize;
    file.read_exact(bytes.get_mut(1..=more)?).ok()?;
    let bits = 7 * (more + 1);
    let value = u64::from_be_bytes(bytes) >> (8 * (7 - more)) & ((1 << bits) - 1);
    (value != (1 << bits) - 1).then_some(value)
}

/// Fills as much of `bytes` as there is; says how much.
fn read_up_to(file: &mut impl Read, bytes: &mut [u8]) -> usize {
    let mut read = 0;
    while let Ok(more @ 1..) = file.read(&mut bytes[read..]) {
        read += more;
    }
    read
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn promised(bytes: &[u8]) -> Option<u64> {
        promised_length(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    fn part(kind: &[u8; 4], content: usize) -> Vec<u8> {
        let length = (content as u32 + 8).to_be_bytes();
        [&length, kind.as_slice(), &vec![0; content]].concat()
    }

    #[test]
    fn an_mp4_promises_the_end_of_its_last_part() {
        let whole = [part(b"ftyp", 12), part(b"moov", 30), part(b"mdat", 100)].concat();
        let length = whole.len() as u64;
        assert_eq!(promised(&whole), Some(length));
        assert_eq!(promised(&whole[..length as usize - 1]), Some(length));
        assert_eq!(promised(&whole[..60]), None, "the head of a part is cut");
        let mut long = part(b"ftyp", 12);
        long.extend(
            [
                &1u32.to_be_bytes(),
                b"mdat".as_slice(),
                &(1u64 << 40).to_be_bytes(),
            ]
            .concat(),
        );
        assert_eq!(promised(&long), Some(20 + (1 << 40)));
        let open = [
            part(b"ftyp", 12),
            [&[0; 4], b"mdat".as_slice(), &[0; 50]].concat(),
        ]
        .concat();
        assert_eq!(promised(&open), None, "to the end of the file");
    }

    #[test]
    fn a_matroska_file_promises_the_end_of_its_segment_if_it_knows_it() {
        let begin = |size: &[u8]| [&MATROSKA, [0x82, 1, 2].as_slice(), &SEGMENT, size].concat();
        assert_eq!(promised(&begin(&[0x40, 200])), Some(13 + 200));
        assert_eq!(
            promised(&begin(&[1, 0, 0, 0, 0, 1, 0, 0])),
            Some(19 + 65536)
        );
        assert_eq!(promised(&begin(&[0xff])), None);
        assert_eq!(
            promised(&begin(&[1, 255, 255, 255, 255, 255, 255, 255])),
            None
        );
        assert_eq!(promised(&begin(&[0])), None);
    }

    #[test]
    fn other_files_promise_nothing() {
        for bytes in [
            b"".as_slice(),
            b"abc",
            b"a text that is no film at all",
            &[0; 64],
        ] {
            assert_eq!(promised(bytes), None);
        }
    }
}
