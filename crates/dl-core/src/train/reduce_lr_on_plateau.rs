//! A lower rate when a metric no longer improves.

use dl_optim::{PlateauConfig, ReduceOnPlateau};

use super::{Callback, Evaluated, Flow, TrainError};
use crate::checkpoint::Part;

/// Lowers the rate when a metric of the evaluations has stopped improving; PyTorch's
/// `ReduceLROnPlateau`, Keras' callback.
///
/// ```text
/// η ← max(factor · η, min_lr)    after more than `patience` evaluations without an improvement
/// ```
///
/// Beside a schedule it multiplies what the schedule gives; `min_lr` bounds the rate without it.
///
/// ```
/// use dl_core::train::{Callback, Evaluated, Flow, ReduceLrOnPlateau};
/// use dl_optim::PlateauConfig;
/// let config = PlateauConfig { patience: 0, factor: 0.5, ..Default::default() };
/// let mut plateau = ReduceLrOnPlateau::new("eval_loss", config, 0.1)?;
/// let mut hear = |step, loss| {
///     let metrics = [("eval_loss".to_string(), loss)].into();
///     plateau.on_evaluation(&Evaluated { epoch: step, step, metrics, confusion: None })
/// };
/// assert_eq!(hear(1, 0.7)?, Flow::Continue);
/// assert_eq!(hear(2, 0.7)?, Flow::ScaleLr(0.5));
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReduceLrOnPlateau {
    watch: String,
    plateau: ReduceOnPlateau,
}

impl ReduceLrOnPlateau {
    /// Watches a metric such as `eval_loss`; [`Mode::Max`](dl_optim::Mode) in the configuration for one that is to
    /// rise. `lr` is the optimizer's rate at first. Fails on an option outside its range.
    pub fn new(
        watch: impl Into<String>,
        config: PlateauConfig,
        lr: f64,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            watch: watch.into(),
            plateau: ReduceOnPlateau::new(config, lr)?,
        })
    }

    /// The rate that it has come to, without a schedule.
    pub fn lr(&self) -> f64 {
        self.plateau.lr()
    }
}

impl Callback for ReduceLrOnPlateau {
    fn on_evaluation(&mut self, found: &Evaluated) -> Result<Flow, TrainError> {
        let now = found.metric(&self.watch)?;
        let before = self.plateau.lr();
        let lr = self.plateau.step(now);
        Ok(match lr == before {
            true => Flow::Continue,
            false => Flow::ScaleLr(lr / before),
        })
    }

    fn state(&self) -> Result<Option<(String, Part)>, TrainError> {
        let name = format!("reduce_lr_on_plateau.{}", self.watch);
        Ok(Some((name, Part::values(&self.plateau)?)))
    }

    fn load_state(&mut self, part: &Part) -> Result<(), TrainError> {
        self.plateau = part.read("reduce_lr_on_plateau")?;
        Ok(())
    }
}
