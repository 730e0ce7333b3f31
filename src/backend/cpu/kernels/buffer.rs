//! Memory aligned to cache lines, zero at first.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use anyhow::{Context, Result};

/// Alignment in bytes of small buffers: a cache line and the widest register.
const LINE: usize = 64;

/// Alignment in bytes of large buffers, which have at least as many values: a huge page.
const PAGE: usize = 2 << 20;

/// A fixed number of values.
pub(in crate::backend::cpu) struct Buffer {
    start: NonNull<f32>,
    length: usize,
}

// SAFETY: the buffer owns its memory.
unsafe impl Send for Buffer {}

impl Buffer {
    /// `length` zeros. Fails when the system has not so much memory.
    pub fn zeros(length: usize) -> Result<Self> {
        let length = length.max(1);
        let too_much = || format!("could not take {} MiB of memory", length >> 18);
        let layout = Self::layout(length).with_context(too_much)?;
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc(layout) }.cast::<f32>());
        let start = start.with_context(too_much)?;
        if layout.align() == PAGE {
            ask_for_huge_pages(start, layout.size());
        }
        // SAFETY: the values were just allocated. Writing them takes their pages from the system,
        // after the request for huge ones, and not in the middle of the first frame.
        unsafe { std::ptr::write_bytes(start.as_ptr(), 0, length) };
        Ok(Self { start, length })
    }

    /// The values.
    pub fn values(&self) -> &[f32] {
        // SAFETY: they were allocated and set to zero.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// The values, to be written.
    pub fn values_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    fn layout(length: usize) -> Option<Layout> {
        let alignment = if length < PAGE { LINE } else { PAGE };
        Layout::array::<f32>(length).ok()?.align_to(alignment).ok()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.length) {
            // SAFETY: allocated by `zeros` with the same layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}

/// Asks the system for huge pages: large frames touch more small ones than the CPU keeps
/// translations of (4 to 6 % at 1920x1080). A refusal changes nothing but the speed.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages(start: NonNull<f32>, bytes: usize) {
    use std::ffi::{c_int, c_void};
    /// From Linux's `asm-generic/mman-common.h`.
    const MADV_HUGEPAGE: c_int = 14;
    unsafe extern "C" {
        fn madvise(start: *mut c_void, bytes: usize, advice: c_int) -> c_int;
    }
    // SAFETY: the advice changes neither contents nor validity of the pages.
    unsafe { madvise(start.as_ptr().cast(), bytes, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_start: NonNull<f32>, _bytes: usize) {}
