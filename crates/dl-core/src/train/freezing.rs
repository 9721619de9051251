//! Parts of a model that begin or cease to train at an epoch.

use super::{Callback, Flow, TrainError};
use crate::Params;

/// Freezes and thaws parameters by name at the beginning of epochs; Lightning's `BaseFinetuning`.
///
/// The model is built again when something changes, so what is frozen costs nothing: say how with
/// [`Trainer::rebuild`](super::Trainer::rebuild), and give the optimizer all parameters, those that
/// are frozen at first too. Batch norms in a frozen part keep their statistics.
///
/// What is frozen is a function of the epoch: there is nothing to save, and a run that is resumed has
/// frozen what it had.
///
/// ```
/// use candle_core::Device;
/// use dl_core::Params;
/// use dl_core::train::{Callback, Flow, Freezing};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().pp("backbone").get(2, "weight")?;
/// params.vb().pp("head").get(2, "weight")?;
/// let mut freezing = Freezing::new(&params).freeze("backbone.*", 1).unfreeze("*", 3);
/// assert_eq!(freezing.on_epoch_begin(1)?, Flow::Rebuild);
/// assert!(!params.is_trainable("backbone.weight") && params.is_trainable("head.weight"));
/// assert_eq!(freezing.on_epoch_begin(2)?, Flow::Continue);
/// assert_eq!(freezing.on_epoch_begin(3)?, Flow::Rebuild);
/// assert!(params.is_trainable("backbone.weight"));
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Freezing {
    params: Params,
    /// In order of their epochs.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    epoch: usize,
    pattern: String,
    freeze: bool,
}

impl Freezing {
    /// Changes nothing yet.
    pub fn new(params: &Params) -> Self {
        Self {
            params: params.clone(),
            changes: vec![],
        }
    }

    /// Freezes what matches the glob `pattern` (`*` crosses dots) from the beginning of an epoch, from
    /// 1.
    pub fn freeze(self, pattern: impl Into<String>, epoch: usize) -> Self {
        self.change(pattern.into(), epoch, true)
    }

    /// Lets what matches the glob `pattern` train from the beginning of an epoch, from 1.
    pub fn unfreeze(self, pattern: impl Into<String>, epoch: usize) -> Self {
        self.change(pattern.into(), epoch, false)
    }

    fn change(mut self, pattern: String, epoch: usize, freeze: bool) -> Self {
        self.changes.push(Change {
            epoch,
            pattern,
            freeze,
        });
        // Stable: of one epoch the later word holds.
        self.changes.sort_by_key(|change| change.epoch);
        self
    }

    fn trainable(&self) -> Vec<String> {
        let trainable = self.params.trainable().into_iter();
        trainable.map(|(name, _)| name).collect()
    }

    fn apply(&self, change: &Change) -> Result<(), TrainError> {
        let matched = match change.freeze {
            true => self.params.freeze(&change.pattern)?,
            false => self.params.unfreeze(&change.pattern)?,
        };
        match matched {
            0 => Err(TrainError::NothingMatches {
                pattern: change.pattern.clone(),
                count: self.params.names().len(),
            }),
            _ => Ok(()),
        }
    }
}

impl Callback for Freezing {
    fn on_epoch_begin(&mut self, epoch: usize) -> Result<Flow, TrainError> {
        let before = self.trainable();
        let mut due = self.changes.iter().filter(|change| change.epoch <= epoch);
        due.try_for_each(|change| self.apply(change))?;
        Ok(match before == self.trainable() {
            true => Flow::Continue,
            false => Flow::Rebuild,
        })
    }
}
