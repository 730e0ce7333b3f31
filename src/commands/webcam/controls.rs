//! What the user can change while it runs, and the keys and mouse moves that change it.

use super::USUAL_SIDE;
use crate::media::window::{Key, Mouse, Press};

/// Change of the strength by one key press or turn of the wheel.
const STRENGTH_STEP: f32 = 0.1;

/// Factor between two resolutions of `+` and `-`.
const SIZE_STEP: f64 = 1.25;

/// Smallest short side of a painting, in pixels.
pub(super) const SMALLEST_SIDE: u32 = 96;

/// Pixels on either side of the split line where the mouse takes hold of it.
const GRIP: f32 = 12.0;

/// What the key for steadiness goes through, from 0 (every frame for itself) to 1.
const STEADINESS: [f32; 3] = [0.0, 0.5, 1.0];

/// The state of the controls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Controls {
    /// Number of the style in the list.
    pub style: usize,
    /// 0 is the source, 1 is all paint.
    pub strength: f32,
    /// Colours of the source.
    pub keep_colors: bool,
    /// Left and right exchanged.
    pub mirror: bool,
    /// Picture held still.
    pub frozen: bool,
    /// 0 paints every frame for itself, 1 holds on to the last painting.
    pub steadiness: f32,
    /// Short side of the painting in pixels.
    pub side: u32,
    /// Whether the side follows the speed instead.
    pub automatic: bool,
    /// Where the split line is, from 0 (left) to 1; `None` without split view.
    pub split: Option<f32>,
    /// Whether the split line hangs on the mouse.
    pub dragging: bool,
    /// Whether the figures are shown.
    pub figures: bool,
    /// Whether the help is shown.
    pub help: bool,
}

impl Default for Controls {
    /// All paint, as large as it is fast enough.
    fn default() -> Self {
        Self {
            style: 0,
            strength: 1.0,
            keep_colors: false,
            mirror: false,
            frozen: false,
            steadiness: 0.0,
            side: USUAL_SIDE,
            automatic: true,
            split: None,
            dragging: false,
            figures: true,
            help: false,
        }
    }
}

/// What a key asks for beyond a change of the controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Write the picture to a file.
    Snapshot,
    /// Begin or end a recording.
    Record,
    /// Fill the screen or go back.
    FullScreen,
    /// End.
    Quit,
}

/// The help, line by line.
pub(super) const HELP: &str = "\
1-9, left, right   style
up, down, wheel    strength
C                  keep the colours
T                  steadiness
+ and -            resolution
M                  mirror
S                  split view; drag the line
Space              freeze
P                  snapshot
R                  record
F                  full screen
I                  figures
H                  this help
Esc                quit";

impl Controls {
    /// Applies a key. `styles` is the number of styles, `largest` the longest short side.
    pub fn press(&mut self, press: Press, styles: usize, largest: u32) -> Option<Action> {
        match press.key {
            Key::Left => self.style = (self.style + styles - 1) % styles,
            Key::Right => self.style = (self.style + 1) % styles,
            Key::Up => self.change_strength(1.0),
            Key::Down => self.change_strength(-1.0),
            Key::Letter('+' | '=') => self.change_side(SIZE_STEP, largest),
            Key::Letter('-' | '_') => self.change_side(1.0 / SIZE_STEP, largest),
            // What switches on and off would flicker while its key is held down.
            _ if press.repeated => {}
            Key::Letter(digit @ '1'..='9') => {
                let style = digit as usize - '1' as usize;
                if style < styles {
                    self.style = style;
                }
            }
            Key::Letter('c') => self.keep_colors = !self.keep_colors,
            Key::Letter('m') => self.mirror = !self.mirror,
            Key::Letter('s') => {
                self.split = match self.split {
                    Some(_) => None,
                    None => Some(0.5),
                };
            }
            Key::Letter(' ') => self.frozen = !self.frozen,
            Key::Letter('t') => {
                let more = STEADINESS.into_iter().find(|&step| step > self.steadiness);
                self.steadiness = more.unwrap_or(STEADINESS[0]);
            }
            Key::Letter('i') => self.figures = !self.figures,
            Key::Letter('h' | '?') => self.help = !self.help,
            Key::Letter('p') => return Some(Action::Snapshot),
            Key::Letter('r') => return Some(Action::Record),
            Key::Letter('f') => return Some(Action::FullScreen),
            Key::Escape | Key::Letter('q') => return Some(Action::Quit),
            Key::Letter(_) => {}
        }
        None
    }

    /// Applies the mouse. The picture covers `width` pixels from `left`. Returns whether the mouse
    /// is on the split line.
    pub fn mouse(&mut self, mouse: Mouse, was_down: bool, left: usize, width: usize) -> bool {
        if mouse.wheel != 0.0 {
            self.change_strength(mouse.wheel.signum());
        }
        let Some(split) = &mut self.split else {
            self.dragging = false;
            return false;
        };
        let (left, width) = (left as f32, width.max(1) as f32);
        let on_line = (mouse.at.0 - (left + *split * width)).abs() <= GRIP;
        self.dragging = mouse.down && (self.dragging || (on_line && !was_down));
        if self.dragging {
            *split = ((mouse.at.0 - left) / width).clamp(0.0, 1.0);
        }
        on_line || self.dragging
    }

    fn change_strength(&mut self, steps: f32) {
        let tenths = (self.strength / STRENGTH_STEP + steps).round();
        self.strength = (tenths * STRENGTH_STEP).clamp(0.0, 1.0);
    }

    fn change_side(&mut self, factor: f64, largest: u32) {
        let side = (f64::from(self.side) * factor / 4.0).round() as u32 * 4;
        self.side = side.clamp(SMALLEST_SIDE.min(largest), largest);
        self.automatic = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(controls: &mut Controls, key: Key) -> Option<Action> {
        let repeated = false;
        controls.press(Press { key, repeated }, 4, 720)
    }

    #[test]
    fn arrows_go_round_the_styles_and_digits_choose_among_those_there_are() {
        let mut controls = Controls::default();
        press(&mut controls, Key::Left);
        assert_eq!(controls.style, 3);
        press(&mut controls, Key::Right);
        press(&mut controls, Key::Right);
        assert_eq!(controls.style, 1);
        press(&mut controls, Key::Letter('4'));
        press(&mut controls, Key::Letter('9'));
        assert_eq!(controls.style, 3);
    }

    #[test]
    fn strength_stays_between_nothing_and_all() {
        let mut controls = Controls::default();
        press(&mut controls, Key::Up);
        assert_eq!(controls.strength, 1.0);
        for _ in 0..12 {
            press(&mut controls, Key::Down);
        }
        assert_eq!(controls.strength, 0.0);
        press(&mut controls, Key::Up);
        assert!((controls.strength - 0.1).abs() < 1e-6);
    }

    #[test]
    fn plus_and_minus_end_the_automatic_and_stay_in_bounds() {
        let mut controls = Controls::default();
        press(&mut controls, Key::Letter('-'));
        assert_eq!((controls.side, controls.automatic), (384, false));
        for _ in 0..20 {
            press(&mut controls, Key::Letter('-'));
        }
        assert_eq!(controls.side, SMALLEST_SIDE);
        for _ in 0..20 {
            press(&mut controls, Key::Letter('+'));
        }
        assert_eq!(controls.side, 720);
    }

    #[test]
    fn a_switch_whose_key_is_held_down_switches_once() {
        let mut controls = Controls::default();
        let held = |key| Press {
            key,
            repeated: true,
        };
        press(&mut controls, Key::Letter('m'));
        controls.press(held(Key::Letter('m')), 4, 720);
        assert!(controls.mirror);
        assert_eq!(controls.press(held(Key::Letter('r')), 4, 720), None);
        controls.press(held(Key::Right), 4, 720);
        assert_eq!(controls.style, 1);
    }

    #[test]
    fn the_split_line_follows_the_mouse_that_took_hold_of_it() {
        let mut controls = Controls::default();
        press(&mut controls, Key::Letter('s'));
        let at = |x: f32, down| Mouse {
            at: (x, 50.0),
            down,
            wheel: 0.0,
        };
        assert!(!controls.mouse(at(500.0, true), false, 100, 400));
        assert!(
            !controls.mouse(at(300.0, true), true, 100, 400) || !controls.dragging,
            "a button that was already down takes no hold"
        );
        assert!(controls.mouse(at(305.0, true), false, 100, 400));
        controls.mouse(at(400.0, true), true, 100, 400);
        assert_eq!(controls.split, Some(0.75));
        controls.mouse(at(200.0, false), true, 100, 400);
        assert_eq!(controls.split, Some(0.75));
    }

    #[test]
    fn every_key_stands_in_the_help() {
        for word in [
            "1-9", "up, down", "C ", "M ", "S ", "Space", "P ", "R ", "F ", "+", "T ", "Esc",
        ] {
            assert!(HELP.contains(word), "{word}");
        }
    }
}
