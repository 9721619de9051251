//! Stochastic weight averaging.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::{Ema, Result};

/// The plain average of parameters over the end of a run, which generalises better than the last of
/// them; PyTorch's `AveragedModel`.
///
/// ```text
/// āₙ = āₙ₋₁ + (θ − āₙ₋₁) / n
/// ```
///
/// Update it once an epoch, at the constant rate of a [`SwaAnneal`](crate::SwaAnneal). The running
/// statistics of batch norms are not those of the averaged weights: recompute them after
/// [`Swa::write_averages`], with dl-core by `update_batch_norm`.
///
/// Source: P. Izmailov, D. Podoprikhin, T. Garipov, D. Vetrov, A. Wilson, 2018, Averaging Weights
/// Leads to Wider Optima and Better Generalization.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::Swa;
/// let x = Var::new(1.0_f64, &Device::Cpu)?;
/// let mut swa = Swa::new([("x".to_string(), x.clone())])?;
/// for value in [1.0, 2.0, 6.0] {
///     x.set(&(x.zeros_like()? + value)?)?;
///     swa.update()?;
/// }
/// swa.write_averages()?;
/// assert_eq!(x.to_scalar::<f64>()?, 3.0);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Swa(Ema);

impl Swa {
    /// An average of these parameters. Fails as [`Ema::new`] does.
    pub fn new(params: impl IntoIterator<Item = (String, Var)>) -> Result<Self> {
        Ema::equal(params).map(Self)
    }

    /// Takes the parameters as they are now into the average, in one pass and in place.
    pub fn update(&mut self) -> Result<()> {
        self.0.update()
    }

    /// How many updates went into the average.
    pub fn updates(&self) -> usize {
        self.0.updates()
    }

    /// Runs `work` while the parameters hold the averages, then puts back what they held.
    pub fn with_averages<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        self.0.with_averages(work)
    }

    /// Overwrites the parameters with the averages.
    pub fn write_averages(&self) -> Result<()> {
        self.0.write_averages()
    }

    /// A copy of the averages by name, f64 for f64 parameters and f32 for all others.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        self.0.state()
    }

    /// Goes on from averages that [`Swa::state`] gave after so many updates; fails as
    /// [`Ema::load_state`] does.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>, updates: usize) -> Result<()> {
        self.0.load_state(state, updates)
    }
}
