//! Decodes what cameras send, and tells damaged pictures from whole ones.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nokhwa::Buffer;
use nokhwa::pixel_format::RgbFormat;
use nokhwa::utils::FrameFormat;

/// Decodes `buffer` into `pixels`: RGB, three bytes for each of its pixels. `false`, with pixels of
/// no meaning, where the picture is damaged.
pub(super) fn decode(buffer: &Buffer, pixels: &mut [u8]) -> bool {
    let raw = buffer.source_frame_format() == FrameFormat::RAWRGB;
    if raw && buffer.buffer().len() != pixels.len() {
        return false; // nokhwa copies these without a look at their length
    }
    // mozjpeg has no other way than unwinding to say that it cannot decode a picture. What it
    // leaves half done is not used again.
    let decode = || buffer.decode_image_to_buffer::<RgbFormat>(pixels);
    catch_unwind(AssertUnwindSafe(decode)).is_ok_and(|decoded| decoded.is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Frame;
    use crate::media::picture;
    use crate::output::Existing;
    use nokhwa::utils::Resolution;

    fn is_whole(bytes: &[u8], format: FrameFormat) -> bool {
        let buffer = Buffer::new(Resolution::new(32, 16), bytes, format);
        decode(&buffer, &mut [0; 32 * 16 * 3])
    }

    #[test]
    fn a_damaged_jpeg_is_told_from_a_whole_one_and_unwinds_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.jpg");
        picture::write(&place, &Frame::new(32, 16), Existing::Keep).unwrap();
        let jpeg = std::fs::read(&place).unwrap();
        assert!(is_whole(&jpeg, FrameFormat::MJPEG));
        for length in [0, 1, 2, 20, 100] {
            let part = &jpeg[..length];
            assert!(!is_whole(part, FrameFormat::MJPEG), "{length} bytes");
        }
        let mut broken = jpeg.clone();
        broken[2..].fill(0xff);
        let noise: Vec<u8> = (0..4000u32).map(|i| ((i * i * 31) >> 7) as u8).collect();
        for bytes in [&broken[..], &noise, &[0; 4000]] {
            assert!(!is_whole(bytes, FrameFormat::MJPEG), "{:?}", &bytes[..9]);
        }
        let small = Buffer::new(Resolution::new(16, 16), &jpeg, FrameFormat::MJPEG);
        assert!(!decode(&small, &mut [0; 16 * 16 * 3]), "another size");
    }

    #[test]
    fn a_raw_picture_of_the_wrong_length_is_damaged() {
        use FrameFormat::{NV12, RAWRGB, YUYV};
        for (format, length) in [(RAWRGB, 1536), (YUYV, 1024), (NV12, 768)] {
            assert!(is_whole(&vec![7; length], format), "{format}");
            for wrong in [0, length - 4, length - 1, length + 1, length + 4] {
                let bytes = vec![7; wrong];
                assert!(!is_whole(&bytes, format), "{wrong} bytes of {format}");
            }
        }
    }
}
