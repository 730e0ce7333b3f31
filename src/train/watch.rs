//! Sees when a training goes wrong: a loss that is no number, or far above those before it.

use std::collections::VecDeque;

use crate::tensors::Tensor;

/// Losses that are remembered. Single batches differ by a factor of three; the median of this many
/// hardly moves.
const REMEMBERED: usize = 51;

/// Losses needed before one can be called too large.
const ENOUGH: usize = 20;

/// A loss is too large when it is more than this many times the median, where all are of one painting.
pub const TOO_LARGE: f32 = 10.0;

/// The recent losses.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    most: f32,
    recent: VecDeque<f32>,
}

impl Watch {
    /// No losses yet; one of more than `most` times the median will be too large.
    pub fn new(most: f32) -> Self {
        Self {
            most,
            recent: VecDeque::new(),
        }
    }

    /// What is wrong with `loss`, if anything is.
    pub fn fault(&self, loss: f32) -> Option<String> {
        if !loss.is_finite() {
            return Some(format!("the loss is {loss}"));
        }
        let mut sorted: Vec<f32> = self.recent.iter().copied().collect();
        sorted.sort_by(f32::total_cmp);
        let median = sorted.get(sorted.len() / 2)?;
        (sorted.len() >= ENOUGH && loss > self.most * median).then(|| {
            format!(
                "the loss is {loss:.3}, {:.0} times the usual",
                loss / median
            )
        })
    }

    /// Remembers the loss of a step.
    pub fn add(&mut self, loss: f32) {
        self.recent.push_back(loss);
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
    }

    /// The losses, oldest first.
    pub fn to_tensor(&self) -> Tensor {
        Tensor {
            shape: vec![self.recent.len()],
            data: self.recent.iter().copied().collect(),
        }
    }

    /// The reverse of [`Watch::to_tensor`].
    pub fn restore(&mut self, tensor: &Tensor) {
        self.recent.clear();
        tensor.data.iter().for_each(|loss| self.add(*loss));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_far_above_the_median_and_no_numbers_are_faults() {
        let mut watch = Watch::new(TOO_LARGE);
        assert_eq!(watch.fault(1e9), None, "nothing is known yet");
        assert!(watch.fault(f32::NAN).is_some());
        for step in 0..200 {
            watch.add(if step < 100 {
                1000.0
            } else {
                1.0 + step as f32 % 3.0
            });
        }
        assert_eq!(watch.fault(19.9), None);
        assert!(
            watch
                .fault(20.1)
                .is_some_and(|fault| fault.contains("10 times"))
        );
        assert!(watch.fault(f32::INFINITY).is_some());
        let mut again = Watch::new(TOO_LARGE);
        again.restore(&watch.to_tensor());
        assert_eq!(again, watch);
    }
}
