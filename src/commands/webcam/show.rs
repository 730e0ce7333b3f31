//! The main thread of the live picture: shows paintings, listens to keys and the mouse, keeps count.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::artist::{Shared, read};
use super::controls::{Action, Controls, HELP};
use super::recorder::{Ended, Recording, free_name, snapshots};
use super::stats::{Figures, Stats};
use super::styles::Styles;
use super::view::{View, Words, place};
use crate::frame::Frame;
use crate::media::Hwaccel;
use crate::media::window::{Cursor, Window};
use crate::output::Existing;
use crate::pipeline::live::{Live, Picture, Taken};
use crate::pipeline::worker::Worker;

/// How long to wait for a painting before looking at keys again.
const PATIENCE: Duration = Duration::from_millis(4);

/// How often the words are renewed while no painting comes.
const RENEW: Duration = Duration::from_millis(250);

/// How long a notice stays.
const NOTICE: Duration = Duration::from_secs(4);

/// Silence of the camera after which the window says so.
const SILENCE: Duration = Duration::from_secs(1);

/// A recording that the window begins and ends and the painter feeds.
pub(super) type Tape = Arc<Mutex<Option<Recording>>>;

/// Figures that the window counts, or without a window the painter.
pub(super) type Count = Arc<Mutex<Stats>>;

/// Locks what threads share; it stays whole whatever panics elsewhere.
pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the loop has to know beforehand.
pub(super) struct Settings {
    /// Ends after this many pictures.
    pub frames: Option<u64>,
    /// Ends after this long.
    pub duration: Option<Duration>,
    /// Where snapshots and recordings go.
    pub folder: PathBuf,
    /// Size of recordings.
    pub output_size: (usize, usize),
    /// Nominal frame rate of recordings.
    pub rate: (i32, i32),
    /// Who encodes recordings, if it can.
    pub hwaccel: Hwaccel,
    /// Longest short side of a painting.
    pub largest: u32,
    /// What computes.
    pub engine: String,
}

/// The main thread's state.
pub(super) struct Show {
    pub settings: Settings,
    pub styles: Styles,
    pub shared: Shared,
    pub tape: Tape,
    pub count: Count,
    pub window: Option<Window>,
    /// Recordings that are being completed.
    pub ended: Vec<Ended>,
    view: View,
    snapshots: Worker<(PathBuf, Frame)>,
    numbers: (u32, u32),
    notice: Option<(String, Instant)>,
    /// What was said last about the camera where there is no window.
    trouble: Option<String>,
    current: Option<Picture>,
    title: String,
    missed: u64,
    captured: (u64, Instant),
    was_down: bool,
    drawn: Option<(Instant, (usize, usize), Controls)>,
}

/// How the run ended.
pub(super) struct Outcome {
    /// The figures.
    pub figures: Figures,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
}

impl Show {
    pub fn new(
        settings: Settings,
        styles: Styles,
        shared: Shared,
        tape: Tape,
        count: Count,
        window: Option<Window>,
    ) -> Result<Self> {
        let now = Instant::now();
        Ok(Self {
            settings,
            styles,
            shared,
            tape,
            count,
            window,
            ended: Vec::new(),
            view: View::default(),
            snapshots: snapshots()?,
            numbers: (0, 0),
            notice: Some(("H: help".into(), now)),
            trouble: None,
            current: None,
            title: String::new(),
            missed: 0,
            captured: (0, now),
            was_down: false,
            drawn: None,
        })
    }

    /// Shows until the user, a limit or `stop` ends it.
    pub fn run(&mut self, live: &Live, stop: &AtomicBool) -> Result<Outcome> {
        let mut began = None;
        loop {
            let now = Instant::now();
            let over = |began: &Option<Instant>| {
                let elapsed = began.map_or(Duration::ZERO, |began| now - began);
                self.settings.duration.is_some_and(|limit| elapsed >= limit)
            };
            let enough = self
                .settings
                .frames
                .is_some_and(|n| lock(&self.count).count() >= n);
            let interrupted = stop.load(Ordering::Relaxed);
            let closed = self.window.as_ref().is_some_and(|w| !w.is_open());
            if interrupted || enough || closed || over(&began) {
                return Ok(self.outcome(live, interrupted));
            }
            let fresh = match live.next(PATIENCE) {
                Taken::Value(picture) => {
                    if let Some(old) = self.current.replace(picture) {
                        live.give_back(old);
                    }
                    began.get_or_insert_with(Instant::now);
                    true
                }
                Taken::Nothing => false,
                Taken::Closed => return Ok(self.outcome(live, false)),
            };
            let mut controls = read(&self.shared);
            if self.listen(&mut controls)? {
                return Ok(self.outcome(live, false));
            }
            self.watch_files()?;
            self.draw(live, &controls, fresh)?;
            let now = Instant::now();
            match &self.current {
                _ if controls.frozen => lock(&self.count).paused(now),
                Some(picture) if fresh && self.window.is_some() => {
                    lock(&self.count).shown(picture, now);
                }
                _ => {}
            }
        }
    }

    fn outcome(&self, live: &Live, interrupted: bool) -> Outcome {
        let missed = self.missed + lock(&self.tape).as_ref().map_or(0, Recording::missed);
        let (captured, dropped) = (live.captured(), self.dropped(live));
        let figures = lock(&self.count).figures(captured, dropped, missed, Instant::now());
        Outcome {
            figures,
            interrupted,
        }
    }

    /// Frames that came but were not shown; without a window painting is all there is to it.
    fn dropped(&self, live: &Live) -> u64 {
        live.unpainted() + self.window.as_ref().map_or(0, |_| live.unshown())
    }

    /// Applies keys and the mouse; says whether to end.
    fn listen(&mut self, controls: &mut Controls) -> Result<bool> {
        let Some(window) = &mut self.window else {
            return Ok(false);
        };
        let before = *controls;
        let mut actions = Vec::new();
        for press in window.presses() {
            let (styles, largest) = (self.styles.count(), self.settings.largest);
            if controls.automatic
                && let Some(picture) = &self.current
            {
                // `+` and `-` go on from what the speed chose
                let painting = &picture.painting;
                controls.side = painting.width.min(painting.height) as u32;
            }
            actions.extend(controls.press(press, styles, largest));
        }
        let size = window.size();
        let picture = self
            .current
            .as_ref()
            .map(|p| (p.painting.width, p.painting.height));
        let (left, _, width, _) = place(size, picture.unwrap_or(size));
        let mouse = window.mouse();
        let grip = controls.mouse(mouse, self.was_down, left, width);
        self.was_down = mouse.down;
        window.set_cursor(if grip {
            Cursor::Sideways
        } else {
            Cursor::Arrow
        });
        if *controls != before {
            *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = *controls;
        }
        if controls.style != before.style
            && let Some(Err(words)) = self.styles.model(controls.style)
        {
            self.tell(words.clone());
        }
        let title = format!("repaint - {}", self.styles.title(controls.style));
        if title != self.title
            && let Some(window) = &mut self.window
        {
            window.set_title(&title);
            self.title = title;
        }
        for action in actions {
            match action {
                Action::Snapshot => self.snapshot(),
                Action::Record => self.toggle_recording(),
                Action::FullScreen => {
                    let toggled = self.window.as_mut().map(Window::toggle_full_screen);
                    if let Some(Err(error)) = toggled {
                        self.tell(format!("{error:#}"));
                    }
                }
                Action::Quit => return Ok(true),
            }
        }
        Ok(false)
    }

    fn tell(&mut self, words: String) {
        self.notice = Some((words, Instant::now()));
    }

    fn snapshot(&mut self) {
        let Some(picture) = &self.current else {
            return;
        };
        let place = free_name(&self.settings.folder, "png", &mut self.numbers.0);
        let words = match self
            .snapshots
            .offer((place.clone(), picture.painting.clone()))
        {
            true => format!("snapshot: {}", place.display()),
            false => "the snapshots before are still being written".into(),
        };
        self.tell(words);
    }

    fn toggle_recording(&mut self) {
        let running = lock(&self.tape).take();
        let words = match running {
            Some(recording) => {
                let seconds = recording.duration(Instant::now()).as_secs_f64();
                let words = format!("recorded {seconds:.1} s: {}", recording.place().display());
                self.end_recording(recording);
                words
            }
            None => {
                let place = free_name(&self.settings.folder, "mp4", &mut self.numbers.1);
                let Settings {
                    output_size,
                    rate,
                    hwaccel,
                    ..
                } = self.settings;
                match Recording::begin(&place, Existing::Keep, output_size, rate, hwaccel) {
                    Ok(recording) => {
                        *lock(&self.tape) = Some(recording);
                        format!("recording: {}", place.display())
                    }
                    Err(error) => format!("{error:#}"),
                }
            }
        };
        self.tell(words);
    }

    /// Lets a recording be completed in the background.
    fn end_recording(&mut self, recording: Recording) {
        self.missed += recording.missed();
        self.ended.push(recording.end(Instant::now()));
    }

    /// Says when a recording broke off or a snapshot could not be written.
    fn watch_files(&mut self) -> Result<()> {
        let failed = lock(&self.tape).take_if(|recording| recording.has_failed());
        if let Some(recording) = failed {
            self.tell(format!("recording failed: {}", recording.place().display()));
            self.end_recording(recording);
        }
        if self.snapshots.has_failed() {
            let failed = std::mem::replace(&mut self.snapshots, snapshots()?);
            if let Err(error) = failed.finish() {
                remark!("{error:#}");
                self.tell(format!("{error:#}"));
            }
        }
        Ok(())
    }

    fn draw(&mut self, live: &Live, controls: &Controls, fresh: bool) -> Result<()> {
        let now = Instant::now();
        let rates = lock(&self.count).rates(live.captured(), now);
        let dropped = self.dropped(live);
        if live.captured() != self.captured.0 || controls.frozen {
            self.captured = (live.captured(), now);
        }
        let silence = now - self.captured.1;
        let trouble = match live.trouble() {
            None if silence > SILENCE => Some("the camera sends nothing".to_string()),
            trouble => trouble,
        };
        let Some(window) = &mut self.window else {
            if trouble != self.trouble {
                remark!("{}", trouble.as_deref().unwrap_or("the camera is back"));
                self.trouble = trouble;
            }
            return Ok(());
        };
        let size = window.size();
        let drawn = self
            .drawn
            .is_some_and(|(when, drawn_size, drawn_controls)| {
                now - when < RENEW && drawn_size == size && drawn_controls == *controls
            });
        if drawn && !fresh {
            window.poll();
            return Ok(());
        }
        self.drawn = Some((now, size, *controls));
        let notice = match (&self.notice, live.trouble()) {
            (_, Some(trouble)) => trouble,
            _ if silence > SILENCE => {
                format!(
                    "the camera has sent nothing for {:.0} s",
                    silence.as_secs_f64()
                )
            }
            (Some((words, since)), None) if now - *since < NOTICE => words.clone(),
            _ => String::new(),
        };
        let mut words = Words {
            notice,
            help: controls.help.then_some(HELP),
            recording: lock(&self.tape).is_some(),
            ..Words::default()
        };
        if controls.figures {
            let (width, height) = match &self.current {
                Some(picture) => (picture.painting.width, picture.painting.height),
                None => (0, 0),
            };
            let automatic = if controls.automatic { " auto" } else { "" };
            words.figures = format!(
                "{}\n{:.1} fps of {:.1}\n{:.0} ms\n{width}x{height}{automatic}\n{}\n{} dropped",
                describe(&self.styles, controls),
                rates.shown,
                rates.captured,
                rates.latency_ms,
                self.settings.engine,
                dropped,
            );
        }
        let screen = self
            .view
            .compose(size, self.current.as_ref(), controls.split, &words)?;
        window.show(screen)
    }

    /// Waits for snapshots and recordings to be whole; the first that is not is the error.
    pub fn finish(mut self) -> Result<()> {
        let running = lock(&self.tape).take();
        if let Some(recording) = running {
            self.end_recording(recording);
        }
        let snapshots = self.snapshots.finish();
        let mut ends: Vec<Result<()>> = self.ended.into_iter().map(Ended::finish).collect();
        ends.push(snapshots);
        ends.into_iter().collect()
    }
}

/// The style and what is set besides.
fn describe(styles: &Styles, controls: &Controls) -> String {
    let mut settings = Vec::new();
    if controls.strength < 1.0 {
        settings.push(format!("strength {:.0}%", controls.strength * 100.0));
    }
    for (on, word) in [
        (controls.keep_colors, "colours kept"),
        (controls.mirror, "mirrored"),
        (controls.frozen, "frozen"),
    ] {
        if on {
            settings.push(word.to_string());
        }
    }
    if controls.steadiness > 0.0 {
        settings.push(format!("steadiness {:.0} %", controls.steadiness * 100.0));
    }
    let style = format!("{} {}", controls.style + 1, styles.title(controls.style));
    match settings.is_empty() {
        true => style,
        false => format!("{style}\n{}", settings.join(", ")),
    }
}
