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

/// AVDeviceInfo of libavdevice/avdevice.h, as far as it is looked at.
#[repr(C)]
struct DeviceInfo {
    name: *const c_char,
    description: *const c_char,
}

/// AVDeviceInfoList of the same.
#[repr(C)]
struct DeviceInfoList {
    devices: *const *const DeviceInfo,
    count: c_int,
    usual: c_int,
}

/// The functions of libavdevice that are called, of FFmpeg 4 to 8.
struct Devices {
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
        open(&name).map_err(|_| format!("no microphone: `{name}` of FFmpeg is not installed"))
    });
    loaded.as_ref().map_err(|words| anyhow!("{words}"))
}

fn open(name: &str) -> Result<Devices, libloading::Error> {
    // SAFETY: a library of FFmpeg, of the release that the program is linked with, whose start-up does nothing
    // but what its dependencies do. The types are those of its header. It is never unloaded.
    unsafe {
        let library = Box::leak(Box::new(Library::new(name)?));
        let register = library.get::<unsafe extern "C" fn()>(b"avdevice_register_all\0")?;
        register();
        Ok(Devices {
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

/// What the device `name` can listen to.
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
    // SAFETY: the list was filled in, with as many live devices as it says.
    let (found, usual) = unsafe {
        let filled = &*list;
        let count = filled.count.max(0) as usize;
        (
            std::slice::from_raw_parts(filled.devices, count),
            filled.usual,
        )
    };
    let sources = found.iter().enumerate().map(|(place, &device)| {
        // SAFETY: as above; the names are C strings, or null.
        let (url, words) = unsafe { (text((*device).name), text((*device).description)) };
        Source {
            name: if words.is_empty() { url.clone() } else { words },
            is_usual: place as c_int == usual,
            url,
        }
    });
    let sources = sources.collect();
    // SAFETY: the list came from FFmpeg and is not used any more.
    unsafe { (devices.free)(&mut list) };
    Answer::Sources(sources)
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
