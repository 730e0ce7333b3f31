//! Moving pictures: every pixel of the result is taken from some place of the input, bilinearly.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::composed;
#[cfg(feature = "cuda")]
use super::cuda;
use super::values::{read, tensor_like, values};

/// Where the pixels of a batch of moved pictures come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    batch: usize,
    height: usize,
    width: usize,
    places: Vec<[f32; 2]>,
}

/// The four pixels around a place and their weights, which sum to 1.
#[derive(Clone, Copy)]
pub(super) struct Taps {
    /// Indices in the plane: above left, above right, below left, below right.
    pub indices: [usize; 4],
    /// Their weights.
    pub weights: [f32; 4],
}

impl Field {
    /// `places` holds (x, y) in pixels for each pixel of `batch` pictures, row by row; (0, 0) is the
    /// middle of the first pixel. Fails when there are not as many as pixels.
    pub fn new(batch: usize, height: usize, width: usize, places: Vec<[f32; 2]>) -> Result<Self> {
        if places.len() != batch * height * width || places.is_empty() {
            bail!(
                "{} places for {batch} pictures of {width}x{height}",
                places.len()
            );
        }
        Ok(Self {
            batch,
            height,
            width,
            places,
        })
    }

    /// Where the pixels come from when pictures moved by `first` are moved by this.
    pub fn after(&self, first: &Self) -> Result<Self> {
        let area = self.width * self.height;
        let places = first.places.chunks_exact(area).enumerate();
        let places = places.flat_map(|(picture, places)| {
            self.taps(picture).map(move |taps| {
                let mut sum = [0.0; 2];
                for (index, weight) in taps.indices.iter().zip(taps.weights) {
                    sum = [0, 1].map(|axis| sum[axis] + weight * places[*index][axis]);
                }
                sum
            })
        });
        Self::new(self.batch, self.height, self.width, places.collect())
    }

    /// 1 where the place lies inside the picture, else 0: one value for each pixel.
    pub fn inside(&self) -> Vec<f32> {
        let (right, bottom) = ((self.width - 1) as f32, (self.height - 1) as f32);
        let inside = |[x, y]: &[f32; 2]| (0.0..=right).contains(x) && (0.0..=bottom).contains(y);
        let places = self.places.iter();
        places
            .map(|place| f32::from(u8::from(inside(place))))
            .collect()
    }

    /// Where each pixel comes from, (x, y), picture by picture and row by row.
    #[cfg(feature = "cuda")]
    pub(super) fn places(&self) -> &[[f32; 2]] {
        &self.places
    }

    /// What the pixels of one picture of the batch are made of. Places outside count as the nearest
    /// inside.
    pub(super) fn taps(&self, picture: usize) -> impl Iterator<Item = Taps> {
        let (width, height) = (self.width, self.height);
        let area = width * height;
        let places = &self.places[picture * area..(picture + 1) * area];
        places.iter().map(move |[x, y]| {
            let split = |value: f32, size: usize| {
                let value = value.clamp(0.0, (size - 1) as f32);
                let low = (value as usize).min(size.saturating_sub(2));
                (low, (low + 1).min(size - 1), value - low as f32)
            };
            let (left, right, fx) = split(*x, width);
            let (top, bottom, fy) = split(*y, height);
            Taps {
                indices: [
                    top * width + left,
                    top * width + right,
                    bottom * width + left,
                    bottom * width + right,
                ],
                weights: [
                    (1.0 - fx) * (1.0 - fy),
                    fx * (1.0 - fy),
                    (1.0 - fx) * fy,
                    fx * fy,
                ],
            }
        })
    }
}

/// Moves `x` (N, C, H, W) as `field`, of the same N, H and W, says. The gradient of `x` is exact; the
/// field has none.
pub fn warp(x: &Tensor, field: &Arc<Field>) -> Result<Tensor> {
    let (batch, _, height, width) = x.dims4()?;
    if (batch, height, width) != (field.batch, field.height, field.width) {
        bail!(
            "a field for {} pictures of {}x{} got {batch} of {width}x{height}",
            field.batch,
            field.width,
            field.height
        );
    }
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() && !x.track_op() {
        return cuda::warp(x, field);
    }
    if !x.device().is_cpu() {
        return composed::warp(x, field);
    }
    let field = Arc::clone(field);
    x.contiguous()?.apply_op1(Warp { field })
}

struct Warp {
    field: Arc<Field>,
}

impl CustomOp1 for Warp {
    fn name(&self) -> &'static str {
        "warp"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout)?;
        let mut y = vec![0.0; x.len()];
        let area = self.area();
        let channels = layout.dims()[1];
        y.par_chunks_mut(area)
            .zip(x.par_chunks(area))
            .enumerate()
            .for_each(|(plane, (y, x))| {
                for (y, taps) in y.iter_mut().zip(self.field.taps(plane / channels)) {
                    let gathered = taps.indices.iter().zip(taps.weights);
                    *y = gathered.map(|(index, weight)| x[*index] * weight).sum();
                }
            });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let gradient = read(grad, |grad| {
            let mut gradient = vec![0.0; grad.len()];
            let area = self.area();
            let channels = x.dims()[1];
            gradient
                .par_chunks_mut(area)
                .zip(grad.par_chunks(area))
                .enumerate()
                .for_each(|(plane, (to, grad))| {
                    for (grad, taps) in grad.iter().zip(self.field.taps(plane / channels)) {
                        for (index, weight) in taps.indices.iter().zip(taps.weights) {
                            to[*index] += grad * weight;
                        }
                    }
                });
            Ok(gradient)
        })?;
        Ok(Some(tensor_like(gradient, x)?))
    }
}

impl Warp {
    fn area(&self) -> usize {
        self.field.height * self.field.width
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// A batch of two pictures of 7x5, moved differently, with places outside.
    fn field() -> Arc<Field> {
        let place = |i: usize| {
            let (picture, x, y) = (i / 35, i % 7, i / 7 % 5);
            let (x, y) = (x as f32, y as f32);
            match picture {
                0 => [x + 0.6, y - 0.3],
                _ => [6.5 - 1.1 * x, 0.2 * x + 0.9 * y],
            }
        };
        Arc::new(Field::new(2, 5, 7, (0..70).map(place).collect()).unwrap())
    }

    #[test]
    fn a_slope_moved_is_the_slope_at_the_places() -> Result<()> {
        let value = |i: u32| (i % 7) as f32 * 2.0 + (i / 7 % 5) as f32 * 10.0;
        let values: Vec<f32> = (0..2 * 2 * 35).map(value).collect();
        let x = Tensor::from_vec(values, (2, 2, 5, 7), &Device::Cpu)?;
        let field = field();
        let y = warp(&x, &field)?.flatten_all()?.to_vec1::<f32>()?;
        for (i, y) in y.iter().enumerate() {
            let [px, py] = field.places[i / 70 * 35 + i % 35];
            let expected = px.clamp(0.0, 6.0) * 2.0 + py.clamp(0.0, 4.0) * 10.0;
            assert!((y - expected).abs() < 1e-4, "{i}: {y} {expected}");
        }
        let inside = field.inside();
        assert_eq!((inside[0], inside[7], inside[13]), (0.0, 1.0, 0.0));
        Ok(())
    }

    #[test]
    fn a_field_after_another_moves_as_both_in_turn() -> Result<()> {
        let shift = |right: f32, down: f32| {
            let place = |i: usize| [(i % 7) as f32 + right, (i / 7 % 5) as f32 + down];
            Field::new(2, 5, 7, (0..70).map(place).collect()).map(Arc::new)
        };
        let x = Tensor::randn(0f32, 1.0, (2, 3, 5, 7), &Device::Cpu)?;
        for (first, second) in [
            (shift(2.0, 0.0)?, shift(-1.0, 1.0)?),
            (field(), shift(1.0, -2.0)?),
        ] {
            let whole = Arc::new(second.after(&first)?);
            let in_turn = warp(&warp(&x, &first)?, &second)?;
            let difference = (warp(&x, &whole)? - in_turn)?.abs()?.flatten_all()?;
            assert!(difference.max(0)?.to_scalar::<f32>()? < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() -> Result<()> {
        let x = Var::randn(0f32, 1.0, (2, 2, 5, 7), &Device::Cpu)?;
        let field = field();
        let total = |x: &Tensor| {
            let y = warp(x, &field)?;
            (y.sqr()? * y.cos()?)?.sum_all()
        };
        let gradients = total(x.as_tensor())?.backward()?;
        let gradient = gradients.get(&x).expect("a gradient");
        let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
        let values = x.flatten_all()?.to_vec1::<f32>()?;
        for (i, gradient) in gradient.iter().enumerate() {
            let at = |shift: f32| {
                let mut values = values.clone();
                values[i] += shift;
                let moved = Tensor::from_vec(values, x.shape(), &Device::Cpu)?;
                // Summed in f64: the differences are small.
                let y = warp(&moved, &field)?.to_dtype(candle_core::DType::F64)?;
                (y.sqr()? * y.cos()?)?.sum_all()?.to_scalar::<f64>()
            };
            let slope = (at(1e-2)? - at(-1e-2)?) / 2e-2;
            assert!(
                (f64::from(*gradient) - slope).abs() < 2e-3 * (1.0 + slope.abs()),
                "{i}: {gradient} {slope}"
            );
        }
        Ok(())
    }

    #[test]
    fn fields_of_another_size_are_refused() {
        let x = Tensor::zeros((1, 3, 5, 7), candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = warp(&x, &field()).unwrap_err().to_string();
        assert!(error.contains("2 pictures of 7x5"), "{error}");
        assert!(Field::new(1, 2, 2, vec![[0.0; 2]; 3]).is_err());
    }
}
