//! A window on the screen: shows frames, tells keys and the mouse. The only place that knows minifb.
//!
//! Everything here happens on the main thread, as some systems demand.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use minifb::{CursorStyle, InputCallback, MouseButton, MouseMode, ScaleMode, WindowOptions};

use super::full_screen::FullScreen;
use crate::frame::Frame;

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A key with a letter, by the letter on it, in lower case.
    Letter(char),
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Escape.
    Escape,
}

/// A key press.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Press {
    /// The key.
    pub key: Key,
    /// Whether the key was held down so long that it repeats.
    pub repeated: bool,
}

/// Where the mouse is and what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mouse {
    /// Place in pixels from the top left corner of the window; may lie outside.
    pub at: (f32, f32),
    /// Whether the left button is down.
    pub down: bool,
    /// Turns of the wheel since the last look; positive is away from the user.
    pub wheel: f32,
}

/// Whether the cursor shows that something can be dragged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// The usual arrow.
    Arrow,
    /// To the left and right.
    Sideways,
}

/// A window.
pub struct Window {
    window: minifb::Window,
    presses: Rc<RefCell<Presses>>,
    buffer: Vec<u32>,
    full_screen: FullScreen,
}

impl Window {
    /// Opens a resizable window of `width` x `height` pixels. Fails where there is no display.
    pub fn open(title: &str, width: usize, height: usize) -> Result<Self> {
        let options = WindowOptions {
            resize: true,
            scale_mode: ScaleMode::AspectRatioStretch, // only until the next frame has the new size
            ..WindowOptions::default()
        };
        let mut window = minifb::Window::new(title, width, height, options).map_err(|error| {
            anyhow!(
                "no display to open a window on ({}): start from a desktop session, or add \
                 --headless with --record or --virtual-camera",
                error.to_string().replace('\n', " ")
            )
        })?;
        window.set_target_fps(0); // the caller waits for frames, not for the window
        let presses = Rc::new(RefCell::new(Presses::default()));
        window.set_input_callback(Box::new(Listener(Rc::clone(&presses))));
        Ok(Self {
            window,
            presses,
            buffer: Vec::new(),
            full_screen: FullScreen::default(),
        })
    }

    /// Whether the user has not closed the window.
    pub fn is_open(&self) -> bool {
        self.window.is_open()
    }

    /// Width and height of the inside, in pixels; at least 1x1.
    pub fn size(&self) -> (usize, usize) {
        let (width, height) = self.window.get_size();
        (width.max(1), height.max(1))
    }

    /// Sets the title.
    pub fn set_title(&mut self, title: &str) {
        self.window.set_title(title);
    }

    /// Shows `frame`, which has the window's size, and looks for keys and the mouse.
    pub fn show(&mut self, frame: &Frame) -> Result<()> {
        self.buffer.clear();
        let pixel = |p: &[u8]| u32::from_be_bytes([0, p[0], p[1], p[2]]);
        self.buffer.extend(frame.pixels.chunks_exact(3).map(pixel));
        self.window
            .update_with_buffer(&self.buffer, frame.width, frame.height)
            .map_err(|error| anyhow!("could not draw the window: {error}"))?;
        self.forget_keys();
        Ok(())
    }

    /// Looks for keys and the mouse without drawing.
    pub fn poll(&mut self) {
        self.window.update();
        self.forget_keys();
    }

    /// A key that is let go of while another window listens would seem to be held down for ever.
    fn forget_keys(&mut self) {
        if !self.window.is_active() {
            self.presses.borrow_mut().down.clear();
        }
    }

    /// The keys pressed since the last call, in order.
    pub fn presses(&mut self) -> Vec<Press> {
        std::mem::take(&mut self.presses.borrow_mut().queue)
    }

    /// The mouse now.
    pub fn mouse(&self) -> Mouse {
        Mouse {
            at: self
                .window
                .get_unscaled_mouse_pos(MouseMode::Pass)
                .unwrap_or_default(),
            down: self.window.get_mouse_down(MouseButton::Left),
            wheel: self.window.get_scroll_wheel().map_or(0.0, |wheel| wheel.1),
        }
    }

    /// Changes the cursor.
    pub fn set_cursor(&mut self, cursor: Cursor) {
        self.window.set_cursor_style(match cursor {
            Cursor::Arrow => CursorStyle::Arrow,
            Cursor::Sideways => CursorStyle::ResizeLeftRight,
        });
    }

    /// Fills the screen, or goes back to the window. Fails where the system gives no way to it.
    pub fn toggle_full_screen(&mut self) -> Result<()> {
        self.full_screen.toggle(&self.window)
    }
}

/// Keys on their way from minifb's callback, which misses no press however short.
#[derive(Default)]
struct Presses {
    queue: Vec<Press>,
    down: HashSet<u8>,
    repeated: bool,
}

struct Listener(Rc<RefCell<Presses>>);

impl InputCallback for Listener {
    fn add_char(&mut self, letter: u32) {
        let mut presses = self.0.borrow_mut();
        let letter = char::from_u32(letter).filter(|letter| !letter.is_control());
        if let Some(letter) = letter {
            let (key, repeated) = (Key::Letter(letter.to_ascii_lowercase()), presses.repeated);
            presses.queue.push(Press { key, repeated });
        }
    }

    fn set_key_state(&mut self, key: minifb::Key, down: bool) {
        let mut presses = self.0.borrow_mut();
        if !down {
            presses.down.remove(&(key as u8));
            return;
        }
        presses.repeated = !presses.down.insert(key as u8);
        let repeated = presses.repeated;
        let key = match key {
            minifb::Key::Left => Key::Left,
            minifb::Key::Right => Key::Right,
            minifb::Key::Up => Key::Up,
            minifb::Key::Down => Key::Down,
            minifb::Key::Escape => Key::Escape,
            _ => return, // its letter comes through `add_char`
        };
        presses.queue.push(Press { key, repeated });
    }
}
