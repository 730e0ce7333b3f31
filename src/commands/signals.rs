//! Ctrl-C and what else asks a program to end: SIGTERM, and SIGHUP from a terminal that closes; on Windows a console that
//! closes and the end of the session.

use anyhow::Result;

/// Longer than Windows lets a program end.
#[cfg(windows)]
const ENDING: std::time::Duration = std::time::Duration::from_secs(60);

/// Calls `heard` in a thread of its own whenever the program is asked to end, with whether Ctrl-C
/// did: `timeout` and closing terminals ask twice, the program and then its group.
#[cfg(unix)]
pub(super) fn listen(mut heard: impl FnMut(bool) + Send + 'static) -> Result<()> {
    use std::sync::{Arc, atomic::AtomicBool};

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::iterator::Signals;

    let mut wanted = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP); // `nohup` has a film go on when the terminal closes
    }
    // Heard, it no longer kills: what writes more than `ulimit -f` allows fails and says so.
    signal_hook::flag::register(SIGXFSZ, Arc::<AtomicBool>::default())?;
    let mut signals = Signals::new(wanted)?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || signals.forever().for_each(|signal| heard(signal == SIGINT)))?;
    Ok(())
}

/// Whether who started the program had it ignore `signal`.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: of zeros it is an action without flags; the call writes the action that is set, and sets none.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Calls `heard` in a thread of its own at Ctrl-C, and where the console is closed or the user logs off.
#[cfg(windows)]
pub(super) fn listen(heard: impl FnMut(bool) + Send + 'static) -> Result<()> {
    use std::sync::{Mutex, PoisonError};

    use anyhow::ensure;
    use windows_sys::Win32::System::Console::{
        CTRL_BREAK_EVENT, CTRL_C_EVENT, SetConsoleCtrlHandler,
    };
    use windows_sys::core::BOOL;

    type Heard = Box<dyn FnMut(bool) + Send>;
    static HEARD: Mutex<Option<Heard>> = Mutex::new(None);

    /// Windows starts a thread for each event.
    unsafe extern "system" fn handle(event: u32) -> BOOL {
        let ctrl_c = matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT);
        if let Some(heard) = &mut *HEARD.lock().unwrap_or_else(PoisonError::into_inner) {
            heard(ctrl_c);
        }
        if !ctrl_c {
            // When this returns Windows ends the program, which it else leaves some seconds to end by itself.
            std::thread::sleep(ENDING);
        }
        1
    }

    *HEARD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(heard));
    // SAFETY: the function lives as long as the program and may be called from any thread.
    let listens = unsafe { SetConsoleCtrlHandler(Some(handle), 1) };
    ensure!(listens != 0, std::io::Error::last_os_error());
    Ok(())
}
