//! What the window shows: the picture fitted into it, the split line, words over it.

use anyhow::Result;

use crate::frame::Frame;
use crate::pipeline::live::Picture;
use crate::scale::Scaler;
use crate::text;

/// Colour of words.
const INK: [u8; 3] = [255, 255, 255];

/// Colour of the split line and of words that matter.
const ACCENT: [u8; 3] = [255, 200, 60];

/// Colour of the sign that a recording runs.
const RED: [u8; 3] = [235, 50, 40];

/// The sign that a recording runs, behind a dot.
const RECORDING: &str = "  REC";

/// What of the light stays behind words, of 256.
const SHADE: u32 = 90;

/// Words over the picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Words {
    /// Top left, line by line.
    pub figures: String,
    /// Bottom, in the middle: something that just happened, or trouble.
    pub notice: String,
    /// In the middle.
    pub help: Option<&'static str>,
    /// Whether a recording runs.
    pub recording: bool,
}

/// Composes the window's content; keeps its memory.
#[derive(Default)]
pub(super) struct View {
    screen: Frame,
    picture: Scaler,
    scaled: Frame,
    source: Scaler,
    scaled_source: Frame,
}

/// The rectangle of the window that a picture of `picture` pixels fills without being stretched:
/// left, top, width, height.
pub(super) fn place(
    window: (usize, usize),
    picture: (usize, usize),
) -> (usize, usize, usize, usize) {
    let (width, height) = (picture.0.max(1), picture.1.max(1));
    let wide = window.0 * height > window.1 * width;
    let (w, h) = if wide {
        ((window.1 * width + height / 2) / height, window.1)
    } else {
        (window.0, (window.0 * height + width / 2) / width)
    };
    let (w, h) = (w.clamp(1, window.0), h.clamp(1, window.1));
    ((window.0 - w) / 2, (window.1 - h) / 2, w, h)
}

impl View {
    /// The window's content at `size` (width, height): `picture`, left of `split` (0..1) what was
    /// painted instead, and `words`. Before the first picture there are words alone.
    pub fn compose(
        &mut self,
        size: (usize, usize),
        picture: Option<&Picture>,
        split: Option<f32>,
        words: &Words,
    ) -> Result<&Frame> {
        (self.screen.width, self.screen.height) = size;
        self.screen.pixels.clear();
        self.screen.pixels.resize(size.0 * size.1 * 3, 0);
        if let Some(picture) = picture {
            self.draw_picture(picture, split)?;
        }
        self.draw_words(words);
        Ok(&self.screen)
    }

    fn draw_picture(&mut self, picture: &Picture, split: Option<f32>) -> Result<()> {
        let window = (self.screen.width, self.screen.height);
        let painting = &picture.painting;
        let (left, top, width, height) = place(window, (painting.width, painting.height));
        self.picture
            .run(painting, (width, height), false, &mut self.scaled)?;
        let columns = split.map_or(0, |split| (split * width as f32).round() as usize);
        if split.is_some() {
            let size = (width, height);
            self.source
                .run(&picture.source, size, false, &mut self.scaled_source)?;
        }
        for y in 0..height {
            let row = &mut self.screen.pixels[((top + y) * window.0 + left) * 3..][..width * 3];
            let line = y * width * 3..(y + 1) * width * 3;
            let (source, painted) = row.split_at_mut(columns * 3);
            painted.copy_from_slice(&self.scaled.pixels[line.clone()][columns * 3..]);
            if split.is_some() {
                source.copy_from_slice(&self.scaled_source.pixels[line][..columns * 3]);
            }
        }
        if split.is_some() {
            let at = (left + columns.clamp(1, width.max(2) - 1) - 1, top);
            text::fill(&mut self.screen, at, (2, height), ACCENT);
            let handle = (
                at.0.saturating_sub(3),
                top + height / 2 - height.min(40) / 2,
            );
            text::fill(&mut self.screen, handle, (8, height.min(40)), ACCENT);
        }
        Ok(())
    }

    fn draw_words(&mut self, words: &Words) {
        let (width, height) = (self.screen.width, self.screen.height);
        let largest = ((height + 60) / 200).clamp(1, 6);
        let fits = |scale: &usize| text::width(&words.figures, *scale) + 12 * scale < width;
        let scale = (1..=largest).rev().find(fits).unwrap_or(1);
        let margin = 4 * scale;
        // The help has the middle, and most of a small window.
        if !words.figures.is_empty() && words.help.is_none() {
            self.write((margin, margin), scale, INK, &words.figures);
        }
        if words.recording {
            let side = text::width(RECORDING, scale) + margin;
            let corner = (width.saturating_sub(side), margin);
            self.write(corner, scale, RED, RECORDING);
            let dot = (corner.0, corner.1 + scale);
            text::fill(&mut self.screen, dot, (6 * scale, 6 * scale), RED);
        }
        if !words.notice.is_empty() {
            let letters = width.saturating_sub(2 * margin) / text::width("m", scale);
            let notice = text::wrapped(&words.notice, letters);
            let size = (text::width(&notice, scale), text::height(&notice, scale));
            let left = width.saturating_sub(size.0) / 2;
            let top = height.saturating_sub(size.1 + 3 * margin);
            self.write((left, top), scale, ACCENT, &notice);
        }
        if let Some(help) = words.help {
            let fits = |scale: &usize| {
                text::width(help, *scale) + 40 < width && text::height(help, *scale) + 40 < height
            };
            let scale = (1..=scale + 1).rev().find(fits).unwrap_or(1);
            let size = (text::width(help, scale), text::height(help, scale));
            let left = width.saturating_sub(size.0) / 2;
            let top = height.saturating_sub(size.1) / 2;
            self.write((left, top), scale, INK, help);
        }
    }

    /// Words on a darkened ground.
    fn write(&mut self, at: (usize, usize), scale: usize, color: [u8; 3], words: &str) {
        let margin = 3 * scale;
        let right = (at.0 + text::width(words, scale) + margin).min(self.screen.width);
        let bottom = (at.1 + text::height(words, scale) + margin).min(self.screen.height);
        let (left, top) = (at.0.saturating_sub(margin), at.1.saturating_sub(margin));
        for y in top..bottom {
            let row = (y * self.screen.width + left) * 3..(y * self.screen.width + right) * 3;
            for value in &mut self.screen.pixels[row] {
                *value = ((u32::from(*value) * SHADE) >> 8) as u8;
            }
        }
        text::draw(&mut self.screen, at.0, at.1, scale, color, words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(width: usize, height: usize, value: u8) -> Frame {
        let mut frame = Frame::new(width, height);
        frame.pixels.fill(value);
        frame
    }

    fn picture() -> Picture {
        Picture {
            source: flat(64, 48, 50),
            painting: flat(64, 48, 200),
            ..Picture::default()
        }
    }

    fn value(frame: &Frame, x: usize, y: usize) -> u8 {
        frame.pixels[(y * frame.width + x) * 3]
    }

    #[test]
    fn the_picture_keeps_its_shape_in_windows_of_every_shape() {
        assert_eq!(place((1280, 720), (640, 480)), (160, 0, 960, 720));
        assert_eq!(place((640, 1000), (640, 480)), (0, 260, 640, 480));
        assert_eq!(place((1, 1), (640, 480)), (0, 0, 1, 1));
        let mut view = View::default();
        let screen = view
            .compose((200, 96), Some(&picture()), None, &Words::default())
            .unwrap();
        assert_eq!((value(screen, 10, 40), value(screen, 190, 40)), (0, 0));
        assert_eq!(value(screen, 100, 40), 200);
    }

    #[test]
    fn the_split_shows_the_source_on_the_left_and_a_line() {
        let mut view = View::default();
        let screen = view
            .compose((128, 96), Some(&picture()), Some(0.25), &Words::default())
            .unwrap();
        assert_eq!(value(screen, 10, 5), 50);
        assert_eq!(value(screen, 100, 5), 200);
        assert_eq!(value(screen, 32, 5), ACCENT[0]);
        for split in [0.0, 1.0] {
            view.compose((3, 2), Some(&picture()), Some(split), &Words::default())
                .unwrap();
        }
    }

    #[test]
    fn words_are_light_on_dark_ground_and_fit_into_small_windows() {
        let mut words = Words {
            figures: "starry_night".into(),
            notice: "the camera is unplugged; waiting for it".into(),
            help: None,
            recording: true,
        };
        let mut view = View::default();
        let screen = view
            .compose((640, 480), Some(&picture()), None, &words)
            .unwrap();
        assert_eq!(value(screen, 2, 2), 70, "shaded");
        assert!(screen.pixels.contains(&255));
        words.help = Some(super::super::controls::HELP);
        let screen = view
            .compose((640, 480), Some(&picture()), None, &words)
            .unwrap();
        assert_eq!(value(screen, 2, 2), 200, "help and figures at once");
        for size in [(1, 1), (40, 500), (500, 20)] {
            view.compose(size, None, None, &words).unwrap();
        }
    }
}
