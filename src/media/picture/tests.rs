use image::{ImageBuffer, Luma, Rgba};

use super::*;

#[test]
fn a_png_comes_back_as_it_was_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.png");
    let mut frame = Frame::new(5, 3);
    for (i, value) in frame.pixels.iter_mut().enumerate() {
        *value = (i * 5) as u8;
    }
    write(&path, &frame, Existing::Keep)?;
    assert_eq!(read(&path)?, frame);
    let error = write(&path, &frame, Existing::Keep).unwrap_err();
    assert!(error.to_string().contains("--overwrite"), "{error}");
    Ok(())
}

#[test]
fn a_profile_is_applied_and_a_broken_one_is_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.png");
    let p3 = profile::tests::display_p3();
    for (profile, expected) in [(&p3[..], [215, 93, 31]), (&p3[..90], [200, 100, 50])] {
        let mut encoder = PngEncoder::new(File::create(&path)?);
        encoder.set_icc_profile(profile.to_vec())?;
        encoder.write_image(&[200, 100, 50], 1, 1, ExtendedColorType::Rgb8)?;
        let found = read(&path)?.pixels;
        let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 2);
        assert!(near, "{found:?}, expected {expected:?}");
    }
    Ok(())
}

#[test]
fn content_not_ending_decides_what_a_picture_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (png, odd) = (folder.path().join("a.png"), folder.path().join("a.webp"));
    write(&png, &Frame::new(2, 2), Existing::Keep)?;
    std::fs::rename(&png, &odd)?;
    assert_eq!(read(&odd)?, Frame::new(2, 2));
    std::fs::write(&png, "a text")?;
    let error = read(&png).unwrap_err().to_string();
    assert!(error.contains("not a picture that can be read"), "{error}");
    Ok(())
}

#[test]
fn a_truncated_picture_is_an_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.png");
    write(&path, &Frame::new(64, 64), Existing::Keep)?;
    let bytes = std::fs::read(&path)?;
    std::fs::write(&path, &bytes[..bytes.len() / 2])?;
    assert!(read(&path).is_err());
    let path = folder.path().join("a.jpg");
    write(&path, &Frame::new(64, 64), Existing::Keep)?;
    let bytes = std::fs::read(&path)?;
    for length in [bytes.len() - 2, bytes.len() / 2, 40] {
        std::fs::write(&path, &bytes[..length])?;
        assert!(read(&path).is_err(), "{length} of {} bytes", bytes.len());
    }
    std::fs::write(&path, [&bytes, b"more".as_slice()].concat())?;
    read(&path)?;
    Ok(())
}

#[test]
fn transparent_pixels_show_white_and_16_bit_grey_is_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.png");
    ImageBuffer::from_pixel(1, 1, Rgba([0u8, 100, 200, 0])).save(&path)?;
    assert_eq!(read(&path)?.pixels, [255, 255, 255]);
    ImageBuffer::from_pixel(1, 1, Luma([0x8080u16])).save(&path)?;
    assert_eq!(read(&path)?.pixels, [128, 128, 128]);
    Ok(())
}

#[test]
fn tiff_bmp_and_gif_are_read_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for ending in ["tiff", "bmp", "gif"] {
        let path = folder.path().join(format!("a.{ending}"));
        ImageBuffer::from_pixel(3, 2, Rgba([200u8, 100, 50, 255])).save(&path)?;
        let found = read(&path)?;
        assert_eq!((found.width, found.height), (3, 2), "{ending}");
        assert_eq!(found.pixels[..3], [200, 100, 50], "{ending}");
    }
    let path = folder.path().join("deep.tiff");
    ImageBuffer::from_pixel(1, 1, image::Rgb([0x8080u16, 0, 0xffff])).save(&path)?;
    assert_eq!(read(&path)?.pixels, [128, 0, 255]);
    Ok(())
}

#[test]
fn pictures_of_phones_are_read_and_lie_on_white_paper() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("IMG_1.HEIC");
    std::fs::write(&path, heic::tests::heic([200, 100, 50], true, None)?)?;
    assert_eq!(size(&path)?, (700, 530));
    let found = read(&path)?;
    assert_eq!((found.width, found.height), (700, 530));
    let near = |x: usize, expected: [u8; 3]| {
        let mut pairs = found.pixels[3 * x..].iter().zip(expected);
        pairs.all(|(found, expected)| found.abs_diff(expected) <= 60)
    };
    assert!(near(0, [200, 100, 50]) && near(350, [255, 255, 255]));
    let whole = std::fs::read(&path)?;
    std::fs::write(&path, &whole[..whole.len() / 2])?;
    let error = format!("{:#}", read(&path).unwrap_err());
    assert!(
        error.contains("IMG_1.HEIC") && error.contains("whole file"),
        "{error}"
    );
    Ok(())
}

#[cfg(feature = "video")]
#[test]
fn what_ffmpeg_knows_is_read_too_but_no_films_and_no_parts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.ppm");
    let mut frame = Frame::new(48, 31);
    for (i, value) in frame.pixels.iter_mut().enumerate() {
        *value = (i * 7) as u8;
    }
    let ppm = [b"P6 48 31 255\n", &frame.pixels[..]].concat();
    std::fs::write(&path, &ppm)?;
    assert_eq!(read(&path)?, frame);
    assert_eq!(size(&path)?, (48, 31));
    std::fs::write(&path, &ppm[..ppm.len() / 2])?;
    let error = format!("{:#}", read(&path).unwrap_err());
    assert!(
        error.contains("a.ppm`: the file is damaged or cut off"),
        "{error}"
    );
    let film = Path::new("samples/clip.mp4");
    let error = format!("{:#}", read(film).unwrap_err());
    assert!(
        error.contains("film: paint it with `repaint video`"),
        "{error}"
    );
    Ok(())
}

#[test]
fn exif_orientation_turns_the_picture_upright() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("a.jpg");
    let mut frame = Frame::new(32, 16);
    frame.pixels[..32 * 8 * 3].fill(255); // stored: upper half white
    write(&path, &frame, Existing::Keep)?;
    let jpeg = std::fs::read(&path)?;
    // An EXIF segment with the single tag 0x0112 (orientation) = 6: turn by 90 degrees clockwise.
    let mut exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
    exif.extend(b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0");
    std::fs::write(&path, [&jpeg[..2], &exif, &jpeg[2..]].concat())?;
    let upright = read(&path)?;
    assert_eq!((upright.width, upright.height), (16, 32));
    let row = &upright.pixels[10 * 16 * 3..11 * 16 * 3];
    assert!(row[0] < 10 && row[15 * 3] > 245, "the white half is right");
    Ok(())
}

#[test]
fn an_unknown_ending_names_the_known_ones() {
    let error = PictureFormat::of(Path::new("a.gif"))
        .unwrap_err()
        .to_string();
    assert!(error.contains(".png") && error.contains("a.gif"), "{error}");
}

#[test]
fn animations_are_told_from_pictures() -> Result<()> {
    use image::codecs::gif::GifEncoder;

    let folder = tempfile::tempdir()?;
    for count in [1, 2] {
        let path = folder.path().join(format!("{count}.gif"));
        let mut file = GifEncoder::new(File::create(&path)?);
        let picture = image::RgbaImage::from_pixel(9, 7, image::Rgba([200, 90, 40, 255]));
        file.encode_frames(vec![image::Frame::new(picture); count])?;
        drop(file);
        assert_eq!(is_animation(&path), count > 1);
        assert_eq!(read(&path)?.width, 9);
    }
    for name in ["still.png", "no.webp"] {
        let path = folder.path().join(name);
        write(&path, &Frame::new(4, 4), Existing::Keep).or_else(|_| std::fs::write(&path, "no"))?;
        assert!(!is_animation(&path), "{name}");
    }
    Ok(())
}
