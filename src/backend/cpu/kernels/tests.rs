//! Each kernel at each level against plain loops, on sizes below, at and above its blocks.

use super::gemm::Panel;
use super::planar::{Window, blocks};
use super::vector::{Vector, with_level};
use crate::kernels::Level;

/// What a test does for the registers of one level.
trait Check {
    /// Does it.
    fn run<V: Vector>(&self, level: Level);
}

/// Runs a check at every level that the CPU has.
fn at_every_level(check: &impl Check) {
    for level in Level::all_supported() {
        with_level!(level, V => check.run::<V>(level));
    }
}

/// Small whole numbers, so that sums are exact in any order.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let number = |i: usize| ((i * 7919 + seed * 104_729) % 23) as f32 - 11.0;
    (0..count).map(number).collect()
}

#[test]
fn levels_have_the_registers_they_promise() {
    struct Registers;
    impl Check for Registers {
        fn run<V: Vector>(&self, level: Level) {
            let wanted = match level {
                Level::Generic => (4, false),
                Level::Neon => (4, true),
                Level::Avx2 => (8, false),
                Level::Avx512 => (16, true),
            };
            assert_eq!((V::LANES, V::WIDE), wanted);
        }
    }
    at_every_level(&Registers);
}

#[test]
fn the_matrix_kernel_multiplies_any_number_of_pixels() {
    struct Products;
    impl Check for Products {
        fn run<V: Vector>(&self, level: Level) {
            for count in 1..=2 * V::ROWS + 2 {
                for (vectors, depth, segments) in [(1, 1, 1), (2, 5, 1), (1, 3, 4), (2, 8, 9)] {
                    let starts: Vec<usize> = (0..segments).map(|s| s * 1000 + s % 2).collect();
                    let (row, step) = (11, 2);
                    let panel = Panel {
                        count,
                        row,
                        segments: &starts,
                        depth,
                        step,
                        out_row: 40,
                    };
                    let width = vectors * V::LANES;
                    let a = numbers(1000 * segments + 40 * count + 100, count);
                    let w = numbers(segments * depth * width, depth);
                    let mut out = vec![0.0; 40 * count];
                    // SAFETY: the CPU has the level; the slices are as long as the panel says.
                    unsafe {
                        V::multiply(&panel, vectors, a.as_ptr(), w.as_ptr(), out.as_mut_ptr());
                    }
                    for pixel in 0..count {
                        for n in 0..width {
                            let mut sum = 0.0;
                            for (s, start) in starts.iter().enumerate() {
                                for k in 0..depth {
                                    let value = a[start + pixel * row + k * step];
                                    sum += value * w[(s * depth + k) * width + n];
                                }
                            }
                            let found = out[pixel * 40 + n];
                            assert_eq!(found, sum, "{level:?}: pixel {pixel} of {count}, {n}");
                        }
                    }
                }
            }
        }
    }
    at_every_level(&Products);
}

#[test]
fn the_planar_kernel_convolves_any_number_of_channels_and_registers() {
    struct Convolutions;
    impl Check for Convolutions {
        fn run<V: Vector>(&self, level: Level) {
            for outputs in 1..=8 {
                for registers in 1..=17 {
                    self.convolve::<V>(level, outputs, registers);
                }
            }
        }
    }
    impl Convolutions {
        fn convolve<V: Vector>(&self, level: Level, outputs: usize, registers: usize) {
            let (inputs, rows, plane, out_plane) = (2, [0, 700, 350], 1100, 300);
            let from = numbers(inputs * plane + 16, outputs);
            let mut first = 0;
            for block in blocks(outputs, V::WIDE) {
                let window = Window {
                    inputs,
                    outputs: block,
                    rows: &rows,
                    registers,
                    plane,
                    out_plane,
                };
                let w = numbers(inputs * 9 * block, registers + first);
                let mut out = vec![0.0; block * out_plane];
                // SAFETY: the CPU has the level; the slices are as long as the window says.
                unsafe { V::convolve_row(&window, from.as_ptr(), w.as_ptr(), out.as_mut_ptr()) };
                for c in 0..block {
                    for x in 0..registers * V::LANES {
                        let mut sum = 0.0;
                        for tap in 0..inputs * 9 {
                            let (input, y, shift) = (tap / 9, tap / 3 % 3, tap % 3);
                            let value = from[input * plane + rows[y] + x + shift];
                            sum += value * w[tap * block + c];
                        }
                        let found = out[c * out_plane + x];
                        assert_eq!(found, sum, "{level:?}: {c} of {outputs}, {x}");
                    }
                }
                first += block;
            }
            assert_eq!(first, outputs);
        }
    }
    at_every_level(&Convolutions);
}

#[test]
fn lanes_are_transposed_split_joined_and_rounded() {
    struct Lanes;
    impl Check for Lanes {
        fn run<V: Vector>(&self, level: Level) {
            let from = numbers(24 * V::LANES, 3);
            let mut out = vec![0.0; 8 * V::LANES];
            // SAFETY: the CPU has the level, and each slice the values that are read or written:
            // pixels 24 values apart, then three registers.
            unsafe {
                for (c, channel) in V::load_channels(from.as_ptr(), 24).iter().enumerate() {
                    channel.store(out[c * V::LANES..].as_mut_ptr());
                }
            }
            for (i, value) in out.iter().enumerate() {
                let (channel, pixel) = (i / V::LANES, i % V::LANES);
                assert_eq!(*value, from[pixel * 24 + channel], "{level:?}");
            }
            let mut back = vec![0.0; 3 * V::LANES];
            // SAFETY: as above.
            unsafe {
                let values = [0, 1, 2].map(|v| V::load(from[v * V::LANES..].as_ptr()));
                let thirds = V::split_thirds(values);
                for (v, third) in thirds.iter().enumerate() {
                    third.store(out[v * V::LANES..].as_mut_ptr());
                }
                for (v, joined) in V::join_thirds(thirds).iter().enumerate() {
                    joined.store(back[v * V::LANES..].as_mut_ptr());
                }
            }
            for i in 0..3 * V::LANES {
                assert_eq!(out[i % 3 * V::LANES + i / 3], from[i], "{level:?}: split");
                assert_eq!(back[i], from[i], "{level:?}: joined");
            }
            let mut values = vec![f32::NAN, -3.0, 0.49, 0.5, 254.4, 254.6, 255.2, 1e9];
            values.resize(16, 7.4);
            let mut bytes = [9u8; 16];
            // SAFETY: as above.
            unsafe {
                for i in (0..16).step_by(V::LANES) {
                    V::load(values[i..].as_ptr()).store_bytes(bytes[i..].as_mut_ptr());
                }
            }
            assert_eq!(bytes[..8], [0, 0, 0, 1, 254, 255, 255, 255], "{level:?}");
            assert_eq!(bytes[8..], [7; 8], "{level:?}");
        }
    }
    at_every_level(&Lanes);
}
