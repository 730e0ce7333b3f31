//! The main thread of the live picture: shows paintings, listens to keys and the mouse, keeps count.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::artist::{Shared, read};
use super::controls::{Action, Controls, HELP};
use super::files::Files;
use super::stats::{Figures, Stats};
use super::styles::Styles;
use super::view::{View, Words, place};
use crate::media::window::{Cursor, Window};
use crate::pipeline::live::{Live, Picture, Taken};

/// How long to wait for a painting before looking at keys again.
const PATIENCE: Duration = Duration::from_millis(4);

/// How often the words are renewed while no painting comes.
const RENEW: Duration = Duration::from_millis(250);

/// How long a notice stays.
const NOTICE: Duration = Duration::from_secs(4);

/// Silence of the camera after which the window says so.
const SILENCE: Duration = Duration::from_secs(1);

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
    /// Ends this long after the first picture, or after the start while none comes.
    pub duration: Option<Duration>,
    /// Longest short side of a painting.
    pub largest: u32,
    /// What computes.
    pub engine: String,
}

/// The main thread's state.
pub(super) struct Show {
    settings: Settings,
    styles: Styles,
    shared: Shared,
    count: Count,
    window: Option<Window>,
    /// What keys have it write.
    files: Files,
    view: View,
    notice: Option<(String, Instant)>,
    /// What was said last about the camera where there is no window.
    trouble: Option<String>,
    current: Option<Picture>,
    title: String,
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
    /// Whether its time was over before the first picture came.
    pub silent: bool,
}

impl Show {
    pub fn new(
        settings: Settings,
        styles: Styles,
        shared: Shared,
        count: Count,
        window: Option<Window>,
        files: Files,
    ) -> Self {
        let now = Instant::now();
        Self {
            settings,
            styles,
            shared,
            count,
            window,
            files,
            view: View::default(),
            notice: Some(("H: help".into(), now)),
            trouble: None,
            current: None,
            title: String::new(),
            captured: (0, now),
            was_down: false,
            drawn: None,
        }
    }

    /// Shows until the user, a limit or `stop` ends it.
    pub fn run(&mut self, live: &Live, stop: &AtomicBool) -> Result<Outcome> {
        let (start, mut began) = (Instant::now(), None);
        loop {
            let now = Instant::now();
            // The first frame is waited for while it is painted, but not while it does not come.
            let silent = began.is_none() && live.captured() == 0;
            let since = if silent { Some(start) } else { began };
            let elapsed = since.map_or(Duration::ZERO, |since| now - since);
            let over = self.settings.duration.is_some_and(|limit| elapsed >= limit);
            let enough = self
                .settings
                .frames
                .is_some_and(|n| lock(&self.count).count() >= n);
            let interrupted = stop.load(Ordering::Relaxed);
            let closed = self.window.as_ref().is_some_and(|w| !w.is_open());
            if interrupted || enough || closed || over {
                return Ok(Outcome {
                    silent: silent && over,
                    ..self.outcome(live, interrupted)
                });
            }
            let fresh = match live.next(PATIENCE) {
                Taken::Value(picture) => {
                    if let Some(old) = self.current.replace(picture) {
                        live.give_back(old);
                    }
                    if began.is_none() {
                        began = Some(Instant::now());
                        lock(&self.count).begin(live.captured(), self.dropped(live));
                    }
                    true
                }
                Taken::Nothing => false,
                Taken::Closed => return Ok(self.outcome(live, false)),
            };
            let mut controls = read(&self.shared);
            if self.listen(&mut controls)? {
                return Ok(self.outcome(live, false));
            }
            if let Some(words) = self.files.started() {
                self.tell(words);
            }
            let troubles = self.files.troubles()?;
            if self.window.is_none() && self.files.are_lost() {
                return Ok(self.outcome(live, false)); // what failed is told at the end
            }
            for words in troubles {
                remark!("{words}");
                self.tell(words);
            }
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

    /// Closes the window, then waits for what is written to be whole; see [`Files::finish`].
    pub fn finish(self) -> Result<()> {
        drop(self.window);
        self.files.finish()
    }

    fn outcome(&self, live: &Live, interrupted: bool) -> Outcome {
        let (captured, dropped) = (live.captured(), self.dropped(live));
        let missed = self.files.missed();
        let figures = lock(&self.count).figures(captured, dropped, missed, Instant::now());
        Outcome {
            figures,
            interrupted,
            silent: false,
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
                let (width, height) = picture.painted;
                controls.side = width.min(height) as u32;
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
        if controls.help && !before.help {
            self.notice = None;
        }
        let (now, then) = (
            describe(&self.styles, controls),
            describe(&self.styles, &before),
        );
        if !controls.figures && now != then {
            self.tell(now.replace('\n', ", "));
        }
        let meant = self.styles.meant(controls.style);
        let title = format!("repaint - {}", self.styles.title(meant));
        if title != self.title
            && let Some(window) = &mut self.window
        {
            window.set_title(&title);
            self.title = title;
        }
        for action in actions {
            match action {
                Action::Snapshot => {
                    let shown = self.current.as_ref();
                    if let Some(words) = shown.map(|shown| self.files.snapshot(&shown.painting)) {
                        self.tell(words);
                    }
                }
                Action::Record => {
                    let words = self.files.toggle_recording();
                    self.tell(words);
                }
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
            // The style before it is painted on.
            _ => self
                .styles
                .trouble(controls.style)
                .unwrap_or_default()
                .into(),
        };
        let mut words = Words {
            notice,
            help: controls.help.then_some(HELP),
            recording: self.files.is_recording(),
            ..Words::default()
        };
        if controls.figures {
            let (width, height) = match &self.current {
                Some(picture) => picture.painted,
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
    settings.push(match controls.steadiness {
        0.0 => "not steadied".to_string(),
        part => format!("steadiness {:.0}%", part * 100.0),
    });
    let style = styles.meant(controls.style);
    format!(
        "{} {}\n{}",
        style + 1,
        styles.title(style),
        settings.join(", ")
    )
}
