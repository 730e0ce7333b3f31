//! The few calls of Video4Linux that no library of this program offers: what a device is, and
//! setting its format and frame rate.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Kind of a stream: frames from a camera.
#[cfg(feature = "webcam")]
pub(super) const CAPTURE: u32 = 1;

/// Kind of a stream: frames to a device.
pub(super) const OUTPUT: u32 = 2;

/// Capability: takes frames.
pub(super) const CAP_OUTPUT: u32 = 0x2;

/// Capability: takes or gives frames by `write` and `read`.
pub(super) const CAP_READ_WRITE: u32 = 0x0100_0000;

/// Capability: `device_caps` says what this node can do, rather than the whole device.
const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

/// Whole frames rather than fields.
const FIELD_NONE: u32 = 1;

/// Colours of BT.601, limited range.
const COLORSPACE_SMPTE170M: u32 = 1;

/// `struct v4l2_capability`.
#[repr(C)]
#[derive(Default)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus_info: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_pix_format`, as far as devices look at it; it ends the union below.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PixFormat {
    pub width: u32,
    pub height: u32,
    pub fourcc: u32,
    pub field: u32,
    pub bytes_per_line: u32,
    pub size: u32,
    pub colorspace: u32,
    rest: [u32; 5],
}

/// `struct v4l2_format`: its union has 200 bytes and the alignment of a pointer.
#[repr(C)]
struct Format {
    kind: u32,
    union: FormatUnion,
}

#[repr(C)]
union FormatUnion {
    pix: PixFormat,
    raw: [usize; 200 / size_of::<usize>()],
}

/// `struct v4l2_streamparm` with the fields that captures and outputs share.
#[repr(C)]
struct StreamParameters {
    kind: u32,
    capability: u32,
    mode: u32,
    numerator: u32,
    denominator: u32,
    rest: [u32; 46],
}

/// Direction bits of an ioctl number on x86, Arm and RISC-V.
const READ: u64 = 2;
const WRITE: u64 = 1;

const QUERY_CAPABILITY: u64 = number(READ, 0, size_of::<Capability>());
const SET_FORMAT: u64 = number(READ | WRITE, 5, size_of::<Format>());
const SET_PARAMETERS: u64 = number(READ | WRITE, 22, size_of::<StreamParameters>());

const fn number(direction: u64, command: u64, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | (b'V' as u64) << 8 | command
}

unsafe extern "C" {
    fn ioctl(fd: i32, request: std::ffi::c_ulong, ...) -> i32;
}

/// Calls the driver of `device` with `argument`, which it reads and fills.
///
/// # Safety
/// `T` must be the structure that the kernel expects for `request`, valid for every bit pattern.
unsafe fn call<T>(device: &File, request: u64, argument: &mut T) -> io::Result<()> {
    // SAFETY: the descriptor is open for the borrow of `device`; the pointer is valid for reads and
    // writes of the size that `request` carries, as the caller promises.
    let answer = unsafe {
        ioctl(
            device.as_raw_fd(),
            request as std::ffi::c_ulong,
            std::ptr::from_mut(argument),
        )
    };
    match answer {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What a device is called, and its capabilities (`CAP_...`).
pub(super) fn capabilities(device: &File) -> io::Result<(String, u32)> {
    let mut answer = Capability::default();
    // SAFETY: VIDIOC_QUERYCAP fills this structure of integers.
    unsafe { call(device, QUERY_CAPABILITY, &mut answer)? };
    let end = answer.card.iter().position(|&b| b == 0);
    let name = String::from_utf8_lossy(&answer.card[..end.unwrap_or(32)]).into_owned();
    let capabilities = match answer.capabilities & CAP_DEVICE_CAPS {
        0 => answer.capabilities,
        _ => answer.device_caps,
    };
    Ok((name, capabilities))
}

/// Asks for frames of `width` x `height` pixels in the format of four letters `fourcc`; returns
/// what the driver made of it.
pub(super) fn set_format(
    device: &File,
    kind: u32,
    size: (u32, u32),
    fourcc: [u8; 4],
) -> io::Result<PixFormat> {
    let mut format = Format {
        kind,
        union: FormatUnion {
            raw: [0; 200 / size_of::<usize>()],
        },
    };
    format.union.pix = PixFormat {
        width: size.0,
        height: size.1,
        fourcc: u32::from_le_bytes(fourcc),
        field: FIELD_NONE,
        colorspace: COLORSPACE_SMPTE170M,
        ..PixFormat::default()
    };
    // SAFETY: VIDIOC_S_FMT reads and fills this structure of integers; for the two kinds above the
    // union holds the pixel format.
    unsafe {
        call(device, SET_FORMAT, &mut format)?;
        Ok(format.union.pix)
    }
}

/// Asks for a frame every `numerator / denominator` seconds.
pub(super) fn set_interval(device: &File, kind: u32, interval: (u32, u32)) -> io::Result<()> {
    let mut parameters = StreamParameters {
        kind,
        capability: 0,
        mode: 0,
        numerator: interval.0,
        denominator: interval.1,
        rest: [0; 46],
    };
    // SAFETY: VIDIOC_S_PARM reads and fills this structure of integers.
    unsafe { call(device, SET_PARAMETERS, &mut parameters) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_numbers_are_those_of_the_kernel() {
        assert_eq!(QUERY_CAPABILITY, 0x8068_5600);
        assert_eq!(SET_FORMAT, 0xc0d0_5605);
        assert_eq!(SET_PARAMETERS, 0xc0cc_5616);
    }

    #[test]
    fn a_file_is_no_device() -> io::Result<()> {
        let file = tempfile::tempfile()?;
        assert!(capabilities(&file).is_err());
        Ok(())
    }
}
