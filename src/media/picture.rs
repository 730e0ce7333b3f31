//! Picture files: read, scaled, written. The only place that knows the `image` crate.
//!
//! Pictures become upright 8-bit sRGB, whatever they are stored as; what shows through transparent
//! pixels is white paper.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Cursor, Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use image::codecs::gif::GifDecoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{PngDecoder, PngEncoder};
use image::codecs::webp::WebPDecoder;
use image::{
    AnimationDecoder, DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat,
    ImageReader, ImageResult, Limits,
};

#[cfg(feature = "video")]
use super::decode::still::Still;
use super::{heic, profile};
use crate::frame::Frame;
use crate::output::{Existing, Output};

/// Longest side that JPEG files can have, in pixels.
const MAX_JPEG_SIDE: usize = u16::MAX as usize;

/// Longest side read, in pixels.
const MAX_SIDE: usize = 32_768;

/// Most memory that one decoded picture may take, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Quality of JPEG files, of 100: no visible loss.
const JPEG_QUALITY: u8 = 95;

/// What pictures can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureFormat {
    /// Lossless.
    Png,
    /// Lossy, at quality 95.
    Jpeg,
}

impl PictureFormat {
    /// The format that the ending of `path` stands for; an error that names the known endings for
    /// any other.
    pub fn of(path: &Path) -> Result<Self> {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        match ending.to_str() {
            Some("png") => Ok(Self::Png),
            Some("jpg" | "jpeg") => Ok(Self::Jpeg),
            _ => bail!(
                "cannot write `{}`: its ending is none of .png, .jpg, .jpeg",
                path.display()
            ),
        }
    }
}

/// Fails when the format of `path` cannot hold a picture of this size.
pub fn ensure_holds(path: &Path, width: usize, height: usize) -> Result<()> {
    let most = match PictureFormat::of(path)? {
        PictureFormat::Jpeg => MAX_JPEG_SIDE,
        PictureFormat::Png => i32::MAX as usize,
    };
    ensure!(
        width.max(height) <= most,
        "`{}` would be {width}x{height}, and jpeg files have at most {most} pixels a side: choose a \
         .png file or a smaller --size",
        path.display()
    );
    Ok(())
}

/// What the `image` crate reads here. HEIC has a library of its own, and FFmpeg, where it is built in, reads
/// what it knows besides.
const FORMATS: [ImageFormat; 6] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Tiff,
    ImageFormat::Bmp,
    ImageFormat::Gif,
];

/// Reads a png, jpeg, webp, tiff, bmp, gif (the first of its pictures) or heic file, recognised by its content,
/// turned as its orientation says, or one of another format that FFmpeg knows.
/// Fails for other files, films, broken ones and ones too large to hold (32768 pixels a side, 1 GiB).
pub fn read(path: &Path) -> Result<Frame> {
    let name = path.display();
    ensure!(
        !path.is_dir(),
        "`{name}` is a folder: name the pictures in it"
    );
    ensure!(path.exists(), "no picture `{name}`: check the path");
    let file = File::open(path).with_context(|| format!("could not open picture `{name}`"))?;
    let broken = || format!("could not read picture `{name}`");
    let found = file.metadata().with_context(broken)?;
    ensure!(
        found.len() > 0 || !found.is_file(),
        "picture `{name}` is empty: get it anew"
    );
    let reader = ImageReader::new(BufReader::new(file))
        .with_guessed_format()
        .with_context(broken)?;
    if reader.format() == Some(ImageFormat::Jpeg) {
        let bytes = std::fs::read(path).with_context(broken)?;
        ensure!(
            jpeg_ends(&bytes),
            "picture `{name}` is cut off: get the whole file"
        );
    }
    if let Some(bytes) = heic_file(path).with_context(broken)? {
        let (width, height) = heic::size(&bytes).with_context(broken)?;
        ensure_size((width, height), 4 * (width * height) as u64, &name)?;
        let heic = heic::read(&bytes).with_context(broken)?;
        return Ok(Frame {
            width: heic.width,
            height: heic.height,
            pixels: over_white(&heic.rgba),
            ..Frame::default()
        });
    }
    #[cfg(feature = "video")]
    if !is_known(&reader)
        && let Some(still) = Still::open(path).or_else(|error| match is_other(path) {
            true => Err(error.context(format!("`{name}` is not a picture that can be read"))),
            false => Ok(None), // other words are about films
        })?
    {
        let (width, height) = still.size();
        ensure_size((width, height), 3 * (width * height) as u64, &name)?;
        return still.read().with_context(broken);
    }
    decode(reader, &name)
}

/// Reads a picture from the bytes of its file, as [`read`] does; errors call it `name`.
pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Frame> {
    let reader = ImageReader::new(Cursor::new(bytes));
    decode(reader.with_guessed_format()?, &name)
}

fn decode<R: BufRead + Seek>(mut reader: ImageReader<R>, name: &dyn Display) -> Result<Frame> {
    ensure!(
        is_known(&reader),
        "`{name}` is not a picture that can be read: convert it to png or jpeg"
    );
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let broken = || format!("could not read picture `{name}`");
    let mut decoder = reader.into_decoder().with_context(broken)?;
    ensure_size(size_of(decoder.dimensions()), decoder.total_bytes(), name)?;
    let orientation = decoder.orientation().with_context(broken)?;
    let profile = decoder.icc_profile().unwrap_or_default();
    let mut picture = DynamicImage::from_decoder(decoder).with_context(broken)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let profile = profile.filter(|_| picture.color().has_color());
    let mut pixels = if picture.color().has_alpha() {
        over_white(&picture.into_rgba8())
    } else {
        picture.into_rgb8().into_raw()
    };
    if let Some(profile) = profile {
        // Pictures are shown with broken profiles as without: they are common, and no reason to refuse one.
        let _ = profile::to_srgb(&profile, &mut pixels);
    }
    Ok(Frame {
        width,
        height,
        pixels,
        ..Frame::default()
    })
}

/// The bytes of a HEIC file; `None` for another.
fn heic_file(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    Read::take(&mut file, heic::HEAD).read_to_end(&mut bytes)?;
    if !heic::is_heic(&bytes) {
        return Ok(None);
    }
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Endings of pictures that FFmpeg reads.
const OTHERS: [&str; 15] = [
    "avif", "dds", "exr", "j2k", "jp2", "jxl", "pbm", "pcx", "pgm", "pnm", "ppm", "psd", "qoi",
    "sgi", "tga",
];

/// Whether a file is named like a picture that FFmpeg reads.
fn is_other(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    OTHERS.iter().any(|other| ending == *other)
}

/// Whether a file is a picture by its first bytes, or by an ending whose files FFmpeg reads.
pub fn is_picture(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    path.is_file() // others may have to be waited for
        && ending != "safetensors" // whose first bytes may be any
        && (File::open(path)
            .and_then(|file| ImageReader::new(BufReader::new(file)).with_guessed_format())
            .is_ok_and(|reader| is_known(&reader))
            || is_other(path)
            || matches!(heic_file(path), Ok(Some(_))))
}

/// Whether a file holds pictures after the one that [`read`] gives: an animation, as GIF, WebP and PNG know them.
pub fn is_animation(path: &Path) -> bool {
    let moves = || -> ImageResult<bool> {
        let format = ImageReader::open(path)?.with_guessed_format()?.format();
        let file = BufReader::new(File::open(path)?);
        Ok(match format {
            Some(ImageFormat::Gif) => GifDecoder::new(file)?.into_frames().nth(1).is_some(),
            Some(ImageFormat::WebP) => WebPDecoder::new(file)?.has_animation(),
            Some(ImageFormat::Png) => PngDecoder::new(file)?.is_apng()?,
            _ => false,
        })
    };
    moves().unwrap_or(false)
}

/// Whether a file is a picture that never moves, by its name and first bytes: others may be animations, and
/// JPEG pictures in a row are a film.
pub fn is_still(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    ["jpg", "jpeg", "heic", "heif", "bmp", "tif", "tiff"]
        .iter()
        .any(|still| ending == *still)
        && is_picture(path)
}

fn is_known<R: BufRead + Seek>(reader: &ImageReader<R>) -> bool {
    reader
        .format()
        .is_some_and(|format| FORMATS.contains(&format))
}

fn size_of((width, height): (u32, u32)) -> (usize, usize) {
    (width as usize, height as usize)
}

/// Fails for a picture that is too large to hold.
fn ensure_size((width, height): (usize, usize), bytes: u64, name: &dyn Display) -> Result<()> {
    ensure!(
        width.max(height) <= MAX_SIDE && bytes <= MAX_BYTES,
        "picture `{name}` is too large ({width}x{height}): scale it down to at most {MAX_SIDE} \
         pixels a side and 1 GiB"
    );
    Ok(())
}

/// Width and height of a picture file, before it is turned upright. Fails for what is none.
pub fn size(path: &Path) -> Result<(usize, usize)> {
    let what = || format!("could not read picture `{}`", path.display());
    if let Some(bytes) = heic_file(path).with_context(what)? {
        return heic::size(&bytes).with_context(what);
    }
    let reader = ImageReader::open(path).with_context(what)?;
    let reader = reader.with_guessed_format().with_context(what)?;
    #[cfg(feature = "video")]
    if !is_known(&reader)
        && let Some(still) = Still::open(path)?
    {
        return Ok(still.size());
    }
    Ok(size_of(reader.into_dimensions().with_context(what)?))
}

/// Writes a png or jpeg file, by the ending of `path`. The file appears when it is whole.
pub fn write(path: &Path, frame: &Frame, existing: Existing) -> Result<()> {
    let format = PictureFormat::of(path)?;
    let output = Output::create(path, existing)?;
    let failed = || format!("could not write `{}`", path.display());
    let mut file = BufWriter::new(File::create(output.path()).with_context(failed)?);
    let (width, height) = (frame.width as u32, frame.height as u32);
    let (pixels, color) = (&frame.pixels, ExtendedColorType::Rgb8);
    match format {
        PictureFormat::Png => PngEncoder::new(&mut file).write_image(pixels, width, height, color),
        PictureFormat::Jpeg => JpegEncoder::new_with_quality(&mut file, JPEG_QUALITY)
            .write_image(pixels, width, height, color),
    }
    .with_context(failed)?;
    file.flush().with_context(failed)?;
    drop(file);
    output.finish()
}

/// Whether a JPEG file has its end mark, without which the decoder fills up with grey.
fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2; // after the mark of the beginning
    while let Some(&[0xff, kind, high, low]) = bytes.get(at..at + 4) {
        if kind == 0xff {
            at += 1; // a filling byte
            continue;
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
        if kind == 0xda {
            // the pixels, in which no other mark looks like the end
            let pixels = bytes.get(at..).unwrap_or_default();
            return pixels.windows(2).any(|pair| pair == [0xff, 0xd9]);
        }
    }
    at < bytes.len() // unusual, but not cut off: the decoder has the last word
}

/// RGB of RGBA pixels laid on white paper.
fn over_white(rgba: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.chunks_exact(4) {
        let alpha = u32::from(pixel[3]);
        for &value in &pixel[..3] {
            let sum = u32::from(value) * alpha + 255 * (255 - alpha);
            rgb.push(((sum + 127) / 255) as u8);
        }
    }
    rgb
}

#[cfg(test)]
mod tests;
