//! How large strokes are. A network paints strokes of so many pixels, which vanish in large pictures: those are
//! painted smaller, which is faster, too, and enlarged.

mod cell;
mod enlarger;

pub use enlarger::Enlarger;

use crate::scale::fitted;

/// Short side, in pixels, from which on strokes grow with the picture. The networks learned from paintings and photos
/// of 144 to 320 pixels; photos of 12 megapixels that were painted as they are looked tinted, no more. Beside films of
/// 1080 rows that were painted so, those enlarged from 720 looked as sharp.
const LARGE: f32 = 720.0;

/// Shortest side that is painted, in pixels, unless the picture's own is shorter.
const SMALLEST: usize = 64;

/// How large strokes are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strokes {
    /// So many times as large as the network paints them; 1 and less paint a picture at its own size.
    Times(f32),
    /// Larger in pictures whose short side has more than 720 pixels, by as much.
    Auto,
}

impl Default for Strokes {
    fn default() -> Self {
        Self::Times(1.0)
    }
}

impl Strokes {
    /// The size at which a picture of `size` (width, height) is painted: this, or a smaller one.
    pub fn size(self, size: (usize, usize)) -> (usize, usize) {
        let short = size.0.min(size.1);
        let times = match self {
            Self::Times(times) => times,
            Self::Auto => short as f32 / LARGE,
        };
        let side = (short as f32 / times.max(1.0)).round() as usize;
        match side.max(SMALLEST) {
            side if side < short => fitted(size, side),
            _ => size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strokes_grow_with_large_pictures_only_and_as_they_are_told() {
        let sizes = |strokes: Strokes| {
            let sizes = [(641, 480), (1280, 720), (1920, 1080), (3024, 4032)];
            sizes.map(|size| strokes.size(size))
        };
        let own = sizes(Strokes::default());
        assert_eq!(own, [(641, 480), (1280, 720), (1920, 1080), (3024, 4032)]);
        let auto = sizes(Strokes::Auto);
        assert_eq!(auto, [(641, 480), (1280, 720), (1280, 720), (720, 960)]);
        let twice = sizes(Strokes::Times(2.0));
        assert_eq!(twice, [(320, 240), (640, 360), (960, 540), (1512, 2016)]);
        assert_eq!(Strokes::Times(16.0).size((100, 90)), (72, 64));
        assert_eq!(Strokes::Times(16.0).size((30, 20)), (30, 20));
    }
}
