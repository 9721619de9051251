//! Slow weights that follow fast ones.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::ema::{moved, widened};
use crate::optimizer::Parameter;
use crate::rule::require;
use crate::update::slot_dtype;
use crate::{Error, Result};

/// Slow weights that go part of the way to the fast ones every k steps, and take those back to
/// themselves.
///
/// ```text
/// every k steps:  φ ← φ + α (θ − φ),   θ ← φ
/// ```
///
/// Call [`Lookahead::update`] after every step of whatever optimizer moves θ; with master weights
/// call [`Optimizer::refresh_master_weights`](crate::Optimizer::refresh_master_weights) when it says
/// that it wrote. Slots of the inner optimizer are kept, as the paper prefers.
///
/// Source: M. Zhang, J. Lucas, G. Hinton, J. Ba, 2019, Lookahead Optimizer: k steps forward, 1 step
/// back.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Lookahead, Optimizer, Sgd};
/// let x = Var::new(4.0_f64, &Device::Cpu)?;
/// let mut sgd = Optimizer::new([("x".to_string(), x.clone())], Sgd { lr: 1.0, ..Sgd::default() })?;
/// let mut lookahead = Lookahead::new([("x".to_string(), x.clone())], 2, 0.5)?;
/// let mut seen = Vec::new();
/// for _ in 0..4 {
///     sgd.step(&x.backward()?)?; // one down
///     lookahead.update()?;
///     seen.push(x.to_scalar::<f64>()?);
/// }
/// assert_eq!(seen, [3.0, 3.0, 2.0, 2.0]);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Lookahead {
    every: usize,
    alpha: f64,
    updates: usize,
    slow: BTreeMap<String, (Var, Tensor)>,
}

impl Lookahead {
    /// Slow weights that begin where these parameters are; `every` is k, `> 0`, and `alpha` in
    /// `[0, 1]`. The paper's are 5 and 0.5.
    ///
    /// Fails on an option outside its range, a name that comes twice, and parameters that are not
    /// contiguous floating-point tensors.
    pub fn new(
        params: impl IntoIterator<Item = (String, Var)>,
        every: usize,
        alpha: f64,
    ) -> Result<Self> {
        require(every > 0, "lookahead", "every", "> 0", every as f64)?;
        let share = (0.0..=1.0).contains(&alpha);
        require(share, "lookahead", "alpha", "in [0, 1]", alpha)?;
        let mut slow = BTreeMap::new();
        for (name, var) in params {
            let Parameter { name, var, .. } = Parameter::new(name, var)?;
            let copy = widened(&var)?;
            if slow.insert(name.clone(), (var, copy)).is_some() {
                return Err(Error::DuplicateName { name });
            }
        }
        Ok(Self {
            every,
            alpha,
            updates: 0,
            slow,
        })
    }

    /// Counts a step; every k of them moves the slow weights and writes them to the parameters.
    /// Says whether it did.
    pub fn update(&mut self) -> Result<bool> {
        self.updates += 1;
        if !self.updates.is_multiple_of(self.every) {
            return Ok(false);
        }
        for (var, slow) in self.slow.values_mut() {
            *slow = moved(slow, var, self.alpha)?;
            if slow.elem_count() > 0 {
                var.set(&slow.to_dtype(var.dtype())?.copy()?)?;
            }
        }
        Ok(true)
    }

    /// How many steps were counted.
    pub fn updates(&self) -> usize {
        self.updates
    }

    /// A copy of the slow weights by name, f64 for f64 parameters and f32 for all others.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let copies = self.slow.iter();
        let copies = copies.map(|(name, (_, slow))| Ok((name.clone(), slow.copy()?)));
        Ok(copies.collect::<candle_core::Result<_>>()?)
    }

    /// Goes on from slow weights that [`Lookahead::state`] gave after so many steps; other names are
    /// left alone.
    ///
    /// Fails, before anything is changed, if one is missing or has another shape or type.
    pub fn load_state(&mut self, state: &BTreeMap<String, Tensor>, updates: usize) -> Result<()> {
        let mut loaded = Vec::with_capacity(self.slow.len());
        for (name, (var, _)) in &self.slow {
            let dtype = slot_dtype(var.dtype());
            let slow = crate::state::fit(state.get(name), name, "slow", dtype, var.dims())?;
            loaded.push(slow.contiguous()?.copy()?.to_device(var.device())?);
        }
        for ((_, slow), loaded) in self.slow.values_mut().zip(loaded) {
            *slow = loaded;
        }
        self.updates = updates;
        Ok(())
    }
}
