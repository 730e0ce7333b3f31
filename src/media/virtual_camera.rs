//! A camera that other programs see: frames to a V4L2 output device, such as v4l2loopback's.

#[cfg(target_os = "linux")]
pub use linux::VirtualCamera;
#[cfg(not(target_os = "linux"))]
pub use other::VirtualCamera;

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{File, OpenOptions};
    use std::io::{ErrorKind, Write};
    use std::path::{Path, PathBuf};

    use anyhow::{Context, Result, bail, ensure};

    use super::super::{FrameSink, v4l2};
    use super::fill_yuyv;
    use crate::frame::Frame;
    use crate::scale::Scaler;

    /// A V4L2 output device.
    pub struct VirtualCamera {
        path: PathBuf,
        device: File,
        size: (usize, usize),
        bytes_per_line: usize,
        bytes: Vec<u8>,
        scaler: Scaler,
        scaled: Frame,
    }

    impl VirtualCamera {
        /// Opens the device for frames of `size` (both even) at `rate` frames a second (a
        /// fraction), as YUYV. A device that insists on another size gets frames scaled to it.
        pub fn open(path: &Path, size: (usize, usize), rate: (i32, i32)) -> Result<Self> {
            let name = path.display();
            let device = match OpenOptions::new().read(true).write(true).open(path) {
                Ok(device) => device,
                Err(error) => bail!("{}", explain(path, &error)),
            };
            let (card, capabilities) = v4l2::capabilities(&device)
                .with_context(|| format!("`{name}` is not a video device"))?;
            ensure!(
                capabilities & v4l2::CAP_OUTPUT != 0,
                "`{name}` ({card}) is a camera, not an output: {}",
                modprobe(path)
            );
            ensure!(
                capabilities & v4l2::CAP_READ_WRITE != 0,
                "`{name}` ({card}) takes no frames by writing: {}",
                modprobe(path)
            );
            let wanted = (size.0 as u32, size.1 as u32);
            let format = v4l2::set_format(&device, v4l2::OUTPUT, wanted, *b"YUYV")
                .with_context(|| format!("`{name}` ({card}) refuses {}x{}", size.0, size.1))?;
            let (width, height) = (format.width as usize, format.height as usize);
            ensure!(
                format.fourcc == u32::from_le_bytes(*b"YUYV") && width >= 2 && height >= 1,
                "`{name}` ({card}) takes no YUYV: {}",
                modprobe(path)
            );
            // Most loopback devices know no frame rate: readers get frames as they are written.
            let interval = (rate.1.max(1) as u32, rate.0.max(1) as u32);
            let _ = v4l2::set_interval(&device, v4l2::OUTPUT, interval);
            Ok(Self {
                path: path.to_path_buf(),
                device,
                size: (width / 2 * 2, height),
                bytes_per_line: (format.bytes_per_line as usize).max(width / 2 * 4),
                bytes: Vec::new(),
                scaler: Scaler::default(),
                scaled: Frame::default(),
            })
        }
    }

    impl FrameSink for VirtualCamera {
        fn write(&mut self, frame: &Frame) -> Result<()> {
            let frame = if (frame.width, frame.height) == self.size {
                frame
            } else {
                self.scaler.run(frame, self.size, false, &mut self.scaled)?;
                &self.scaled
            };
            self.bytes.resize(self.bytes_per_line * frame.height, 0);
            fill_yuyv(frame, self.bytes_per_line, &mut self.bytes);
            self.device
                .write_all(&self.bytes)
                .with_context(|| format!("could not write to `{}`", self.path.display()))
        }
    }

    fn explain(path: &Path, error: &std::io::Error) -> String {
        let name = path.display();
        match error.kind() {
            ErrorKind::NotFound => format!("no virtual camera `{name}`: {}", modprobe(path)),
            ErrorKind::PermissionDenied => format!(
                "no permission for `{name}`: add yourself to its group with `sudo usermod -aG video \
                 $USER` and log in again"
            ),
            ErrorKind::ResourceBusy => {
                format!("`{name}` is in use by another program: close that first")
            }
            _ => format!("could not open virtual camera `{name}`: {error}"),
        }
    }

    /// The remedy where there is no virtual camera.
    fn modprobe(path: &Path) -> String {
        let name = path.display().to_string();
        let number = name.strip_prefix("/dev/video").unwrap_or("10");
        format!(
            "make one with `sudo modprobe v4l2loopback video_nr={number} exclusive_caps=1 \
             card_label=repaint`"
        )
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::path::Path;

    use anyhow::{Result, bail};

    use super::super::FrameSink;
    use crate::frame::Frame;

    /// A V4L2 output device, which only Linux has.
    pub struct VirtualCamera {}

    impl VirtualCamera {
        /// Fails: there is no such device here.
        pub fn open(_path: &Path, _size: (usize, usize), _rate: (i32, i32)) -> Result<Self> {
            bail!("virtual cameras need Linux with v4l2loopback: use --record instead")
        }
    }

    impl FrameSink for VirtualCamera {
        fn write(&mut self, _frame: &Frame) -> Result<()> {
            Ok(())
        }
    }
}

/// Fills rows of `bytes_per_line` bytes with `frame`, whose width is even, as YUYV: Y'CbCr of
/// BT.601 in limited range, each two neighbours sharing the mean of their colours.
#[cfg(any(target_os = "linux", test))]
fn fill_yuyv(frame: &crate::frame::Frame, bytes_per_line: usize, bytes: &mut [u8]) {
    // 65536 times the coefficients of BT.601 scaled to 219 and 224 steps of 255.
    let luma =
        |r: i32, g: i32, b: i32| (16829 * r + 33039 * g + 6416 * b + (16 << 16) + 32768) >> 16;
    let rows = frame.pixels.chunks_exact(frame.width * 3);
    for (row, line) in rows.zip(bytes.chunks_exact_mut(bytes_per_line)) {
        for (pair, out) in row.chunks_exact(6).zip(line.chunks_exact_mut(4)) {
            let [r0, g0, b0, r1, g1, b1] = std::array::from_fn(|i| i32::from(pair[i]));
            let (r, g, b) = (r0 + r1, g0 + g1, b0 + b1);
            let blue = (-9714 * r - 19071 * g + 28784 * b + (256 << 16) + 65536) >> 17;
            let red = (28784 * r - 24103 * g - 4681 * b + (256 << 16) + 65536) >> 17;
            let values = [luma(r0, g0, b0), blue, luma(r1, g1, b1), red];
            for (byte, value) in out.iter_mut().zip(values) {
                *byte = value.clamp(0, 255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;

    fn yuyv(pixels: [[u8; 3]; 2]) -> [u8; 4] {
        let mut frame = Frame::new(2, 1);
        frame.pixels.copy_from_slice(pixels.as_flattened());
        let mut bytes = [0; 4];
        fill_yuyv(&frame, 4, &mut bytes);
        bytes
    }

    #[test]
    fn colour_bars_have_the_values_of_bt_601() {
        assert_eq!(yuyv([[0; 3], [255; 3]]), [16, 128, 235, 128]);
        assert_eq!(yuyv([[255, 0, 0]; 2]), [81, 90, 81, 240]);
        assert_eq!(yuyv([[0, 255, 0]; 2]), [145, 54, 145, 34]);
        assert_eq!(yuyv([[0, 0, 255]; 2]), [41, 240, 41, 110]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_missing_device_and_a_file_are_explained() {
        let open = |path: &str| {
            let opened = VirtualCamera::open(std::path::Path::new(path), (640, 480), (30, 1));
            opened
                .err()
                .map(|error| format!("{error:#}"))
                .unwrap_or_default()
        };
        let missing = open("/dev/video97");
        assert!(
            missing.contains("modprobe v4l2loopback video_nr=97"),
            "{missing}"
        );
        let null = open("/dev/null");
        assert!(null.contains("not a video device"), "{null}");
    }
}
