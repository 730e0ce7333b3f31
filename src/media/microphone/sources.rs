//! Which microphones there are, as FFmpeg's devices: PulseAudio (which PipeWire answers to, too), ALSA, AVFoundation,
//! DirectShow.

use anyhow::{Result, bail};

use crate::media::ffmpeg::devices::{self, Answer, Source, input_format};

/// What stands for the microphone that is used when none is named.
pub const DEFAULT: &str = "default";

/// FFmpeg's devices that microphones are looked for with, in this order, the names that stand for the usual one,
/// where there are such, and what comes before a name.
const DEVICES: &[(&str, Option<&str>, &str)] = if cfg!(target_os = "macos") {
    &[("avfoundation", Some(":default"), ":")]
} else if cfg!(windows) {
    &[("dshow", None, "audio=")]
} else {
    &[
        ("pulse", Some("default"), ""),
        ("alsa", Some("default"), ""),
    ]
};

/// How the names of PulseAudio's sources end that hear what the computer plays.
const MONITOR: &str = ".monitor";

/// A microphone that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Microphone {
    /// Its name, for people.
    pub name: String,
    /// Whether it is the one that is used when none is named: the system's choice, or the first.
    pub is_usual: bool,
    /// FFmpeg's name of the kind of device that it is.
    pub(super) device: String,
    /// What opens it there.
    pub(super) url: String,
}

/// The microphones that are there.
pub fn list() -> Result<Vec<Microphone>> {
    devices::load()?;
    let mut found = Vec::new();
    for &(device, usual, prefix) in DEVICES {
        if device == "alsa" && (!found.is_empty() || !has_card()) {
            continue; // the sound server has them all; without a card ALSA writes many lines to stderr
        }
        found.extend(sources(device, usual, prefix));
    }
    choose_usual(&mut found);
    Ok(found)
}

/// Takes the first one where the system names none. What the computer plays, as PulseAudio's monitors have it, is the
/// usual one of a computer without a microphone, and nobody means to record that.
fn choose_usual(found: &mut [Microphone]) {
    let is_heard = |microphone: &Microphone| !microphone.url.ends_with(MONITOR);
    for microphone in found.iter_mut() {
        microphone.is_usual &= is_heard(microphone);
    }
    if !found.iter().any(|microphone| microphone.is_usual)
        && let Some(first) = found.iter_mut().find(|microphone| is_heard(microphone))
    {
        first.is_usual = true;
    }
}

/// The microphone that `choice` means: [`DEFAULT`], a part of a name in whatever case, or `DEVICE:NAME` as FFmpeg
/// has them. Fails in one line when there is none.
pub fn find(choice: &str) -> Result<Microphone> {
    devices::load()?;
    let direct = choice.split_once(':');
    if let Some((device, url)) = direct.filter(|(device, _)| input_format(device).is_some()) {
        return Ok(Microphone {
            name: choice.to_string(),
            is_usual: false,
            device: device.to_string(),
            url: url.to_string(),
        });
    }
    let known = list()?;
    let wanted = choice.to_lowercase();
    let fits = |microphone: &&Microphone| match choice {
        DEFAULT => microphone.is_usual,
        _ => microphone.name.to_lowercase().contains(&wanted),
    };
    if let Some(microphone) = known.iter().find(fits) {
        return Ok(microphone.clone());
    }
    let names: Vec<_> = known.iter().map(|one| one.name.as_str()).collect();
    match (choice, names.is_empty()) {
        (DEFAULT, _) => bail!("no microphone"),
        (_, true) => bail!("no microphone `{choice}`: there is none"),
        (_, false) => bail!("no microphone `{choice}` (known: {})", names.join(", ")),
    }
}

/// What `device` can listen to; nothing where it does not answer.
fn sources(device: &str, usual: Option<&str>, prefix: &str) -> Vec<Microphone> {
    let microphone = |source: Source| Microphone {
        is_usual: source.is_usual || Some(source.url.as_str()) == usual,
        name: source.name,
        device: device.to_string(),
        url: format!("{prefix}{}", source.url),
    };
    match (devices::sources(device), usual) {
        (Answer::Sources(sources), _) => sources.into_iter().map(microphone).collect(),
        (Answer::CannotTell, Some(usual)) => vec![Microphone {
            name: "the usual microphone".to_string(),
            is_usual: true,
            device: device.to_string(),
            url: usual.to_string(),
        }],
        (Answer::CannotTell, None) => Vec::new(),
    }
}

/// Whether Linux has a sound card that records.
fn has_card() -> bool {
    let nodes = std::fs::read_dir("/dev/snd")
        .into_iter()
        .flatten()
        .flatten();
    let mut names = nodes.map(|node| node.file_name().to_string_lossy().into_owned());
    names.any(|name| name.starts_with("pcm") && name.ends_with('c'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place of the usual one of these, of which the system names the one at `usual`.
    fn chosen(urls: &[&str], usual: Option<usize>) -> Option<usize> {
        let microphone = |(place, url): (usize, &&str)| Microphone {
            name: "Monitor of Built-in Audio".to_string(),
            is_usual: Some(place) == usual,
            device: "pulse".to_string(),
            url: url.to_string(),
        };
        let mut found: Vec<_> = urls.iter().enumerate().map(microphone).collect();
        choose_usual(&mut found);
        assert!(found.iter().filter(|one| one.is_usual).count() <= 1);
        found.iter().position(|one| one.is_usual)
    }

    #[test]
    fn what_the_computer_plays_is_nobodys_usual_microphone() {
        let monitor = "alsa_output.pci-0000_00_1f.3.analog-stereo.monitor";
        assert_eq!(chosen(&["a", "b"], Some(1)), Some(1));
        assert_eq!(chosen(&["a", "b"], None), Some(0));
        assert_eq!(chosen(&[monitor, "b"], Some(0)), Some(1));
        assert_eq!(chosen(&[monitor], Some(0)), None);
        assert_eq!(chosen(&[monitor], None), None);
    }
}
