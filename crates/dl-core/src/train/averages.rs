//! Averaged weights, with which evaluations run.

use std::collections::BTreeMap;

use candle_core::{Result as CandleResult, Tensor, Var};
use candle_nn::ModuleT;
use dl_optim::{Ema, Swa};
use serde::{Deserialize, Serialize};

use super::update_batch_norm::statistics;
use super::{TrainError, update_batch_norm};
use crate::Params;

/// When stochastic weight averaging begins, and what its batch norms need.
///
/// ```
/// use dl_core::train::SwaOptions;
/// assert_eq!(SwaOptions::default(), SwaOptions { first_epoch: 1, batch_norm_momentum: 0.1 });
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwaOptions {
    /// The first epoch whose weights are averaged, from 1. Default `1`.
    pub first_epoch: usize,
    /// The momentum of the model's batch norms, in `(0, 1]`; see
    /// [`update_batch_norm`](update_batch_norm()). Default `0.1`.
    pub batch_norm_momentum: f64,
}

impl Default for SwaOptions {
    fn default() -> Self {
        Self {
            first_epoch: 1,
            batch_norm_momentum: 0.1,
        }
    }
}

/// The weights that evaluations run with, beside those that train.
pub(super) enum Averages {
    Ema(Ema),
    Swa(SwaWeights),
}

impl Averages {
    /// After each step.
    pub(super) fn after_step(&mut self) -> Result<(), TrainError> {
        match self {
            Self::Ema(ema) => Ok(ema.update()?),
            Self::Swa(_) => Ok(()),
        }
    }

    pub(super) fn updates(&self) -> usize {
        match self {
            Self::Ema(ema) => ema.updates(),
            Self::Swa(averaged) => averaged.swa.updates(),
        }
    }

    /// Runs `work` with the averages in place of the weights, if there are any yet.
    pub(super) fn with<T>(&self, work: impl FnOnce() -> T) -> Result<T, TrainError> {
        match self {
            Self::Ema(ema) => Ok(ema.with_averages(work)?),
            Self::Swa(averaged) => averaged.with(work),
        }
    }

    pub(super) fn write(&self) -> Result<(), TrainError> {
        match self {
            Self::Ema(ema) => Ok(ema.write_averages()?),
            Self::Swa(averaged) => averaged.write(),
        }
    }

    /// The name of its part of a checkpoint.
    pub(super) fn part(&self) -> &'static str {
        match self {
            Self::Ema(_) => "ema",
            Self::Swa(_) => "swa",
        }
    }

    pub(super) fn state(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        match self {
            Self::Ema(ema) => Ok(ema.state()?),
            Self::Swa(averaged) => averaged.state(),
        }
    }

    pub(super) fn load(
        &mut self,
        state: &BTreeMap<String, Tensor>,
        updates: usize,
    ) -> Result<(), TrainError> {
        match self {
            Self::Ema(ema) => Ok(ema.load_state(state, updates)?),
            Self::Swa(averaged) => averaged.load(state, updates),
        }
    }
}

/// The mean of the weights at the ends of epochs, and the running statistics that belong to it.
pub(super) struct SwaWeights {
    pub(super) swa: Swa,
    pub(super) params: Params,
    pub(super) options: SwaOptions,
    /// Empty before the first average.
    pub(super) statistics: BTreeMap<String, Tensor>,
}

impl SwaWeights {
    /// At the end of an epoch, from 1.
    pub(super) fn after_epoch(
        &mut self,
        epoch: usize,
        model: &dyn ModuleT,
        batches: impl Iterator<Item = CandleResult<Tensor>>,
    ) -> Result<(), TrainError> {
        if epoch < self.options.first_epoch {
            return Ok(());
        }
        self.swa.update()?;
        let own = copies(statistics(&self.params))?;
        if own.is_empty() {
            return Ok(());
        }
        let momentum = self.options.batch_norm_momentum;
        let fitted = self.swa.with_averages(|| -> Result<_, TrainError> {
            update_batch_norm(model, &self.params, momentum, batches)?;
            Ok(copies(statistics(&self.params))?)
        });
        put(&self.params, &own)?;
        self.statistics = fitted??;
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce() -> T) -> Result<T, TrainError> {
        let mut own = self.params.all();
        own.retain(|(name, _)| self.statistics.contains_key(name));
        let own = copies(own)?;
        let done = self.swa.with_averages(|| {
            put(&self.params, &self.statistics)?;
            Ok(work())
        });
        put(&self.params, &own)?;
        done?
    }

    fn write(&self) -> Result<(), TrainError> {
        self.swa.write_averages()?;
        Ok(put(&self.params, &self.statistics)?)
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let mut state = self.swa.state()?;
        state.extend(self.statistics.clone());
        Ok(state)
    }

    fn load(&mut self, state: &BTreeMap<String, Tensor>, updates: usize) -> Result<(), TrainError> {
        self.swa.load_state(state, updates)?;
        let mut buffers = state.clone();
        buffers.retain(|name, _| Params::is_buffer(name));
        self.statistics = buffers;
        Ok(())
    }
}

/// What buffers hold now.
fn copies(buffers: Vec<(String, Var)>) -> CandleResult<BTreeMap<String, Tensor>> {
    let copy = |(name, var): (String, Var)| Ok((name, var.detach().copy()?));
    buffers.into_iter().map(copy).collect()
}

fn put(params: &Params, values: &BTreeMap<String, Tensor>) -> CandleResult<()> {
    let mut all = values.iter();
    all.try_for_each(|(name, value)| params.set(name, value))
}
