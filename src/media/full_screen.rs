//! Full screen for a window of minifb, which has no call for it: on X11 by asking the window
//! manager, or where there is none by filling the screen; on Windows by a window without a frame.
//! Elsewhere the desktop's own key does it.

use anyhow::{Result, bail};
use raw_window_handle::HasWindowHandle;
#[cfg(any(target_os = "linux", windows))]
use raw_window_handle::RawWindowHandle;

#[cfg(windows)]
use win32 as system;
#[cfg(target_os = "linux")]
use x11 as system;

/// Remembers how to come back.
#[derive(Default)]
pub(super) struct FullScreen {
    #[cfg(any(target_os = "linux", windows))]
    full: bool,
    #[cfg(any(target_os = "linux", windows))]
    before: Option<system::Place>,
}

impl FullScreen {
    /// Makes `window` fill the screen or go back to where it was. Fails where there is no way to it.
    pub fn toggle(&mut self, window: &impl HasWindowHandle) -> Result<()> {
        match window.window_handle().map(|handle| handle.as_raw()) {
            #[cfg(target_os = "linux")]
            Ok(RawWindowHandle::Xlib(handle)) => self.set(handle.window),
            #[cfg(windows)]
            Ok(RawWindowHandle::Win32(handle)) => self.set(handle.hwnd.get() as _),
            _ => bail!("full screen: use the key of your desktop for it"),
        }
    }

    #[cfg(any(target_os = "linux", windows))]
    fn set(&mut self, window: system::Id) -> Result<()> {
        self.before = system::set(window, !self.full, self.before)?;
        self.full = !self.full;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
mod x11 {
    use std::ffi::{CStr, c_long, c_ulong};

    use anyhow::{Result, anyhow, ensure};
    use x11_dl::xlib::{self, Xlib};

    /// X11's number of a window.
    pub type Id = xlib::Window;

    /// The place of a window on the screen: x, y, width, height.
    pub type Place = (i32, i32, u32, u32);

    /// Fills the screen with the window, or puts it back to `before`. Returns where it was, if the
    /// program itself has to put it back.
    pub fn set(window: Id, full: bool, before: Option<Place>) -> Result<Option<Place>> {
        let x = Xlib::open().map_err(|error| anyhow!("could not load Xlib: {error}"))?;
        // SAFETY: Xlib was loaded by its own names and signatures. The display is checked, used by
        // this thread alone and closed once; the window is live, as its owner calls
        // `toggle`; the other arguments live through the calls that they go to.
        unsafe {
            let display = (x.XOpenDisplay)(std::ptr::null());
            ensure!(!display.is_null(), "no X11 display for full screen");
            let root = (x.XDefaultRootWindow)(display);
            let atom = |name: &CStr| (x.XInternAtom)(display, name.as_ptr(), xlib::False);
            let mut place = None;
            if is_managed(&x, display, root, atom(c"_NET_SUPPORTING_WM_CHECK")) {
                let mut data = xlib::ClientMessageData::new();
                data.set_long(0, c_long::from(full)); // 1 adds a state, 0 removes it
                data.set_long(1, atom(c"_NET_WM_STATE_FULLSCREEN") as c_long);
                data.set_long(3, 1); // asked for by an application
                let message = xlib::XClientMessageEvent {
                    type_: xlib::ClientMessage,
                    serial: 0,
                    send_event: xlib::True,
                    display,
                    window,
                    message_type: atom(c"_NET_WM_STATE"),
                    format: 32,
                    data,
                };
                let mask = xlib::SubstructureRedirectMask | xlib::SubstructureNotifyMask;
                let mut event = xlib::XEvent::from(message);
                (x.XSendEvent)(display, root, xlib::False, mask, &mut event);
            } else {
                let now = geometry(&x, display, window);
                let screen = geometry(&x, display, root);
                let to = if full { screen } else { before.unwrap_or(now) };
                (x.XMoveResizeWindow)(display, window, to.0, to.1, to.2, to.3);
                place = full.then_some(now);
            }
            (x.XCloseDisplay)(display); // sends what is waiting
            Ok(place)
        }
    }

    /// Whether a window manager runs that understands window states.
    ///
    /// # Safety
    /// `display` must be open and `root` one of its windows.
    unsafe fn is_managed(
        x: &Xlib,
        display: *mut xlib::Display,
        root: xlib::Window,
        check: xlib::Atom,
    ) -> bool {
        let (mut kind, mut format) = (0, 0);
        let (mut items, mut after): (c_ulong, c_ulong) = (0, 0);
        let mut value = std::ptr::null_mut();
        // SAFETY: as the caller promises; the results go to live variables, and the value, which
        // Xlib allocates, is freed by it.
        unsafe {
            let answer = (x.XGetWindowProperty)(
                display,
                root,
                check,
                0,
                1,
                xlib::False,
                xlib::XA_WINDOW,
                &mut kind,
                &mut format,
                &mut items,
                &mut after,
                &mut value,
            );
            if !value.is_null() {
                (x.XFree)(value.cast());
            }
            answer == i32::from(xlib::Success) && items > 0
        }
    }

    /// Where a window is and how large.
    ///
    /// # Safety
    /// `display` must be open and `window` one of its windows.
    unsafe fn geometry(x: &Xlib, display: *mut xlib::Display, window: xlib::Window) -> Place {
        let mut root = 0;
        let (mut left, mut top, mut width, mut height) = (0, 0, 0, 0);
        let (mut border, mut depth) = (0, 0);
        // SAFETY: as the caller promises; the results go to live variables.
        unsafe {
            (x.XGetGeometry)(
                display,
                window,
                &mut root,
                &mut left,
                &mut top,
                &mut width,
                &mut height,
                &mut border,
                &mut depth,
            );
        }
        (left, top, width, height)
    }
}

#[cfg(windows)]
mod win32 {
    use std::mem::zeroed;
    use std::ptr::null_mut;

    use anyhow::{Result, ensure};
    use windows_sys::Win32::Foundation::{HWND, RECT};
    use windows_sys::Win32::Graphics::Gdi::{
        GetMonitorInfoW, MONITOR_DEFAULTTONEAREST, MONITORINFO, MonitorFromWindow,
    };
    use windows_sys::Win32::UI::WindowsAndMessaging::{
        GWL_STYLE, GetWindowLongPtrW, GetWindowPlacement, HWND_TOP, SWP_FRAMECHANGED, SWP_NOMOVE,
        SWP_NOSIZE, SWP_NOZORDER, SetWindowLongPtrW, SetWindowPlacement, SetWindowPos,
        WINDOWPLACEMENT, WS_OVERLAPPEDWINDOW,
    };

    /// Windows' number of a window.
    pub type Id = HWND;

    /// What a window was before: its style and its place, maximised or not.
    pub type Place = (isize, WINDOWPLACEMENT);

    /// Takes the frame off the window and fills the screen that most of it is on, or puts it back to `before`.
    /// Returns what it was.
    pub fn set(window: Id, full: bool, before: Option<Place>) -> Result<Option<Place>> {
        const FRAMED: isize = WS_OVERLAPPEDWINDOW as isize;
        // SAFETY: the window is live, as its owner calls `toggle`, and belongs to this thread. Both structures are
        // plain numbers, for which zeros stand; they state their sizes and live through the calls.
        unsafe {
            if let Some((style, placement)) = before.filter(|_| !full) {
                SetWindowLongPtrW(window, GWL_STYLE, style);
                SetWindowPlacement(window, &placement);
                let how = SWP_FRAMECHANGED | SWP_NOMOVE | SWP_NOSIZE | SWP_NOZORDER;
                SetWindowPos(window, null_mut(), 0, 0, 0, 0, how); // has the frame drawn
                return Ok(None);
            }
            let style = GetWindowLongPtrW(window, GWL_STYLE);
            let mut placement = WINDOWPLACEMENT {
                length: size_of::<WINDOWPLACEMENT>() as u32,
                ..zeroed()
            };
            let mut monitor = MONITORINFO {
                cbSize: size_of::<MONITORINFO>() as u32,
                ..zeroed()
            };
            let nearest = MonitorFromWindow(window, MONITOR_DEFAULTTONEAREST);
            ensure!(
                GetWindowPlacement(window, &mut placement) != 0
                    && GetMonitorInfoW(nearest, &mut monitor) != 0,
                "full screen: Windows does not tell how large the screen is"
            );
            SetWindowLongPtrW(window, GWL_STYLE, style & !FRAMED);
            let RECT {
                left,
                top,
                right,
                bottom,
            } = monitor.rcMonitor;
            let (width, height) = (right - left, bottom - top);
            SetWindowPos(window, HWND_TOP, left, top, width, height, SWP_FRAMECHANGED);
            Ok(Some((style, placement)))
        }
    }
}
