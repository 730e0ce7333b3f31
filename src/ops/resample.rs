//! Nearest-neighbour enlargement, maximum and average pooling, all by 2.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::composed;
#[cfg(feature = "cuda")]
use super::cuda;
use super::values::{keep_if, read, tensor_like, values};

/// Doubles height and width of `x` (N, C, H, W) by repeating every value.
pub fn upsample_nearest2(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return cuda::upsample_nearest2(x);
    }
    x.contiguous()?.apply_op1(Upsample { height, width })
}

/// The largest of each 2x2 values of `x` (N, C, H, W): (N, C, H / 2, W / 2); an odd last row or
/// column is left out. Of equal values the first gets the gradient.
pub fn max_pool2(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    if height < 2 || width < 2 {
        bail!("pooling of a picture of {width}x{height}, expected at least 2x2");
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return cuda::max_pool2(x);
    }
    x.contiguous()?.apply_op1(MaxPool { height, width })
}

/// The mean of each 2x2 values of `x` (N, C, H, W): (N, C, H / 2, W / 2); an odd last row or column
/// is left out.
pub fn average_pool2(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    if height < 2 || width < 2 {
        bail!("pooling of a picture of {width}x{height}, expected at least 2x2");
    }
    if !x.device().is_cpu() {
        return composed::average_pool2(x);
    }
    x.contiguous()?.apply_op1(AveragePool { height, width })
}

/// Sizes are those of the input.
struct Upsample {
    height: usize,
    width: usize,
}

/// Sizes are those of the input.
struct MaxPool {
    height: usize,
    width: usize,
}

/// Sizes are those of the input.
struct AveragePool {
    height: usize,
    width: usize,
}

impl CustomOp1 for Upsample {
    fn name(&self) -> &'static str {
        "upsample_nearest2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let width = self.width;
        let mut y = vec![0.0; 4 * x.len()];
        y.par_chunks_mut((4 * width).max(1))
            .zip(x.par_chunks(width.max(1)))
            .with_min_len(64)
            .for_each(|(rows, x)| {
                let (first, second) = rows.split_at_mut(2 * width);
                for (pair, x) in first.as_chunks_mut::<2>().0.iter_mut().zip(x) {
                    *pair = [*x; 2];
                }
                second.copy_from_slice(first);
            });
        let (n, c, _, _) = layout.shape().dims4()?;
        let shape = (n, c, 2 * self.height, 2 * self.width);
        Ok((CpuStorage::F32(y), shape.into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let width = self.width.max(1);
        let gradient = read(grad, |grad| {
            let mut gradient = vec![0.0; grad.len() / 4];
            gradient
                .par_chunks_mut(width)
                .zip(grad.par_chunks(4 * width))
                .with_min_len(64)
                .for_each(|(to, rows)| {
                    for (to, ([a, b], [c, d])) in to.iter_mut().zip(squares(rows, 2 * width)) {
                        *to = (a + b) + (c + d);
                    }
                });
            Ok(gradient)
        })?;
        Ok(Some(tensor_like(gradient, x)?))
    }
}

/// One value for each 2x2 square of each channel; an odd last row or column is left out.
fn pooled(
    x: &CpuStorage,
    layout: &Layout,
    value: impl Fn(&[f32; 2], &[f32; 2]) -> f32 + Sync,
) -> Result<(CpuStorage, Shape)> {
    let x = values(x, layout)?;
    let (n, c, height, width) = layout.shape().dims4()?;
    let shape = (n, c, height / 2, width / 2);
    let mut y = vec![0.0; n * c * shape.2 * shape.3];
    y.par_chunks_mut(shape.2 * shape.3)
        .zip(x.par_chunks(height * width))
        .for_each(|(y, x)| {
            for (y, rows) in y.chunks_exact_mut(shape.3).zip(x.chunks(2 * width)) {
                for (y, (upper, lower)) in y.iter_mut().zip(squares(rows, width)) {
                    *y = value(upper, lower);
                }
            }
        });
    Ok((CpuStorage::F32(y), shape.into()))
}

/// The 2x2 squares of two rows of `width` values, from the left: an upper and a lower pair each.
fn squares(rows: &[f32], width: usize) -> impl Iterator<Item = (&[f32; 2], &[f32; 2])> {
    let (upper, lower) = rows.split_at(width);
    let upper = upper.as_chunks::<2>().0.iter();
    upper.zip(lower.as_chunks::<2>().0)
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        pooled(x, layout, |[a, b], [c, d]| a.max(*b).max(c.max(*d)))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let gradient = read(x, |x| {
            read(y, |y| read(grad, |grad| Ok(self.gradient(x, y, grad))))
        })?;
        Ok(Some(tensor_like(gradient, x)?))
    }
}

impl MaxPool {
    fn gradient(&self, x: &[f32], y: &[f32], grad: &[f32]) -> Vec<f32> {
        let (height, width) = (self.height / 2, self.width / 2);
        let mut gradient = vec![0.0; x.len()];
        gradient
            .par_chunks_mut(self.height * self.width)
            .zip(x.par_chunks(self.height * self.width))
            .zip(
                y.par_chunks(height * width)
                    .zip(grad.par_chunks(height * width)),
            )
            .for_each(|((to, x), (y, grad))| {
                let rows = to.chunks_mut(2 * self.width).zip(x.chunks(2 * self.width));
                let results = y.chunks_exact(width).zip(grad.chunks_exact(width));
                for ((to, x), (y, grad)) in rows.zip(results) {
                    let (first, second) = to.split_at_mut(self.width);
                    let firsts = first.as_chunks_mut::<2>().0.iter_mut();
                    let seconds = second.as_chunks_mut::<2>().0.iter_mut();
                    let (above, below) = x.split_at(self.width);
                    let above = above.as_chunks::<2>().0.iter();
                    let inputs = above.zip(below.as_chunks::<2>().0);
                    let outputs = y.iter().zip(grad);
                    for (((first, second), (above, below)), (y, grad)) in
                        firsts.zip(seconds).zip(inputs).zip(outputs)
                    {
                        let hits = [above[0] == *y, above[1] == *y, below[0] == *y];
                        first[0] = keep_if(hits[0], *grad);
                        first[1] = keep_if(!hits[0] & hits[1], *grad);
                        second[0] = keep_if(!(hits[0] | hits[1]) & hits[2], *grad);
                        second[1] = keep_if(!(hits[0] | hits[1] | hits[2]), *grad);
                    }
                }
            });
        gradient
    }
}

impl CustomOp1 for AveragePool {
    fn name(&self) -> &'static str {
        "average_pool2"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        pooled(x, layout, |[a, b], [c, d]| 0.25 * ((a + b) + (c + d)))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (height, width) = (self.height / 2, self.width / 2);
        let gradient = read(grad, |grad| {
            let mut gradient = vec![0.0; x.elem_count()];
            gradient
                .par_chunks_mut(self.height * self.width)
                .zip(grad.par_chunks(height * width))
                .for_each(|(to, grad)| {
                    let rows = to.chunks_mut(2 * self.width);
                    for (to, grad) in rows.zip(grad.chunks_exact(width)) {
                        let (first, second) = to.split_at_mut(self.width);
                        let first = first.as_chunks_mut::<2>().0.iter_mut();
                        let pairs = first.zip(second.as_chunks_mut::<2>().0);
                        for ((first, second), grad) in pairs.zip(grad) {
                            *first = [0.25 * grad; 2];
                            *second = [0.25 * grad; 2];
                        }
                    }
                });
            Ok(gradient)
        })?;
        Ok(Some(tensor_like(gradient, x)?))
    }
}
