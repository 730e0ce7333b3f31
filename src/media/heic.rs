//! HEIC pictures, as phones take them: HEVC, mostly in tiles. The only place that knows the `heifer` crate.

use anyhow::{Context, Result, anyhow, ensure};
use heifer::heifer_isobmff::HeifFile;

/// Bytes of a file by which [`is_heic`] tells.
pub(super) const HEAD: u64 = 256;

/// A picture in sRGB.
pub(super) struct Heic {
    pub width: usize,
    pub height: usize,
    /// Red, green, blue and opacity of each pixel.
    pub rgba: Vec<u8>,
}

/// Whether the file that begins with `head` says that it holds HEVC pictures (ISO/IEC 23008-12, annex B.4), as
/// its main format or beside another.
pub(super) fn is_heic(head: &[u8]) -> bool {
    let Some(([size @ .., b'f', b't', b'y', b'p'], brands)) = head.split_first_chunk::<8>() else {
        return false;
    };
    let end = u32::from_be_bytes(*size) as usize;
    let brands = brands.chunks_exact(4).take(end.saturating_sub(8) / 4);
    brands
        .into_iter()
        .any(|brand| brand == b"heic" || brand == b"heix")
}

/// Width and height of the picture that `file` holds, before it is turned upright. Fails for a damaged one.
pub(super) fn size(file: &[u8]) -> Result<(usize, usize)> {
    let file = HeifFile::parse(file).map_err(|error| unreadable(error.into()))?;
    let size = file.image_size(file.primary_id);
    let size = size.map_err(|error| unreadable(error.into()))?;
    let (width, height) = size.context("it has no size")?;
    Ok((width as usize, height as usize))
}

/// The main picture of `file`, upright. Fails for a damaged one, and for one of high dynamic range (PQ, HLG).
pub(super) fn read(file: &[u8]) -> Result<Heic> {
    let options = heifer::Options::default();
    let image = match heifer::decode_srgb_rgba8(file, &options) {
        Ok(image) => image,
        Err(_) => {
            let image = heifer::decode_rgba8(file, &options).map_err(unreadable)?;
            // Shown with a profile that is broken, or not of RGB, as without.
            ensure!(
                heifer::read_metadata(file)?.icc_profile.is_some(),
                "its colours are those of high dynamic range (PQ or HLG): convert it to png or jpeg"
            );
            image
        }
    };
    Ok(Heic {
        width: image.width as usize,
        height: image.height as usize,
        rgba: image.data,
    })
}

fn unreadable(error: heifer::Error) -> anyhow::Error {
    anyhow!("{error}: get the whole file, or convert it to png or jpeg")
}

#[cfg(test)]
pub(super) mod tests {
    use heifer::{EncodeOptions, Image, Metadata, encode_with_metadata};

    use super::*;
    use crate::media::profile;

    /// A picture of several tiles, one column transparent where `clear` says so, with a colour profile.
    pub fn heic(color: [u16; 3], clear: bool, profile: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let [r, g, b] = color;
        let mut image = Image::filled(700, 530, 8, [r, g, b, 255]);
        image.has_alpha = clear;
        if clear {
            let right = image.data.chunks_exact_mut(4).skip(350).step_by(700);
            right.for_each(|pixel| pixel[3] = 0);
        }
        let metadata = Metadata {
            icc_profile: profile,
            ..Metadata::default()
        };
        let options = EncodeOptions {
            quality: 95,
            ..EncodeOptions::default()
        };
        Ok(encode_with_metadata(&image, &metadata, &options)?)
    }

    fn near(pixel: &[u8], expected: [u8; 4]) -> bool {
        let mut pairs = pixel.iter().zip(expected);
        pairs.all(|(found, expected)| found.abs_diff(expected) <= 3)
    }

    #[test]
    fn tiles_are_put_together_and_colours_become_srgb() -> Result<()> {
        let p3 = profile::tests::display_p3();
        let broken = p3[..90].to_vec();
        for (profile, expected) in [
            (None, [200, 100, 50, 255]),
            (Some(p3), [215, 93, 31, 255]),
            (Some(broken), [200, 100, 50, 255]),
        ] {
            let file = heic([200, 100, 50], false, profile)?;
            assert!(is_heic(&file));
            assert_eq!(size(&file)?, (700, 530));
            let found = read(&file)?;
            assert_eq!((found.width, found.height), (700, 530));
            for pixel in found.rgba.chunks_exact(4) {
                assert!(near(pixel, expected), "{pixel:?}, expected {expected:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn opacity_comes_along() -> Result<()> {
        let found = read(&heic([200, 100, 50], true, None)?)?;
        let row = &found.rgba[..700 * 4];
        assert!(near(&row[..4], [200, 100, 50, 255]), "{:?}", &row[..4]);
        assert!(row[350 * 4 + 3] < 60, "{:?}", &row[350 * 4..351 * 4]);
        Ok(())
    }

    #[test]
    fn damaged_files_are_errors_that_say_what_helps() -> Result<()> {
        let file = heic([9, 200, 90], false, None)?;
        for length in [40, file.len() / 2, file.len() - 9] {
            let error = read(&file[..length]).err().context("read")?.to_string();
            assert!(error.contains("get the whole file"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn high_dynamic_range_is_told() -> Result<()> {
        let mut file = heic([200, 100, 50], false, None)?;
        let nclx = file.windows(4).position(|bytes| bytes == b"nclx");
        let transfer = nclx.context("colours")? + 6; // after the primaries
        file[transfer..transfer + 2].copy_from_slice(&16u16.to_be_bytes()); // PQ
        let error = read(&file).err().context("read")?.to_string();
        assert!(error.contains("high dynamic range"), "{error}");
        Ok(())
    }

    #[test]
    fn brands_tell_what_is_heic() {
        let file = |brands: &[u8]| {
            let size = 8 + brands.len() as u32;
            [&size.to_be_bytes()[..], b"ftyp", brands, b"\0\0\0\0heic"].concat()
        };
        assert!(is_heic(&file(b"heic\0\0\0\0mif1")));
        assert!(is_heic(&file(b"mif1\0\0\0\0mif1heix")));
        assert!(!is_heic(&file(b"avif\0\0\0\0mif1avif")));
        assert!(!is_heic(b"\0\0\0\x10moov") && !is_heic(b""));
    }
}
