//! `repaint image`: one picture to a file, or several to a folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

use super::checks::ensure_not_read;
use super::{Interrupted, ensure_input_file, existing, open_painter};
use crate::cli::{ImageArgs, PaintArgs};
use crate::frame::Frame;
use crate::media::picture::{self, PictureFormat};
use crate::output::{ensure_expanded, ensure_writable};
use crate::paint::Painter;
use crate::scale;

/// Most pixels of a picture that is scaled.
const MAX_PIXELS: usize = 1 << 28;

/// Most pixels of several pictures that are in work at once: with what reading and writing takes, some 12
/// bytes each.
const PIXELS_AT_ONCE: usize = 100_000_000;

/// Most pictures that are in work at once.
const AT_ONCE: usize = 8;

/// Paints pictures. A bad one among several does not keep the others from being painted; the
/// error at the end names it. Once `stop` is set no further picture is begun and the result is
/// [`Interrupted`].
pub fn run(args: &ImageArgs, stop: &AtomicBool) -> Result<()> {
    ensure!(
        args.inputs.iter().any(|input| input.exists()),
        "no picture `{}`: check the path",
        args.inputs[0].display()
    );
    let places = plan(&args.inputs, &args.output)?;
    if let [(input, place)] = places.as_slice() {
        ensure_input_file(input, "picture")?;
        ensure_place(input, place, &args.paint)?;
        let mut painter = open_painter(&args.paint)?;
        let painting_of = |frame| painting_of(&frame, &mut painter);
        say!("{}", paint(input, place, &args.paint, painting_of)?);
        return Ok(());
    }
    for (input, place) in &places {
        ensure_place(input, place, &args.paint)?;
    }
    let mut painter = open_painter(&args.paint)?;
    let (mut done, mut bad) = (0, Vec::new());
    paint_all(
        &places,
        &mut painter,
        &args.paint,
        stop,
        |input, painted| {
            match painted {
                Ok(words) => say!("{words}"),
                Err(error) => {
                    remark!("{error:#}");
                    bad.push(input.display().to_string());
                }
            }
            done += 1;
        },
    );
    let total = places.len();
    if done < total {
        let painted = done - bad.len();
        return Err(Interrupted(format!("{painted} of {total} pictures painted")).into());
    }
    ensure!(
        bad.is_empty(),
        "{} of {total} pictures could not be painted: {}",
        bad.len(),
        bad.join(", ")
    );
    Ok(())
}

/// What the threads that read and write want of the one that paints.
enum Message {
    /// To paint a picture and send the painting back.
    Paint(Frame, SyncSender<Result<Frame>>),
    /// To tell how the picture of this number went.
    Done(usize, Result<String>),
}

/// Paints each picture into its place. Some are read and written in threads of their own while another
/// is painted, which a GPU is done with sooner. `tell` hears of all, in their order; of fewer once `stop`
/// is set.
fn paint_all<'a>(
    places: &'a [(PathBuf, PathBuf)],
    painter: &mut Painter,
    args: &PaintArgs,
    stop: &AtomicBool,
    mut tell: impl FnMut(&'a Path, Result<String>),
) {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.map_or_else(cores, usize::from);
    let (line, room) = (Mutex::new(places.iter().enumerate()), Room::default());
    let (messages, to_do) = sync_channel(1); // nobody waits for the threads while they wait to be heard
    std::thread::scope(|scope| {
        for _ in 0..(threads + 1).min(AT_ONCE).min(places.len()) {
            let messages = messages.clone();
            let (line, room) = (&line, &room);
            scope.spawn(move || {
                loop {
                    let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let Some((number, (input, place))) = line.next() else {
                        break;
                    };
                    let _room = room.take(pixels(input, args.size));
                    drop(line); // held till now, so that nobody overtakes a large picture
                    let by_painter = |frame| {
                        let (painted, painting) = sync_channel(1);
                        messages.send(Message::Paint(frame, painted))?;
                        painting.recv()?
                    };
                    let done = paint(input, place, args, by_painter);
                    if messages.send(Message::Done(number, done)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(messages);
        let (mut done, mut next) = (BTreeMap::new(), 0);
        for message in to_do {
            match message {
                Message::Paint(frame, painted) => {
                    // Nobody waits for it only where a thread panicked.
                    let _ = painted.send(painting_of(&frame, painter));
                }
                Message::Done(number, result) => {
                    done.insert(number, result);
                    while let Some(result) = done.remove(&next) {
                        tell(&places[next].0, result);
                        next += 1;
                    }
                }
            }
        }
    });
}

/// Room for pictures in work, in pixels.
#[derive(Default)]
struct Room {
    taken: Mutex<usize>,
    left: Condvar,
}

impl Room {
    /// Waits until there is room for so many pixels, or for a picture by itself, and takes it until the
    /// result is dropped.
    fn take(&self, pixels: usize) -> Taken<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken > 0 && *taken + pixels > PIXELS_AT_ONCE;
        let taken = self.left.wait_while(taken, full);
        *taken.unwrap_or_else(PoisonError::into_inner) += pixels;
        Taken { room: self, pixels }
    }
}

/// Part of a [`Room`].
struct Taken<'a> {
    room: &'a Room,
    pixels: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let taken = self.room.taken.lock();
        *taken.unwrap_or_else(PoisonError::into_inner) -= self.pixels;
        self.room.left.notify_all();
    }
}

/// Pixels of a picture file, as it is or as it is painted, whichever are more; 0 for a broken one.
fn pixels(input: &Path, short_side: Option<u32>) -> usize {
    let size = input.is_file().then(|| picture::size(input).ok());
    let (width, height) = size.flatten().unwrap_or_default();
    let painted = short_side.map_or((0, 0), |side| scale::scaled((width, height), side as usize));
    (width * height).max(painted.0 * painted.1)
}

/// Where each picture goes. A single input goes to `output` itself unless that is a folder, in
/// which it keeps its name; several go to the folder `output`, made if missing.
fn plan(inputs: &[PathBuf], output: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    if let [input] = inputs
        && !output.is_dir()
    {
        PictureFormat::of(output)?;
        return Ok(vec![(input.clone(), output.to_path_buf())]);
    }
    ensure!(
        !output.exists() || output.is_dir(),
        "`{}` is a file: name a folder for several pictures",
        output.display()
    );
    ensure!(
        output.is_dir() || PictureFormat::of(output).is_err(),
        "`{}` is named like a picture: name a folder for several pictures",
        output.display()
    );
    let mut sources: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    let mut places = Vec::new();
    for input in inputs {
        ensure!(
            !input.is_dir(),
            "`{}` is a folder: name the pictures in it",
            input.display()
        );
        ensure!(
            input.file_name().is_some(),
            "`{}` is not the name of a picture",
            input.display()
        );
        let place = output.join(name_of(input));
        if let Some(other) = sources.insert(place.clone(), input) {
            bail!(
                "`{}` and `{}` would both become `{}`: paint them into different folders",
                other.display(),
                input.display(),
                place.display()
            );
        }
        places.push((input.clone(), place));
    }
    ensure_expanded(output)?;
    std::fs::create_dir_all(output)
        .with_context(|| format!("could not create folder `{}`", output.display()))?;
    Ok(places)
}

/// Name of the painting of `input` in a folder: jpeg stays jpeg, all else becomes png.
fn name_of(input: &Path) -> PathBuf {
    let name = PathBuf::from(input.file_name().unwrap_or_default());
    match PictureFormat::of(input) {
        Ok(_) => name,
        Err(_) => name.with_extension("png"),
    }
}

fn ensure_place(input: &Path, place: &Path, args: &PaintArgs) -> Result<()> {
    ensure_not_read(input, args, place)?;
    ensure_writable(place, existing(args.overwrite))
}

/// Reads `input`, has it painted and writes it to `place`; says what was written.
fn paint(
    input: &Path,
    place: &Path,
    args: &PaintArgs,
    painting_of: impl FnOnce(Frame) -> Result<Frame>,
) -> Result<String> {
    ensure_input_file(input, "picture")?; // of several none is looked at before its turn
    let mut frame = picture::read(input)?;
    if picture::is_animation(input) {
        let name = input.display();
        remark!("`{name}` is an animation: its first picture is painted");
    }
    if let Some(side) = args.size {
        let (width, height) = scale::scaled((frame.width, frame.height), side as usize);
        ensure!(
            width * height <= MAX_PIXELS,
            "--size {side} makes `{}` {width}x{height}: choose a smaller size",
            input.display()
        );
        picture::ensure_holds(place, width, height)?;
        frame = scale::resized(&frame, width, height)?;
    }
    let painting =
        painting_of(frame).with_context(|| format!("could not paint `{}`", input.display()))?;
    picture::write(place, &painting, existing(args.overwrite))?;
    let (width, height) = (painting.width, painting.height);
    Ok(format!("{}: {width}x{height}", place.display()))
}

fn painting_of(frame: &Frame, painter: &mut Painter) -> Result<Frame> {
    let mut painting = Frame::default();
    painter.paint(frame, &mut painting)?;
    Ok(painting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn pictures_in_work_at_once_fit_into_the_room() {
        let (room, inside) = (Room::default(), Mutex::new((0, 0)));
        std::thread::scope(|scope| {
            for picture in 0..12 {
                let (room, inside) = (&room, &inside);
                let pixels = if picture == 5 { 7 } else { 1 } * PIXELS_AT_ONCE / 3;
                scope.spawn(move || {
                    let _taken = room.take(pixels);
                    let enter = |(now, most): &mut (usize, usize)| {
                        *now += pixels;
                        assert!(*now <= PIXELS_AT_ONCE || *now == pixels, "{now}");
                        *most = (*most).max(*now);
                    };
                    enter(&mut inside.lock().unwrap());
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    inside.lock().unwrap().0 -= pixels;
                });
            }
        });
        assert_eq!(*inside.lock().unwrap(), (0, 7 * PIXELS_AT_ONCE / 3));
        assert_eq!(*room.taken.lock().unwrap(), 0);
    }

    #[test]
    fn several_pictures_keep_their_names_in_a_folder_that_is_made() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let output = folder.path().join("a/b");
        let places = plan(&paths(&["x/one.jpg", "y/two.webp"]), &output)?;
        assert_eq!(places[0].1, output.join("one.jpg"));
        assert_eq!(places[1].1, output.join("two.png"));
        assert!(output.is_dir());
        Ok(())
    }

    #[test]
    fn one_picture_goes_into_a_folder_only_if_that_exists() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let places = plan(&paths(&["x/one.jpg"]), folder.path())?;
        assert_eq!(places[0].1, folder.path().join("one.jpg"));
        let missing = folder.path().join("missing");
        let error = plan(&paths(&["x/one.jpg"]), &missing).unwrap_err();
        assert!(error.to_string().contains(".png"), "{error}");
        Ok(())
    }

    #[test]
    fn pictures_that_would_take_one_name_are_refused_before_any_work() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let output = folder.path().join("out");
        for [one, other] in [["x/one.jpg", "y/one.jpg"], ["one.webp", "one.png"]] {
            let error = plan(&paths(&[one, other]), &output).unwrap_err();
            let words = error.to_string();
            assert!(words.contains(one) && words.contains(other), "{words}");
            assert!(!output.exists());
        }
        let places = plan(&paths(&["one.jpg", "one.webp"]), folder.path())?;
        assert_eq!(places[0].1, folder.path().join("one.jpg"));
        assert_eq!(places[1].1, folder.path().join("one.png"));
        let error = plan(&paths(&["a.png", "b.png"]), Path::new("c.png")).unwrap_err();
        assert!(
            error.to_string().contains("named like a picture"),
            "{error}"
        );
        Ok(())
    }
}
