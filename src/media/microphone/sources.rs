//! Which microphones there are, as FFmpeg's devices: PulseAudio (which PipeWire answers to, too), ALSA, AVFoundation,
//! DirectShow.

use anyhow::{Result, bail};

use crate::media::ffmpeg::devices::{self, Answer, Source, input_format};

/// What stands for the microphone that the system uses when none is named.
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

/// A microphone that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Microphone {
    /// Its name, for people.
    pub name: String,
    /// Whether it is the one that the system uses when none is named.
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
    if !found.iter().any(|microphone| microphone.is_usual)
        && let Some(first) = found.first_mut()
    {
        first.is_usual = true;
    }
    Ok(found)
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
