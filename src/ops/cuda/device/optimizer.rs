//! Adam over all variables of a training at once.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{CudaDevice, Result, Tensor, Var};

use super::{address, device_of, empty, place, run};
use crate::ops::cuda::launches::{self, Variable};

/// What a step of [`adam`] changes, all of one shape, and the gradient.
pub struct Optimized<'a> {
    /// The gradient.
    pub gradient: &'a Tensor,
    /// What is optimised.
    pub weight: &'a Var,
    /// Mean of the gradients.
    pub first: &'a Tensor,
    /// Mean of their squares.
    pub second: &'a Tensor,
    /// Mean of the weights.
    pub average: &'a Tensor,
}

/// The sum of the squares of each gradient.
pub fn squares(gradients: &[&Tensor]) -> Result<Vec<f32>> {
    let Some(first) = gradients.first() else {
        return Ok(Vec::new());
    };
    let device = device_of(first)?;
    let variables = gradients.iter().map(|gradient| {
        Ok(Variable {
            gradient: address(gradient)?,
            weight: 0,
            first: 0,
            second: 0,
            average: 0,
            count: gradient.elem_count() as u64,
        })
    });
    let variables = variables.collect::<Result<Vec<_>>>()?;
    let table = upload(device, &variables)?;
    let sums = empty(device, variables.len())?;
    let launch = launches::squares(place(&table), variables.len(), place(&sums));
    run(device, &[launch])?;
    device.clone_dtoh(&sums)
}

/// A step of Adam in place. `numbers`: what gradients are multiplied with; beta1; beta2; the rate over
/// the first correction; one over the root of the second; epsilon; what stays of the average.
pub fn adam(optimized: &[Optimized], numbers: [f32; 7]) -> Result<()> {
    let Some(first) = optimized.first() else {
        return Ok(());
    };
    let device = device_of(first.gradient)?;
    let mut largest = 0;
    let mut variables = Vec::new();
    for one in optimized {
        let count = one.gradient.elem_count();
        largest = largest.max(count);
        variables.push(Variable {
            gradient: address(one.gradient)?,
            weight: address(one.weight)?,
            first: address(one.first)?,
            second: address(one.second)?,
            average: address(one.average)?,
            count: count as u64,
        });
    }
    let table = upload(device, &variables)?;
    let launch = launches::adam(place(&table), variables.len(), largest, numbers);
    run(device, &[launch])
}

fn upload(device: &CudaDevice, variables: &[Variable]) -> Result<CudaSlice<u64>> {
    let words = variables
        .iter()
        .flat_map(|v| [v.gradient, v.weight, v.first, v.second, v.average, v.count]);
    device.clone_htod(&words.collect::<Vec<u64>>())
}
