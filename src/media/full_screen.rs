//! Full screen for a window of minifb, which has no call for it.

use anyhow::{Result, bail};

/// Makes the window fill the screen, or not.
pub(super) fn set(_window: &minifb::Window, _full: bool) -> Result<()> {
    bail!("full screen: use the key of your desktop for it")
}
