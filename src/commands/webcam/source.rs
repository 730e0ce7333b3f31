//! Where pictures and sound come from: cameras, microphones, files that are played.

use std::path::Path;

use anyhow::{Result, anyhow};

use super::USUAL_SIDE;
use crate::cli::WebcamArgs;
use crate::media::player::Player;
use crate::media::{LiveSource, camera, microphone};

/// What `--microphone` names for recordings without sound.
const NO_MICROPHONE: &str = "none";

/// The camera, or a file played as if it were one.
pub(super) fn open_source(args: &WebcamArgs) -> Result<Box<dyn LiveSource>> {
    if let Some(path) = played(args) {
        return Ok(Box::new(Player::open(path)?));
    }
    let wanted = camera::Wanted {
        side: args.paint.size.unwrap_or(USUAL_SIDE),
        fps: args.fps.unwrap_or(30),
        format: args.camera_format.map(Into::into),
    };
    let named = args.camera.as_deref();
    let camera = camera::open(named, wanted).map_err(|error| {
        let words = named.and_then(|named| no_camera(Path::new(named)));
        words.map_or(error, |words| anyhow!(words))
    });
    Ok(Box::new(camera?))
}

/// The file that is played as if it were a camera, if it is one.
pub(super) fn played(args: &WebcamArgs) -> Option<&Path> {
    let path = args.camera.as_deref().map(Path::new);
    path.filter(|path| path.is_file())
}

/// What is wrong with the name of a camera that looks like that of something else.
fn no_camera(path: &Path) -> Option<String> {
    let name = path.display();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    let is_ending = ending.starts_with(|c: char| c.is_ascii_lowercase()) && ending.len() <= 4;
    if name.to_string().contains("://") {
        Some(format!(
            "`{name}` is an address: name a camera or a video file"
        ))
    } else if path.is_dir() {
        Some(format!(
            "`{name}` is a folder: name a camera or a video file"
        ))
    } else if is_ending && !path.exists() {
        Some(format!("no camera and no file `{name}`: check the path"))
    } else {
        None
    }
}

/// The microphone that recordings listen to. The usual one for cameras, none for files that are played, unless
/// another is named.
pub(super) fn wanted_microphone(args: &WebcamArgs) -> Option<String> {
    match args.microphone.as_deref() {
        None if played(args).is_some() => None,
        None => Some(microphone::DEFAULT.to_string()),
        Some(NO_MICROPHONE) => None,
        Some(named) => Some(named.to_string()),
    }
}

/// Prints the cameras, their modes, and the microphones.
pub(super) fn list() -> Result<()> {
    let cameras = camera::list()?;
    if cameras.is_empty() {
        remark!("no camera: plug one in, or play a file with `repaint webcam --camera FILE`");
    }
    for camera in cameras {
        say!("{}: {}", camera.index, camera.name);
        for mode in &camera.modes {
            say!("    {mode}");
        }
        if let Some(trouble) = &camera.trouble {
            say!("    {trouble}");
        }
    }
    let microphones = microphone::list().unwrap_or_else(|error| {
        remark!("{error:#}");
        Vec::new()
    });
    if !microphones.iter().any(|microphone| microphone.is_usual) {
        remark!("no microphone: recordings will be without sound");
    }
    for microphone in microphones {
        let usual = match microphone.is_usual {
            true => " (used unless another is named)",
            false => "",
        };
        say!("microphone: {}{usual}", microphone.name);
    }
    Ok(())
}
