//! Items drawn by weight.

use dl_autograd::{Purpose, Rng};

use super::Sampler;
use crate::data::DataError;

/// Draws items with probabilities in proportion to their weights, as `WeightedRandomSampler` does.
///
/// ```text
/// with replacement       P(index = i) = wᵢ / Σ w, every draw for itself
/// without replacement    the n items of highest ln(uᵢ) / wᵢ, highest first, uᵢ uniform in (0, 1)
/// ```
///
/// The second form draws as one would from what is left, each time by weight. An item of weight 0 is
/// never drawn. Source: Efraimidis, Spirakis, "Weighted random sampling with a reservoir", 2006.
///
/// ```
/// use dl_core::data::{Sampler, WeightedSampler};
/// let sampler = WeightedSampler::new(vec![1., 0., 3.], 4000)?;
/// let drawn = sampler.indices(0, 0);
/// let share = drawn.iter().filter(|&&index| index == 2).count() as f64 / 4000.;
/// assert!((share - 0.75).abs() < 0.03 && !drawn.contains(&1));
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightedSampler {
    weights: Vec<f64>,
    samples: usize,
    replacement: bool,
}

impl WeightedSampler {
    /// Draws `samples` items an epoch, an item as often as it falls.
    ///
    /// Fails on a weight that is negative or not finite, and on `samples` above 0 when no weight is.
    pub fn new(weights: Vec<f64>, samples: usize) -> Result<Self, DataError> {
        Self::checked(weights, samples, true)
    }

    /// Draws `samples` different items an epoch.
    ///
    /// Fails as [`WeightedSampler::new`] does, and on more `samples` than weights above 0.
    pub fn without_replacement(weights: Vec<f64>, samples: usize) -> Result<Self, DataError> {
        Self::checked(weights, samples, false)
    }

    fn checked(weights: Vec<f64>, samples: usize, replacement: bool) -> Result<Self, DataError> {
        let sound = |w: &&f64| !(w.is_finite() && **w >= 0.);
        if let Some(weight) = weights.iter().find(sound) {
            return Err(DataError::Option {
                option: "the weight of an item",
                wanted: "finite and at least 0",
                came: weight.to_string(),
            });
        }
        let drawable = weights.iter().filter(|w| **w > 0.).count();
        let most = if replacement {
            drawable.saturating_mul(usize::MAX)
        } else {
            drawable
        };
        if samples > most || !weights.iter().sum::<f64>().is_finite() {
            return Err(DataError::Option {
                option: "the weights of a sampler",
                wanted: "above 0 for as many items as are drawn, with a finite sum",
                came: format!("{drawable} above 0 for {samples} draws"),
            });
        }
        Ok(Self {
            weights,
            samples,
            replacement,
        })
    }

    fn drawn_each_for_itself(&self, rng: Rng) -> Vec<usize> {
        let mut total = 0.;
        let sums: Vec<f64> = (self.weights.iter())
            .map(|weight| {
                total += weight;
                total
            })
            .collect();
        // Rounding may push a draw onto the total, behind the last item that can be drawn.
        let last = sums.partition_point(|&sum| sum < total);
        let draw = |n| {
            let at = unit(&rng, n) * total;
            sums.partition_point(|&sum| sum <= at).min(last)
        };
        (0..self.samples as u64).map(draw).collect()
    }

    fn drawn_from_what_is_left(&self, rng: Rng) -> Vec<usize> {
        let key = |index: usize| (1. - unit(&rng, index as u64)).ln() / self.weights[index];
        let drawable = (0..self.weights.len()).filter(|&index| self.weights[index] > 0.);
        let mut keys: Vec<(f64, usize)> = drawable.map(|index| (key(index), index)).collect();
        keys.sort_by(|(a, i), (b, j)| b.total_cmp(a).then(i.cmp(j)));
        let chosen = keys.into_iter().take(self.samples);
        chosen.map(|(_, index)| index).collect()
    }
}

/// Uniform in `[0, 1)` with all 53 bits: the 24 of an `f32` would never reach light items among many.
fn unit(rng: &Rng, element: u64) -> f64 {
    const STEPS: u64 = 1 << 53;
    rng.below(element, STEPS) as f64 / STEPS as f64
}

impl Sampler for WeightedSampler {
    fn len(&self) -> usize {
        self.samples
    }

    fn indices(&self, seed: u64, epoch: u64) -> Vec<usize> {
        let rng = Rng::new(seed, Purpose::Shuffle, epoch);
        match self.replacement {
            true => self.drawn_each_for_itself(rng),
            false => self.drawn_from_what_is_left(rng),
        }
    }
}
