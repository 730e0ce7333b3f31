//! The kernels of the engine, and what they work on: tensors inside one arena, layers as jobs that
//! fall into units of work.
//!
//! Each level (plain Rust, NEON, AVX2 with FMA, AVX-512F) is one file behind the trait [`Vector`].
//! Everything else is written once, generic over it. A job's units write disjoint parts of the
//! arena, so any number of workers may take them in any order, and the result is the same to the
//! bit.

#![allow(
    clippy::needless_range_loop,
    reason = "one index runs over several blocks of registers at once"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod buffer;
mod gemm;
mod generic;
#[cfg(target_arch = "aarch64")]
mod neon;
mod nested;
mod pack;
mod picture;
mod planar;
mod statistics;
mod strided;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod thirds;
mod vector;
mod winograd;

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) use buffer::Buffer;
pub(super) use nested::{LARGEST, Nested, STEP};
pub(super) use pack::{Border, Source, reflect};
pub(super) use picture::{First, Last};
pub(super) use planar::blocks;
pub(super) use statistics::{Moments, Partials};
pub(super) use strided::{Appended, Strided};
use vector::{Vector, with_level};
pub(super) use winograd::{TILE, Winograd};

use super::threads::Team;
use crate::frame::Carried;
use crate::kernels::Level;

/// A picture tensor inside the arena; every length counts values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    /// Place of row 0, column 0, channel 0.
    pub origin: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels that hold anything.
    pub channels: usize,
    /// From one pixel to the next: 1 when planar, else the channels with their padding.
    pub step: usize,
    /// From one row to the next.
    pub pitch: usize,
    /// From one channel to the next: 1 when channels lie side by side.
    pub plane: usize,
}

impl Tensor {
    /// Place of channel 0 of a pixel.
    #[inline(always)]
    fn at(&self, y: usize, x: usize) -> usize {
        self.origin + y * self.pitch + x * self.step
    }
}

/// How an output falls into units: rectangles of at most `rows` by `columns`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    /// Rows of the whole.
    pub height: usize,
    /// Columns of the whole.
    pub width: usize,
    /// Rows of a unit.
    pub rows: usize,
    /// Columns of a unit.
    pub columns: usize,
}

/// The rectangle of one unit: its first row and column, and those after its last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
}

impl Tiling {
    /// Number of units.
    pub fn units(&self) -> usize {
        self.height.div_ceil(self.rows) * self.width.div_ceil(self.columns)
    }

    fn area(&self, unit: usize) -> Area {
        let across = self.width.div_ceil(self.columns);
        let (top, left) = (unit / across * self.rows, unit % across * self.columns);
        Area {
            top,
            bottom: self.height.min(top + self.rows),
            left,
            right: self.width.min(left + self.columns),
        }
    }
}

/// A layer ready to run.
pub(super) enum Job {
    /// Bytes in, planes out: the first layer.
    First(First),
    /// 3x3 with step 2.
    Strided(Strided),
    /// 3x3, and nearest x2 + 3x3, through small transforms.
    Winograd(Winograd),
    /// Bytes out: the last layer.
    Last(Last),
}

impl Job {
    /// Number of units of work.
    pub fn units(&self) -> usize {
        match self {
            Self::First(job) => job.nested.tiling.units(),
            Self::Strided(job) => job.tiling.units(),
            Self::Winograd(job) => job.tiling.units(),
            Self::Last(job) => job.nested.tiling.units(),
        }
    }

    /// Values of scratch memory that a worker needs.
    pub fn scratch(&self) -> usize {
        match self {
            Self::First(job) => job.scratch(),
            Self::Strided(job) => job.scratch(),
            Self::Winograd(job) => job.scratch(),
            Self::Last(job) => job.scratch(),
        }
    }

    /// Does one unit.
    ///
    /// # Safety
    /// The memory is the one that the job was laid out for; no other worker does the same unit, or
    /// has the same number, at the same time.
    #[inline(always)]
    unsafe fn run_as<V: Vector>(&self, memory: &Memory, unit: usize, worker: usize) {
        // SAFETY: the caller's promise is the same.
        unsafe {
            match self {
                Self::First(job) => job.run::<V>(memory, unit, worker),
                Self::Strided(job) => job.run::<V>(memory, unit, worker),
                Self::Winograd(job) => job.run::<V>(memory, unit, worker),
                Self::Last(job) => job.run::<V>(memory, unit, worker),
            }
        }
    }
}

/// What the units of a frame read and write.
pub(super) struct Memory<'a> {
    arena: *mut f32,
    arena_values: usize,
    weights: &'a [f32],
    input: &'a [u8],
    carried: Option<&'a Carried>,
    output: *mut u8,
    output_bytes: usize,
    scratch: usize,
    scratch_values: usize,
    borrowed: PhantomData<(&'a mut [f32], &'a mut [u8])>,
}

// SAFETY: the pointers come from exclusive borrows that live as long; units write disjoint parts.
unsafe impl Sync for Memory<'_> {}

impl<'a> Memory<'a> {
    /// Lends the arena, the packed weights, the pixels of both frames and the carried painting to a job.
    /// Each worker's scratch memory of `scratch_values` lies in the arena from `scratch` on.
    pub fn new(
        arena: &'a mut [f32],
        (scratch, scratch_values): (usize, usize),
        weights: &'a [f32],
        (input, carried): (&'a [u8], Option<&'a Carried>),
        output: &'a mut [u8],
    ) -> Self {
        Self {
            arena: arena.as_mut_ptr(),
            arena_values: arena.len(),
            weights,
            input,
            carried,
            output: output.as_mut_ptr(),
            output_bytes: output.len(),
            scratch,
            scratch_values,
            borrowed: PhantomData,
        }
    }

    #[inline(always)]
    fn at(&self, offset: usize) -> *mut f32 {
        assert!(offset < self.arena_values, "place outside of the arena");
        self.arena.wrapping_add(offset)
    }

    #[inline(always)]
    fn scratch(&self, worker: usize) -> *mut f32 {
        self.at(self.scratch + worker * self.scratch_values)
    }

    #[inline(always)]
    fn weights(&self, offset: usize) -> *const f32 {
        self.weights[offset..].as_ptr()
    }

    #[inline(always)]
    fn output(&self, offset: usize) -> *mut u8 {
        assert!(offset < self.output_bytes, "place outside of the picture");
        self.output.wrapping_add(offset)
    }
}

/// Lanes of a level's registers.
pub(super) fn lanes(level: Level) -> usize {
    with_level!(level, V => V::LANES)
}

/// Whether a level has registers enough for the wide blocks of [`blocks`].
pub(super) fn is_wide(level: Level) -> bool {
    with_level!(level, V => V::WIDE)
}

/// Runs every unit of a job at a level that the CPU has, on the whole team; `backwards` from the last
/// one to the first, with the same results.
pub(super) fn run(level: Level, job: &Job, memory: &Memory, team: &mut Team, backwards: bool) {
    assert!(level.is_supported(), "the CPU lacks {level:?}");
    let (units, next) = (job.units(), AtomicUsize::new(0));
    team.run(&|worker| {
        loop {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units {
                break;
            }
            let unit = if backwards { units - 1 - unit } else { unit };
            // SAFETY: the level was checked above; the counter gives each unit to one worker; the
            // plan lays out jobs and arena together.
            unsafe { with_level!(level, V => V::run(job, memory, unit, worker)) }
        }
    });
}
