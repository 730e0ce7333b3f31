//! What styles are called, and what is said of files that are none.

#[path = "common/program.rs"]
mod program;
#[path = "common/small_model.rs"]
mod small_model;

use std::path::{Path, PathBuf};

use anyhow::Result;
use program::{done, fails, repaint};
use repaint::frame::Frame;
use repaint::media::picture;
use repaint::model::Precision;
use repaint::output::Existing;
use small_model::small_model;

/// A home with a model folder.
fn home() -> Result<(tempfile::TempDir, PathBuf)> {
    let home = tempfile::tempdir()?;
    let folder = home.path().join("data/repaint/models");
    std::fs::create_dir_all(&folder)?;
    Ok((home, folder))
}

fn write_picture(path: &Path) -> Result<()> {
    let mut frame = Frame::new(48, 40);
    let values = frame.pixels.iter_mut().enumerate();
    values.for_each(|(i, value)| *value = (i * 7 % 251) as u8);
    picture::write(path, &frame, Existing::Overwrite)
}

#[test]
fn names_with_dots_are_whole_names() -> Result<()> {
    let (home, folder) = home()?;
    std::fs::copy("weights/udnie.safetensors", folder.join("v.1.safetensors"))?;
    write_picture(&home.path().join("sea.at.night.png"))?;
    done(home.path(), &["models", "mix", "v.1", "great_wave"])?;
    done(
        home.path(),
        &["models", "recolor", "v.1", "sea.at.night.png"],
    )?;
    assert!(folder.join("v.1_great_wave.safetensors").is_file());
    assert!(folder.join("v.1_sea.at.night.safetensors").is_file());
    Ok(())
}

#[test]
fn names_are_found_as_people_write_them() -> Result<()> {
    let (home, folder) = home()?;
    for name in ["Great_Wave", "great-wave", "GREAT WAVE"] {
        let shown = done(home.path(), &["models", "show", name])?;
        assert!(shown.contains("The Great Wave"), "{name}: {shown}");
    }
    done(home.path(), &["models", "mix", "Udnie", "Great Wave"])?;
    assert!(folder.join("udnie_great_wave.safetensors").is_file());
    // What is written exactly so goes first, then the user's own.
    std::fs::copy(
        "weights/udnie.safetensors",
        folder.join("great wave.safetensors"),
    )?;
    for (name, title) in [
        ("great_wave", "The Great Wave"),
        ("great wave", "Udnie"),
        ("Great-Wave", "Udnie"),
    ] {
        let shown = done(home.path(), &["models", "show", name])?;
        assert!(shown.contains(title), "{name}: {shown}");
    }
    write_picture(&home.path().join("a.png"))?;
    let paint = ["image", "a.png", "-o", "b.png", "--style", "Starry Night"];
    done(home.path(), &paint)?;
    Ok(())
}

#[test]
fn of_a_name_that_nobody_has_the_nearest_is_told() -> Result<()> {
    let (home, _) = home()?;
    for (name, words) in [
        (
            "stary_night",
            "no such file, did you mean \"starry_night\"? (known: ",
        ),
        (
            "Great Waves",
            "no such file, did you mean \"great_wave\"? (known: ",
        ),
        ("mona_lisa", "no such file (known: "),
        ("", "no such file (known: "),
    ] {
        let told = fails(home.path(), &["models", "show", name])?;
        let expected = format!("error: could not open model {name:?}: {words}");
        assert!(told.starts_with(&expected), "{told}");
    }
    Ok(())
}

#[test]
fn the_list_says_where_styles_are_and_how_wide() -> Result<()> {
    let (home, folder) = home()?;
    std::fs::copy(
        "weights/udnie_medium.safetensors",
        folder.join("sea.safetensors"),
    )?;
    small_model().write(&folder.join("tiny.safetensors"), Precision::F32)?;
    write_picture(&folder.join("waves.png"))?;
    let listed = done(home.path(), &["models", "list"])?;
    for (name, network, place) in [
        ("sea ", " medium ", "  model folder"),
        ("tiny ", " 1-1-2 ", "  model folder"),
        ("waves ", " small ", "  picture in the model folder"),
        ("udnie ", " small ", "  built in"),
    ] {
        let mut rows = listed.lines();
        let row = rows.find(|row| row.starts_with(name)).unwrap_or_default();
        assert!(row.contains(network) && row.ends_with(place), "{listed}");
    }
    assert!(
        !listed.contains(&*home.path().to_string_lossy()),
        "{listed}"
    );
    let shown = done(home.path(), &["models", "show", "sea"])?;
    let place = folder.join("sea.safetensors");
    assert!(shown.contains(&*place.to_string_lossy()), "{shown}");
    Ok(())
}

#[test]
fn styles_of_the_users_own_are_removed_and_no_others() -> Result<()> {
    let (home, folder) = home()?;
    fn remove<'a>(names: &[&'a str]) -> Vec<&'a str> {
        [&["models", "remove"], names].concat()
    }
    let (model, picture) = (folder.join("udnie.safetensors"), folder.join("sea.png"));
    std::fs::copy("weights/udnie.safetensors", &model)?;
    write_picture(&picture)?;
    write_picture(&home.path().join("a.png"))?;
    for (name, words) in [
        ("great_wave", "`great_wave` is built in"),
        ("a.png", "no style `a.png` in your model folder"),
        ("nobody", "no style `nobody` in your model folder"),
    ] {
        let told = fails(home.path(), &remove(&["sea", name]))?;
        assert!(told.contains(words), "{told}");
    }
    assert!(model.is_file() && picture.is_file());
    let told = done(home.path(), &remove(&["udnie", "Sea", "udnie"]))?;
    let [model_name, picture_name] = [&model, &picture].map(|path| path.display());
    assert_eq!(
        told,
        format!("removed {picture_name}\nremoved {model_name}\n")
    );
    assert!(!model.exists() && !picture.exists() && home.path().join("a.png").exists());
    let told = fails(home.path(), &remove(&["udnie"]))?;
    assert!(told.contains("`udnie` is built in"), "{told}");
    Ok(())
}

#[test]
fn of_one_name_models_go_before_pictures_and_both_hide_what_is_built_in() -> Result<()> {
    let (home, folder) = home()?;
    write_picture(&folder.join("udnie.png"))?;
    write_picture(&folder.join("udnie.jpg"))?;
    let shown = done(home.path(), &["models", "show", "udnie"])?;
    assert!(shown.contains("udnie.jpg"), "{shown}");
    std::fs::write(folder.join("udnie.safetensors"), "junk")?;
    let told = fails(home.path(), &["models", "show", "udnie"])?;
    assert!(told.contains("not a safetensors file"), "{told}");
    let listed = done(home.path(), &["models", "list"])?;
    let rows: Vec<_> = listed
        .lines()
        .filter(|row| row.starts_with("udnie "))
        .collect();
    assert_eq!(rows.len(), 3, "{listed}");
    for row in rows {
        assert!(row.ends_with("hidden by the one above"), "{listed}");
    }
    Ok(())
}

#[test]
#[cfg(feature = "video")]
fn what_ffmpeg_reads_as_a_picture_is_a_style() -> Result<()> {
    let (home, folder) = home()?;
    let pixels: Vec<u8> = (0..48 * 40 * 3).map(|i| (i * 7 % 251) as u8).collect();
    let file = [&b"P6\n48 40\n255\n"[..], &pixels].concat();
    std::fs::write(folder.join("pebbles.ppm"), file)?;
    let shown = done(home.path(), &["models", "show", "pebbles"])?;
    assert!(shown.contains("pebbles.ppm"), "{shown}");
    Ok(())
}

#[test]
fn files_of_other_kinds_are_told_from_newer_models() -> Result<()> {
    let (home, _) = home()?;
    let model = small_model();
    let bytes = model.to_bytes(Precision::F32)?;
    let text = String::from_utf8_lossy(&bytes);
    let start = text.find("\"format\":\"repaint.").expect("a format") + 18;
    for (digit, words) in [
        (b'9', "is newer than this program's"),
        (b'x', "of another kind"),
    ] {
        let mut other = bytes.clone();
        other[start] = digit;
        std::fs::write(home.path().join("other.safetensors"), other)?;
        let told = fails(home.path(), &["models", "show", "other.safetensors"])?;
        assert!(told.contains(words), "{told}");
    }
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn results_that_cannot_be_printed_are_an_error() -> Result<()> {
    let (home, _) = home()?;
    let program = env!("CARGO_BIN_EXE_repaint");
    let full = std::process::Command::new("sh")
        .args(["-c", "\"$0\" models show udnie > /dev/full", program])
        .current_dir(home.path())
        .output()?;
    let words = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(1), "{words}");
    assert!(words.contains("could not print the results"), "{words}");
    Ok(())
}

#[test]
#[cfg(unix)]
fn pipes_are_no_masks() -> Result<()> {
    let (home, _) = home()?;
    write_picture(&home.path().join("a.png"))?;
    let pipe = home.path().join("mask.png");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(pipe)
            .status()?
            .success()
    );
    let args = ["image", "a.png", "-o", "b.png", "--mask", "mask.png"];
    let output = repaint(home.path(), &args)?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}
