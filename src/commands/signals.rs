//! Ctrl-C and what else asks a program to end: SIGTERM, and SIGHUP from a terminal that closes.

use anyhow::Result;

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

/// Calls `heard` in a thread of its own at Ctrl-C.
#[cfg(not(unix))]
pub(super) fn listen(mut heard: impl FnMut(bool) + Send + 'static) -> Result<()> {
    Ok(ctrlc::set_handler(move || heard(true))?)
}
