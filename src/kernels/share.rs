//! Memory of which several threads write disjoint parts that are no slices (blocks of a matrix).

use std::cell::RefCell;

/// A mutable slice that threads share; they must write disjoint values.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    start: *mut f32,
    length: usize,
}

// SAFETY: only a pointer; every access goes through `at`, whose callers keep to disjoint values.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Shares `values` for as long as the caller keeps them borrowed.
    pub fn new(values: &mut [f32]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            length: values.len(),
        }
    }

    /// `length` of the values, from `start` on.
    pub fn part(self, start: usize, length: usize) -> Self {
        assert!(start + length <= self.length, "part outside of the result");
        Self {
            start: self.start.wrapping_add(start),
            length,
        }
    }

    /// The value at `index` and what follows.
    pub fn at(self, index: usize) -> *mut f32 {
        assert!(index < self.length, "block outside of the result");
        self.start.wrapping_add(index)
    }
}

/// A vector of `length` values that `work` writes: unlike zeros, they are touched only once.
///
/// # Safety
/// `work` writes every value.
pub(super) unsafe fn written(length: usize, work: impl FnOnce(Shared)) -> Vec<f32> {
    let mut values = Vec::<f32>::with_capacity(length);
    work(Shared {
        start: values.as_mut_ptr(),
        length,
    });
    // SAFETY: the capacity is there, and the caller vouches for the values.
    unsafe { values.set_len(length) };
    values
}

/// One cache line of values: packed panels are made of whole ones.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Line([f32; Line::VALUES]);

impl Line {
    /// Values in a line.
    pub const VALUES: usize = 16;
    /// A line of zeros.
    pub const ZERO: Self = Self([0.0; Line::VALUES]);

    /// The values of consecutive lines.
    pub fn values(lines: &[Line]) -> &[f32] {
        let length = lines.len() * Self::VALUES;
        // SAFETY: a line is exactly its 16 values.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), length) }
    }

    /// The values of consecutive lines, to be written.
    pub fn values_mut(lines: &mut [Line]) -> &mut [f32] {
        let length = lines.len() * Self::VALUES;
        // SAFETY: a line is exactly its 16 values.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), length) }
    }
}

/// Lends the thread's own buffer of at least `values` values, which keep what they held. Nested
/// calls (a thread that waits may do other work) get buffers that last for the call only.
pub(super) fn with_buffer<R>(values: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static BUFFER: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.take();
    let lines = values.div_ceil(Line::VALUES);
    if buffer.len() < lines {
        buffer.resize(lines, Line::ZERO);
    }
    let result = work(&mut Line::values_mut(&mut buffer)[..values]);
    BUFFER.set(buffer);
    result
}
