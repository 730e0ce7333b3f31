//! The paint stage of the live picture: from a captured frame to a painting, as the controls say.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::controls::Controls;
use super::rate::RateControl;
use super::styles::Styles;
use crate::backend::Backend;
use crate::frame::{Frame, mix};
use crate::paint::Painter;
use crate::pipeline::live::{Picture, Shot};
use crate::pipeline::worker::Worker;
use crate::scale::{Scaler, fitted};
use crate::strokes::Strokes;

/// Short side up to which paintings are enlarged, with the edges of what the camera saw, and how many times at most.
/// Hardly a window shows more, and what takes this time is painted smaller for it.
const SHOWN: u32 = 720;
const ENLARGED: u32 = 2;

/// How long one style passes into another.
const FADE: Duration = Duration::from_millis(250);

/// The controls as the window and the painter share them.
pub(super) type Shared = Arc<Mutex<Controls>>;

/// Reads the shared controls.
pub(super) fn read(shared: &Shared) -> Controls {
    *shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Paints.
pub(super) struct Artist {
    painter: Painter,
    styles: Styles,
    shared: Shared,
    rate: Option<RateControl>,
    strokes: Strokes,
    /// Short side of what is shown where no larger one is painted, in pixels.
    shown: u32,
    /// The engine that does not paint, if there is one, while it is not being prepared for the next style.
    spare: Option<Box<dyn Backend>>,
    preparing: Worker<Preparation>,
    scaler: Scaler,
    last: Option<Shot>,
    last_controls: Option<Controls>,
    last_painting: Frame,
    fade: Option<Fade>,
}

/// An engine on its way to the next style. A model takes the engine some 100 ms to load and to
/// touch the memory of its first frame, in which the other engine goes on painting.
struct Preparation {
    engine: Box<dyn Backend>,
    style: usize,
    sample: Frame,
    result: Result<()>,
}

/// A style that is passing.
struct Fade {
    from: Frame,
    since: Instant,
    scaler: Scaler,
    scaled: Frame,
}

impl Artist {
    /// Paints with `painter`, into which the one of `styles` is loaded that is painted; `spare` is an engine for
    /// the next style, without which there is none. `rate` chooses the resolution while the controls say so; paintings are enlarged towards
    /// a short side of `ceiling`.
    pub fn new(
        (painter, spare): (Painter, Option<Box<dyn Backend>>),
        styles: Styles,
        shared: Shared,
        rate: Option<RateControl>,
        (strokes, ceiling): (Strokes, u32),
    ) -> Result<Self> {
        let known = styles.clone();
        let preparing = Worker::start("styles", 1, move |job: &mut Preparation| {
            if let Some(Ok(model)) = known.model(job.style) {
                job.result = job
                    .engine
                    .load(model)
                    .and_then(|()| job.engine.stylize(&job.sample, &mut Frame::default()));
            }
            Ok(())
        })?;
        Ok(Self {
            painter,
            styles,
            shared,
            rate,
            strokes,
            shown: ceiling.min(SHOWN),
            spare,
            preparing,
            scaler: Scaler::default(),
            last: None,
            last_controls: None,
            last_painting: Frame::default(),
            fade: None,
        })
    }

    /// Fills `picture` from `shot`; says whether there is something new to show. While frozen, the
    /// shot that was painted last is painted again when a control changes.
    pub fn paint(&mut self, shot: Option<&Shot>, picture: &mut Picture) -> Result<bool> {
        let controls = read(&self.shared);
        let changed = self.last_controls != Some(controls)
            || self.fade.is_some()
            || self.styles.meant(controls.style) != self.styles.painted();
        self.last_controls = Some(controls);
        let frozen = match (controls.frozen, shot) {
            (false, Some(shot)) => {
                self.keep(shot);
                false
            }
            (true, Some(shot)) if self.last.is_none() => {
                self.keep(shot);
                true
            }
            (true, _) if changed && self.last.is_some() => true,
            _ => return Ok(false),
        };
        let Some(shot) = &self.last else {
            return Ok(false);
        };
        let start = Instant::now();
        let (side, strained) = match &self.rate {
            Some(rate) if controls.automatic => (rate.side(), rate.strained()),
            _ => (controls.side, false),
        };
        let own = (shot.frame.width, shot.frame.height);
        picture.painted = fitted(own, side as usize);
        let shown = match strained {
            true => side,
            false => self.shown.min(ENLARGED * side).max(side),
        };
        let shown = fitted(own, shown as usize);
        self.scaler
            .run(&shot.frame, shown, controls.mirror, &mut picture.source)?;
        picture.at = if frozen { start } else { shot.at };
        let strokes = enlarging(self.strokes, picture.painted, shown);
        self.change_style(controls.style, strokes.size(shown));
        self.painter.set_strokes(strokes);
        self.painter.set_strength(controls.strength);
        self.painter.set_keep_colors(controls.keep_colors);
        self.painter.set_steadiness(controls.steadiness);
        self.painter.paint(&picture.source, &mut picture.painting)?;
        if let Some(fade) = &mut self.fade
            && !fade.mix(&mut picture.painting, Instant::now())?
        {
            self.fade = None;
        }
        self.last_painting.shape_like(&picture.painting);
        self.last_painting
            .pixels
            .copy_from_slice(&picture.painting.pixels);
        if let Some(rate) = &mut self.rate
            && controls.automatic
            && !frozen
        {
            let now = Instant::now();
            rate.painted(now - start, now);
        }
        Ok(true)
    }

    /// Keeps a shot in case the picture is frozen.
    fn keep(&mut self, shot: &Shot) {
        let last = self.last.get_or_insert_default();
        last.at = shot.at;
        last.frame.shape_like(&shot.frame);
        last.frame.pixels.copy_from_slice(&shot.frame.pixels);
    }

    /// Prepares the style that the controls ask for, once it has been read, and lets the last
    /// painting pass into it when it is ready. A style that cannot be had leaves the old one. `size` is that of
    /// what the engine paints.
    fn change_style(&mut self, wanted: usize, size: (usize, usize)) {
        if let Some(ready) = self.preparing.done() {
            if let Err(error) = &ready.result {
                self.styles.refuse(ready.style, error);
                self.spare = Some(ready.engine);
            } else if ready.style == wanted {
                self.spare = Some(self.painter.exchange(ready.engine));
                self.styles.set_painted(wanted);
                self.fade = (!self.last_painting.pixels.is_empty()).then(|| Fade {
                    from: self.last_painting.clone(),
                    since: Instant::now(),
                    scaler: Scaler::default(),
                    scaled: Frame::default(),
                });
            } else {
                self.spare = Some(ready.engine); // the wish has changed meanwhile
            }
        }
        let is_read = self.styles.model(wanted).is_some(); // or the next frame asks again
        if is_read
            && self.styles.meant(wanted) != self.styles.painted()
            && let Some(engine) = self.spare.take()
        {
            self.preparing.send(Preparation {
                engine,
                style: wanted,
                sample: Frame::new(size.0, size.1),
                result: Ok(()),
            });
        }
    }
}

/// The strokes with which a picture of the size `shown` is painted as `strokes` has it in one of the size `painted`,
/// and enlarged.
fn enlarging(strokes: Strokes, painted: (usize, usize), shown: (usize, usize)) -> Strokes {
    let short = |size: (usize, usize)| size.0.min(size.1) as f32;
    Strokes::Times(short(shown) / short(strokes.size(painted)).max(1.0))
}

impl Fade {
    /// Mixes what passes into `painting`; `false` once it has passed.
    fn mix(&mut self, painting: &mut Frame, now: Instant) -> Result<bool> {
        let part = (now - self.since).as_secs_f32() / FADE.as_secs_f32();
        if part >= 1.0 {
            return Ok(false);
        }
        let weight = ((1.0 - part) * 256.0) as u16;
        let size = (painting.width, painting.height);
        self.scaler.run(&self.from, size, false, &mut self.scaled)?;
        mix(&mut painting.pixels, &self.scaled.pixels, weight);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use anyhow::ensure;

    use super::*;
    use crate::commands::webcam::show::lock;
    use crate::frame::Carried;
    use crate::model::Model;

    /// An engine that hands the picture on, notes the sizes of what it gets, and has no place for one model.
    struct Engine(Arc<Mutex<Vec<(usize, usize)>>>);

    const TOO_LARGE: &str = "udnie";

    impl Backend for Engine {
        fn name(&self) -> &str {
            "test"
        }

        fn load(&mut self, model: &Model) -> Result<()> {
            ensure!(model.metadata.name != TOO_LARGE, "out of memory");
            Ok(())
        }

        fn has_memory(&self) -> bool {
            false
        }

        fn stylize_after(
            &mut self,
            _last: Option<&Carried>,
            input: &Frame,
            output: &mut Frame,
        ) -> Result<()> {
            lock(&self.0).push((input.width, input.height));
            output.shape_like(input);
            output.pixels.copy_from_slice(&input.pixels);
            Ok(())
        }
    }

    #[test]
    fn a_style_that_the_engine_refuses_is_told_and_others_are_painted_at_once() -> Result<()> {
        let (styles, first) = Styles::gather("the_scream")?;
        let reading = styles.read_all(&Arc::new(AtomicBool::new(false)))?;
        assert!(reading.join().is_ok());
        let number = |name: &str| {
            let is = |&style: &usize| matches!(styles.model(style), Some(Ok(model)) if model.metadata.name == name);
            (0..styles.count()).find(is).expect(name)
        };
        let (large, other) = (number(TOO_LARGE), number("starry_night"));
        let sizes = Arc::default();
        let engine = || Box::new(Engine(Arc::clone(&sizes)));
        let shared = Arc::new(Mutex::new(Controls {
            style: large,
            side: 240,
            ..Controls::default()
        }));
        let painter = Painter::new(engine(), 1.0, false);
        let mut artist = Artist::new(
            (painter, Some(engine())),
            styles.clone(),
            Arc::clone(&shared),
            None,
            (Strokes::Times(2.0), 240),
        )?;
        let shot = Shot {
            frame: Frame::new(320, 240),
            ..Shot::default()
        };
        let (start, mut picture) = (Instant::now(), Picture::default());
        let mut paint_until = |done: &dyn Fn() -> bool| -> Result<()> {
            while !done() {
                assert!(start.elapsed() < Duration::from_secs(20), "it goes on");
                assert!(artist.paint(Some(&shot), &mut picture)?);
            }
            Ok(())
        };
        paint_until(&|| styles.trouble(large).is_some())?;
        let words = styles.trouble(large).unwrap_or_default();
        assert!(
            words.ends_with("cannot be painted: out of memory"),
            "{words}"
        );
        assert_eq!(styles.meant(large), first);
        lock(&shared).style = other;
        paint_until(&|| styles.painted() == other)?;
        assert_eq!(styles.meant(large), other);
        // The engine was prepared for what it paints, strokes of twice their size.
        let sizes = lock(&sizes);
        assert!(sizes.iter().all(|&size| size == (160, 120)), "{sizes:?}");
        Ok(())
    }

    fn flat(value: u8) -> Frame {
        let mut frame = Frame::new(8, 8);
        frame.pixels.fill(value);
        frame
    }

    #[test]
    fn paintings_are_as_large_as_chosen_and_shown_as_large_as_the_window() {
        let full = (1280, 720);
        for (strokes, painted, wanted) in [
            (Strokes::Times(1.0), (854, 480), 480),
            (Strokes::Times(2.0), (854, 480), 240),
            (Strokes::Auto, (476, 268), 268),
            (Strokes::Times(1.0), full, 720),
        ] {
            let size = enlarging(strokes, painted, full).size(full);
            assert_eq!(size.1, wanted, "{strokes:?} {painted:?}");
        }
        let large = (1920, 1080);
        assert_eq!(enlarging(Strokes::Auto, large, large).size(large).1, 720);
    }

    #[test]
    fn one_style_passes_into_the_next_within_a_quarter_of_a_second() {
        let since = Instant::now();
        let mut fade = Fade {
            from: flat(200),
            since,
            scaler: Scaler::default(),
            scaled: Frame::default(),
        };
        let mut value = |ms: u64| {
            let mut painting = flat(100);
            let now = since + Duration::from_millis(ms);
            let goes_on = fade.mix(&mut painting, now).unwrap();
            (painting.pixels[0], goes_on)
        };
        assert_eq!(value(0), (200, true));
        assert_eq!(value(125), (150, true));
        assert_eq!(value(250), (100, false));
    }
}
