//! Which microphones there are, as FFmpeg's devices: PulseAudio (which PipeWire answers to, too), ALSA, AVFoundation,
//! DirectShow.

use std::ffi::{CStr, CString, c_char};

use anyhow::{Result, bail};
use ffmpeg_next as av;

use super::ffmpeg;

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
    start()?;
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
    start()?;
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
        (_, true) => bail!("no microphone `{choice}`"),
        (_, false) => bail!("no microphone `{choice}` (known: {})", names.join(", ")),
    }
}

fn start() -> Result<()> {
    ffmpeg::start()?;
    av::device::register_all();
    Ok(())
}

/// FFmpeg's input `name`, if it has such a device.
pub(super) fn input_format(name: &str) -> Option<av::Format> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string that outlives the call; formats live as long as the program.
    let found = unsafe { av::ffi::av_find_input_format(name.as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: a format that was found; its class is static, or none for formats that are no devices.
    let class = unsafe { (*found).priv_class.as_ref() }?;
    use av::ffi::AVClassCategory::{
        AV_CLASS_CATEGORY_DEVICE_AUDIO_INPUT, AV_CLASS_CATEGORY_DEVICE_INPUT,
    };
    let is_device = matches!(
        class.category,
        AV_CLASS_CATEGORY_DEVICE_AUDIO_INPUT | AV_CLASS_CATEGORY_DEVICE_INPUT
    );
    // SAFETY: as above.
    is_device.then(|| av::Format::Input(unsafe { av::format::Input::wrap(found.cast_mut()) }))
}

/// What the device `name` can listen to; nothing where it does not answer or cannot tell.
fn sources(name: &str, usual: Option<&str>, prefix: &str) -> Vec<Microphone> {
    let Some(av::Format::Input(format)) = input_format(name) else {
        return Vec::new();
    };
    let mut list = std::ptr::null_mut();
    // SAFETY: the format is live; the call takes nulls for what is not given, and fills in the list.
    let count = unsafe {
        av::ffi::avdevice_list_input_sources(
            format.as_ptr(),
            std::ptr::null(),
            std::ptr::null_mut(),
            &mut list,
        )
    };
    if count == av::ffi::AVERROR(av::ffi::ENOSYS)
        && let Some(usual) = usual
    {
        return vec![Microphone {
            name: "the usual microphone".to_string(),
            is_usual: true,
            device: name.to_string(),
            url: usual.to_string(),
        }];
    }
    if count <= 0 || list.is_null() {
        return Vec::new();
    }
    // SAFETY: the list was filled in, with as many live devices as it says.
    let (devices, chosen) = unsafe {
        let filled = &*list;
        let count = filled.nb_devices.max(0) as usize;
        (
            std::slice::from_raw_parts(filled.devices, count),
            filled.default_device,
        )
    };
    let text = |text: *const c_char| match text.is_null() {
        true => String::new(),
        // SAFETY: not null, so a C string of the list.
        false => unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned(),
    };
    let mut found = Vec::new();
    for (place, &device) in devices.iter().enumerate() {
        // SAFETY: as above.
        let (url, words) = unsafe {
            (
                text((*device).device_name),
                text((*device).device_description),
            )
        };
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        found.push(Microphone {
            name: if words.is_empty() { url.clone() } else { words },
            is_usual: place as i32 == chosen || Some(url.as_str()) == usual,
            device: name.to_string(),
            url: format!("{prefix}{url}"),
        });
    }
    // SAFETY: the list came from FFmpeg and is not used any more.
    unsafe { av::ffi::avdevice_free_list_devices(&mut list) };
    found
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
