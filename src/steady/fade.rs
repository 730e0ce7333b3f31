//! How much of a painting is shown while a film fades to black or white, and back.
//!
//! Networks paint what little is left of a scene with full contrast, whatever is left of it: instance norm takes
//! brightness and contrast away. What has none is shown as it is, and what fades is shown as much less painted.

/// Contrast (deviation of the brightness, of 255) of pictures in which nothing can be seen, and from which on
/// they may be painted as a whole.
const NOTHING: f32 = 1.0;
const SOMETHING: f32 = 4.0;

/// Parts of the contrast of a scene at which nothing, and all, of the painting is shown.
const FADED: f32 = 0.1;
const THERE: f32 = 0.5;

/// What is expected of a scene that appears out of nothing. Photographs and films have 30 to 70.
const USUAL: f32 = 30.0;

/// Part by which a scene is taken to be as it is now, in every frame: dark ones that stay so are painted after two
/// seconds.
const HABIT: f32 = 0.02;

/// Follows the contrast of a film.
#[derive(Default)]
pub(super) struct Fade {
    /// Contrast of the scene.
    scene: f32,
}

impl Fade {
    /// Takes the contrast of the next frame, which `follows` from the one before or is the first of a scene; says how
    /// much of its painting is to be shown, from 0 to 1.
    pub fn shown(&mut self, contrast: f32, follows: bool) -> f32 {
        self.scene = match (contrast < NOTHING, follows) {
            (true, _) => USUAL,
            (false, false) => contrast,
            (false, true) => contrast.max(self.scene + HABIT * (contrast - self.scene)),
        };
        between(NOTHING, SOMETHING, contrast) * between(FADED, THERE, contrast / self.scene)
    }
}

/// From 0 where `value` is `none` or less to 1 where it is `all` or more, with a smooth beginning and end.
fn between(none: f32, all: f32, value: f32) -> f32 {
    let part = ((value - none) / (all - none)).clamp(0.0, 1.0);
    part * part * (3.0 - 2.0 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fades_is_shown_less_and_dark_scenes_are_painted() {
        let mut fade = Fade::default();
        assert_eq!(fade.shown(50.0, false), 1.0);
        let falling: Vec<_> = (0..=25)
            .map(|i| fade.shown(50.0 - 2.0 * i as f32, true))
            .collect();
        assert!(falling.is_sorted_by(|a, b| a >= b), "{falling:?}");
        assert!(
            falling[8] == 1.0 && falling[24] < 0.1 && falling[25] == 0.0,
            "{falling:?}"
        );
        let rising: Vec<_> = (0..=25).map(|i| fade.shown(2.0 * i as f32, true)).collect();
        assert!(
            rising.is_sorted() && rising[3] < 0.5 && rising[12] == 1.0,
            "{rising:?}"
        );
        // A cut to a dark scene, and a dark scene that appears.
        assert_eq!(fade.shown(6.0, false), 1.0);
        fade.shown(0.0, false);
        assert!(fade.shown(6.0, true) < 0.5);
        let shown: Vec<_> = (0..100).map(|_| fade.shown(6.0, true)).collect();
        assert!(shown[99] > 0.9, "{shown:?}");
    }
}
