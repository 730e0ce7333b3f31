//! The steadying of a film on the GPU: its two launches, and what they are told of a frame.

use super::program::{Arguments, Launch};
use crate::flow::{Cells, LIMIT, Motion, ROWS, RUN};
use crate::steady::Keeps;

/// Bytes of what the kernels are told before the motion, as in `film.h`.
const TOLD: usize = 64;

/// Threads of a block, each for a pixel of a row; as in `film.h`.
const THREADS: usize = 128;

/// Bytes of what [`tell`] writes for a frame of `width` x `height` pixels, at most.
pub(super) fn told(width: usize, height: usize) -> usize {
    let cells = Cells::of(width, height);
    TOLD + 3 * 4 * cells.width * cells.height
}

/// Bytes for the blur of the carried painting: one for each run.
pub(super) fn runs(width: usize, height: usize) -> usize {
    width.div_ceil(RUN) * height.div_ceil(ROWS)
}

/// What to run before and after the layers: carrying the last painting, and keeping some of it.
/// `places` holds where everything lies.
pub(super) fn launches(places: Arguments, width: usize, height: usize) -> [Launch; 2] {
    let cells = Cells::of(width, height);
    let arguments = Arguments {
        frame_width: width as i32,
        frame_height: height as i32,
        cells_x: cells.width as i32,
        cells_y: cells.height as i32,
        cell_side: cells.side as i32,
        ..places
    };
    ["carry", "keep"].map(|kernel| Launch {
        name: kernel.to_string(),
        kernel: kernel.to_string(),
        grid: [height as u32, width.div_ceil(THREADS) as u32, 1],
        threads: THREADS as u32,
        shared: 0,
        arguments,
    })
}

/// What the kernels of a film are told of a frame: how it `follows` from the one before, if it does.
/// Writes it into `told`, which is kept from frame to frame.
pub fn tell(follows: Option<(&Motion, Keeps)>, told: &mut Vec<u8>) {
    let (motion, keeps) = follows.unzip();
    let Keeps {
        stays,
        strokes,
        edges,
    } = keeps.unwrap_or_default();
    let limit = (LIMIT * 256.0) as i32;
    let numbers = [i32::from(motion.is_some()), limit, i32::from(stays)].into_iter();
    let parts = [strokes, edges].into_iter();
    let parts = parts.flat_map(|part| [part.gain, part.least].map(i32::from));
    told.clear();
    told.extend(numbers.chain(parts).flat_map(i32::to_ne_bytes));
    told.resize(TOLD, 0);
    let planes = motion.map(|motion| [&motion.across, &motion.down, &motion.error]);
    for plane in planes.into_iter().flatten() {
        let start = told.len();
        told.resize(start + 4 * plane.len(), 0);
        // Written in place, so that the loop becomes a copy: pushing takes 1 ms.
        let places = told[start..].as_chunks_mut::<4>().0;
        for (place, value) in places.iter_mut().zip(plane) {
            *place = value.to_ne_bytes();
        }
    }
}
