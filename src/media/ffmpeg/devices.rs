//! FFmpeg's devices. Their library, libavdevice, is loaded when one is first asked for: it brings some fifty others,
//! which would make every start of the program 30 ms longer, and need not be installed.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use ffmpeg_next as av;
use libloading::Library;

use crate::media::ffmpeg;

/// What a device said of what it can listen to.
pub(in crate::media) enum Answer {
    /// These; none where it does not answer.
    Sources(Vec<Source>),
    /// That it does not know.
    CannotTell,
}

/// Something that a device can listen to.
pub(in crate::media) struct Source {
    /// What opens it.
    pub url: String,
    /// Its name for people, in one line.
    pub name: String,
    /// Whether the device calls it the usual one.
    pub is_usual: bool,
}

/// AVDeviceInfo of libavdevice/avdevice.h, as FFmpeg 4 has it.
#[repr(C)]
struct DeviceInfo {
    name: *const c_char,
    description: *const c_char,
}

/// The same from FFmpeg 5 on.
#[repr(C)]
struct KnownDeviceInfo {
    info: DeviceInfo,
    /// What it can send, as AVMediaType has it; null where it does not say.
    kinds: *const c_int,
    kinds_count: c_int,
}

/// The number of the first libavdevice whose devices say what they can send: that of FFmpeg 5.
const WITH_KINDS: u32 = 59;

/// AVDeviceInfoList of the same.
#[repr(C)]
struct DeviceInfoList {
    devices: *const *const DeviceInfo,
    count: c_int,
    usual: c_int,
}

/// The functions of libavdevice that are called, of FFmpeg 4 to 8.
struct Devices {
    has_kinds: bool,
    list: unsafe extern "C" fn(
        *const av::ffi::AVInputFormat,
        *const c_char,
        *mut c_void,
        *mut *mut DeviceInfoList,
    ) -> c_int,
    free: unsafe extern "C" fn(*mut *mut DeviceInfoList),
}

/// Makes FFmpeg's devices known to it. Fails where their library is not installed.
pub(in crate::media) fn load() -> Result<()> {
    devices().map(drop)
}

fn devices() -> Result<&'static Devices> {
    static DEVICES: OnceLock<Result<Devices, String>> = OnceLock::new();
    ffmpeg::start()?;
    let loaded = DEVICES.get_or_init(|| {
        // It has the number of libavformat, with which it is released.
        let number = av::format::version() >> 16;
        let name = if cfg!(target_os = "macos") {
            format!("libavdevice.{number}.dylib")
        } else if cfg!(windows) {
            format!("avdevice-{number}.dll")
        } else {
            format!("libavdevice.so.{number}")
        };
        open(&name, number >= WITH_KINDS)
            .map_err(|_| format!("no microphone: `{name}` of FFmpeg is not installed"))
    });
    loaded.as_ref().map_err(|words| anyhow!("{words}"))
}

fn open(name: &str, has_kinds: bool) -> Result<Devices, libloading::Error> {
    // SAFETY: a library of FFmpeg, of the release that the program is linked with, whose start-up does nothing
    // but what its dependencies do. The types are those of its header. It is never unloaded.
    unsafe {
        let library = Box::leak(Box::new(Library::new(name)?));
        let register = library.get::<unsafe extern "C" fn()>(b"avdevice_register_all\0")?;
        register();
        Ok(Devices {
            has_kinds,
            list: *library.get(b"avdevice_list_input_sources\0")?,
            free: *library.get(b"avdevice_free_list_devices\0")?,
        })
    }
}

/// FFmpeg's input `name`, if it is a device that hears.
pub(in crate::media) fn input_format(name: &str) -> Option<av::Format> {
    use av::ffi::AVClassCategory::{
        AV_CLASS_CATEGORY_DEVICE_AUDIO_INPUT, AV_CLASS_CATEGORY_DEVICE_INPUT,
    };
    let name = CString::new(name).ok()?;
    // SAFETY: the name is a C string that outlives the call; formats live as long as the program.
    let found = unsafe { av::ffi::av_find_input_format(name.as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: a format that was found; its class is static, or none for formats that are no devices.
    let class = unsafe { (*found).priv_class.as_ref() }?;
    let is_device = matches!(
        class.category,
        AV_CLASS_CATEGORY_DEVICE_AUDIO_INPUT | AV_CLASS_CATEGORY_DEVICE_INPUT
    );
    // SAFETY: as above.
    is_device.then(|| av::Format::Input(unsafe { av::format::Input::wrap(found as *mut _) }))
}

/// What the device `name` can listen to: DirectShow lists cameras beside microphones.
pub(in crate::media) fn sources(name: &str) -> Answer {
    let (Some(av::Format::Input(format)), Ok(devices)) = (input_format(name), devices()) else {
        return Answer::Sources(Vec::new());
    };
    let mut list = null_mut();
    // SAFETY: the format is live; the call takes nulls for what is not given, and fills in the list.
    let count = unsafe { (devices.list)(format.as_ptr(), null(), null_mut(), &mut list) };
    if count == av::ffi::AVERROR(av::ffi::ENOSYS) {
        return Answer::CannotTell;
    }
    if count <= 0 || list.is_null() {
        return Answer::Sources(Vec::new());
    }
    // SAFETY: the list was filled in, with as many live devices as it says, of the kind that this release has.
    let sources = unsafe { heard(&*list, devices.has_kinds) };
    // SAFETY: the list came from FFmpeg and is not used any more.
    unsafe { (devices.free)(&mut list) };
    Answer::Sources(sources)
}

/// Those of a list that send sound, or do not say what they send.
///
/// # Safety
///
/// The list must hold as many live devices as it says, [`KnownDeviceInfo`] if it `has_kinds`.
unsafe fn heard(list: &DeviceInfoList, has_kinds: bool) -> Vec<Source> {
    if list.devices.is_null() || list.count <= 0 {
        return Vec::new();
    }
    // SAFETY: as the caller promises.
    let found = unsafe { std::slice::from_raw_parts(list.devices, list.count as usize) };
    let source = |(place, &device): (usize, &*const DeviceInfo)| {
        // SAFETY: a live device, as the caller promises.
        if has_kinds && !unsafe { sends_sound(&*device.cast()) } {
            return None;
        }
        // SAFETY: as above; the names are C strings, or null.
        let (url, words) = unsafe { (text((*device).name), text((*device).description)) };
        Some(Source {
            name: if words.is_empty() { url.clone() } else { words },
            is_usual: place as c_int == list.usual,
            url,
        })
    };
    found.iter().enumerate().filter_map(source).collect()
}

/// Whether a device sends sound, or does not say what it sends.
///
/// # Safety
///
/// It must have as many kinds as it says.
unsafe fn sends_sound(device: &KnownDeviceInfo) -> bool {
    if device.kinds.is_null() || device.kinds_count <= 0 {
        return true;
    }
    // SAFETY: as the caller promises.
    let kinds = unsafe { std::slice::from_raw_parts(device.kinds, device.kinds_count as usize) };
    kinds.contains(&(av::ffi::AVMediaType::AVMEDIA_TYPE_AUDIO as c_int))
}

/// `text` in one line; empty where it is null.
///
/// # Safety
///
/// It must be null or a C string.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, so a C string, as the caller promises.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard of devices of these names and kinds, of which the first is the usual one.
    fn heard_of(devices: &[(&CStr, &[c_int])], has_kinds: bool) -> Vec<(String, bool)> {
        let info = |&(name, kinds): &(&CStr, &[c_int])| KnownDeviceInfo {
            info: DeviceInfo {
                name: name.as_ptr(),
                description: null(),
            },
            kinds: if kinds.is_empty() {
                null()
            } else {
                kinds.as_ptr()
            },
            kinds_count: kinds.len() as c_int,
        };
        let infos: Vec<_> = devices.iter().map(info).collect();
        let pointers: Vec<*const DeviceInfo> =
            infos.iter().map(|i| (&raw const *i).cast()).collect();
        let list = DeviceInfoList {
            devices: pointers.as_ptr(),
            count: pointers.len() as c_int,
            usual: 0,
        };
        // SAFETY: the list holds these devices, which outlive the call.
        let found = unsafe { heard(&list, has_kinds) };
        found
            .into_iter()
            .map(|source| (source.url, source.is_usual))
            .collect()
    }

    #[test]
    fn cameras_among_the_devices_are_no_microphones() {
        let (video, audio) = (0, 1); // of libavutil/avutil.h
        let devices: &[(&CStr, &[c_int])] = &[
            (c"webcam", &[video]),
            (c"microphone", &[audio]),
            (c"capture card", &[audio, video]),
            (c"unknown", &[]),
        ];
        let names = |has_kinds| {
            let found = heard_of(devices, has_kinds);
            found.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(true), ["microphone", "capture card", "unknown"]);
        assert_eq!(names(false).len(), 4, "FFmpeg 4 does not tell");
        let usual = heard_of(&devices[1..], true);
        assert_eq!(usual[0], ("microphone".to_string(), true));
        assert!(heard_of(devices, true).iter().all(|(_, usual)| !usual));
    }
}
