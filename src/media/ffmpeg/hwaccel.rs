//! NVIDIA's decoder and encoder (NVDEC, NVENC) through FFmpeg, which loads the driver itself: no
//! library of NVIDIA is linked, and what the card does not take the CPU does.

use std::ptr::{NonNull, null, null_mut};

use anyhow::{Context, Result, ensure};
use ffmpeg_next as av;

use av::ffi::AVHWDeviceType;
use av::format::Pixel;

/// FFmpeg's handle of a GPU.
pub(in crate::media) struct Gpu(NonNull<av::ffi::AVBufferRef>);

impl Gpu {
    /// Opens the first GPU; `None` where there is no driver or no card.
    pub fn open() -> Option<Self> {
        let mut device = null_mut();
        let kind = AVHWDeviceType::AV_HWDEVICE_TYPE_CUDA;
        // SAFETY: `device` is written only; null stands for the first card and no options.
        let code =
            unsafe { av::ffi::av_hwdevice_ctx_create(&mut device, kind, null(), null_mut(), 0) };
        NonNull::new(device).filter(|_| code >= 0).map(Self)
    }

    /// Lets the decoder that `context` will open take the GPU for what the GPU can decode.
    pub fn attach(&self, context: &mut av::codec::Context) -> Result<()> {
        // SAFETY: both are live; the context owns the new reference and drops it with itself.
        unsafe {
            let device = av::ffi::av_buffer_ref(self.0.as_ptr());
            (*context.as_mut_ptr()).hw_device_ctx = device;
            ensure!(!device.is_null(), "no memory for a decoder");
        }
        Ok(())
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let mut device = self.0.as_ptr();
        // SAFETY: the reference is owned by this value and not used again.
        unsafe { av::ffi::av_buffer_unref(&mut device) };
    }
}

/// Copies the pixels of `picture`, decoded by the GPU, into `pixels`, which keeps its memory while
/// size and format stay. Fails for a picture that is not in the GPU's memory, and for two that FFmpeg
/// does not copy whole: of odd height, or to be cut on the left or at the top.
pub(in crate::media) fn download(
    picture: &av::frame::Video,
    pixels: &mut av::frame::Video,
) -> Result<()> {
    ensure!(picture.format() == Pixel::CUDA, "not decoded by the GPU");
    // SAFETY: the picture is live; one of this format belongs to a pool of frames, whose data are an
    // AVHWFramesContext. Plain fields are read.
    let (format, cut) = unsafe {
        let frame = &*picture.as_ptr();
        let pool = NonNull::new(frame.hw_frames_ctx).context("a frame of the GPU has no pool")?;
        let frames = (*pool.as_ptr()).data.cast::<av::ffi::AVHWFramesContext>();
        (
            Pixel::from((*frames).sw_format),
            frame.crop_left + frame.crop_top,
        )
    };
    let (width, height) = (picture.width(), picture.height());
    ensure!(cut == 0 && height % 2 == 0, "not copied whole");
    if (pixels.format(), pixels.width(), pixels.height()) != (format, width, height) {
        *pixels = av::frame::Video::new(format, width, height);
    }
    // SAFETY: both frames are live; the target has memory for this format and size, of its own.
    let code =
        unsafe { av::ffi::av_hwframe_transfer_data(pixels.as_mut_ptr(), picture.as_ptr(), 0) };
    ensure!(code >= 0, "{}", av::Error::from(code));
    Ok(())
}
