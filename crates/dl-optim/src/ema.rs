//! Exponential moving average of parameters.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::optimizer::Parameter;
use crate::rule::require;
use crate::sweep::{self, combine};
use crate::update::slot_dtype;
use crate::{Error, Kernel, Path, Real, Result};

/// A running average of parameters, which often evaluates better than the parameters themselves.
///
/// ```text
/// āₜ = δ āₜ₋₁ + (1 − δ) θₜ,   ā₁ = θ₁
/// ```
///
/// As PyTorch's `AveragedModel` with `get_ema_multi_avg_fn`: the first update copies. Averages of
/// f16 and bf16 parameters are kept in f32, where PyTorch's stand still once a change is below
/// their precision.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::Ema;
/// let x = Var::new(1.0_f64, &Device::Cpu)?;
/// let mut ema = Ema::new([("x".to_string(), x.clone())], 0.75)?;
/// ema.update()?;
/// x.set(&(x.detach() + 4.0)?)?;
/// ema.update()?;
/// let average = ema.with_averages(|| x.to_scalar::<f64>())??;
/// assert_eq!((average, x.to_scalar::<f64>()?), (2.0, 5.0));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Ema {
    share: Share,
    updates: usize,
    averages: BTreeMap<String, (Var, Tensor)>,
}

/// What a new parameter counts in the average.
#[derive(Clone, Copy, Debug)]
enum Share {
    /// 1 − δ.
    Decaying(f64),
    /// As much as each one before.
    Equal,
}

impl Ema {
    /// An average of these parameters, which starts as a copy of them. `decay` is in `[0, 1]`;
    /// PyTorch's default is 0.999.
    ///
    /// Fails on a decay outside its range, a name that comes twice, and parameters that are not
    /// contiguous floating-point tensors.
    pub fn new(params: impl IntoIterator<Item = (String, Var)>, decay: f64) -> Result<Self> {
        require(
            (0.0..=1.0).contains(&decay),
            "ema",
            "decay",
            "in [0, 1]",
            decay,
        )?;
        Self::averaging(params, Share::Decaying(decay))
    }

    /// An average in which all updates count alike.
    pub(crate) fn equal(params: impl IntoIterator<Item = (String, Var)>) -> Result<Self> {
        Self::averaging(params, Share::Equal)
    }

    fn averaging(params: impl IntoIterator<Item = (String, Var)>, share: Share) -> Result<Self> {
        let mut averages = BTreeMap::new();
        for (name, var) in params {
            let Parameter { name, var, .. } = Parameter::new(name, var)?;
            let copy = widened(&var)?;
            if averages.insert(name.clone(), (var, copy)).is_some() {
                return Err(Error::DuplicateName { name });
            }
        }
        Ok(Self {
            share,
            updates: 0,
            averages,
        })
    }

    /// Takes the parameters as they are now into the average, in one pass and in place.
    pub fn update(&mut self) -> Result<()> {
        let share = match self.share {
            _ if self.updates == 0 => 1.0,
            Share::Decaying(decay) => 1.0 - decay,
            Share::Equal => 1.0 / (self.updates + 1) as f64,
        };
        for (var, average) in self.averages.values_mut() {
            *average = moved(average, var, share)?;
        }
        self.updates += 1;
        Ok(())
    }

    /// How many updates went into the average.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// Runs `work` while the parameters hold the averages, then puts back what they held.
    pub fn with_averages<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let own = self.averages.values().map(|(var, _)| var.detach().copy());
        let own = own.collect::<candle_core::Result<Vec<_>>>()?;
        let written = self.write_averages().map(|()| work());
        for ((var, _), own) in self.averages.values().zip(&own) {
            var.set(own)?;
        }
        written
    }

    /// Overwrites the parameters with the averages.
    pub fn write_averages(&self) -> Result<()> {
        for (var, average) in self.averages.values() {
            var.set(&average.to_dtype(var.dtype())?)?;
        }
        Ok(())
    }

    /// A copy of the averages by name, f64 for f64 parameters and f32 for all others.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let copies = self.averages.iter();
        let copies = copies.map(|(name, (_, average))| Ok((name.clone(), average.copy()?)));
        Ok(copies.collect::<candle_core::Result<_>>()?)
    }

    /// Goes on from averages that [`Ema::state`] gave after so many updates; other names are left
    /// alone.
    ///
    /// Fails, before anything is changed, if an average is missing or has another shape or type.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>, updates: usize) -> Result<()> {
        let mut loaded = Vec::with_capacity(self.averages.len());
        for (name, (var, _)) in &self.averages {
            let dtype = slot_dtype(var.dtype());
            let average = crate::state::fit(state.get(name), name, "average", dtype, var.dims())?;
            loaded.push(average.contiguous()?.copy()?.to_device(var.device())?);
        }
        for ((_, average), loaded) in self.averages.values_mut().zip(loaded) {
            *average = loaded;
        }
        self.updates = updates;
        Ok(())
    }
}

/// The average after one update: itself, changed in place, where there is a loop for it.
pub(crate) fn moved(average: &Tensor, var: &Var, share: f64) -> candle_core::Result<Tensor> {
    let kernel = Toward { share };
    if sweep::can_sweep(var) {
        return combine(average.clone(), var, Path::Fused, &kernel);
    }
    combine(average.clone(), &widened(var)?, Path::Composed, &kernel)
}

pub(crate) fn widened(var: &Var) -> candle_core::Result<Tensor> {
    var.detach().to_dtype(slot_dtype(var.dtype()))?.copy()
}

#[derive(Clone, Copy)]
struct Toward {
    share: f64,
}

impl Kernel<0> for Toward {
    #[inline(always)]
    fn apply<R: Real>(&self, average: R, theta: R, _: [R; 0]) -> (R, [R; 0]) {
        (average.lerp(theta, self.share), [])
    }
}
