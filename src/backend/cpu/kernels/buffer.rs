//! Memory aligned to cache lines, zero at first, taken from the system page by page as it is used.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Alignment in bytes: a cache line and the widest register.
const ALIGNMENT: usize = 64;

/// A fixed number of values.
pub(in crate::backend::cpu) struct Buffer {
    start: NonNull<f32>,
    length: usize,
}

// SAFETY: the buffer owns its memory.
unsafe impl Send for Buffer {}

impl Buffer {
    /// `length` zeros.
    pub fn zeros(length: usize) -> Self {
        let length = length.max(1);
        let layout = Self::layout(length);
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc_zeroed(layout) }.cast::<f32>();
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout);
        };
        Self { start, length }
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

    fn layout(length: usize) -> Layout {
        Layout::array::<f32>(length)
            .and_then(|layout| layout.align_to(ALIGNMENT))
            .expect("the length of a buffer that fits in memory")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated by `zeros` with the same layout.
        unsafe { dealloc(self.start.as_ptr().cast(), Self::layout(self.length)) };
    }
}
