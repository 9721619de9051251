//! What an optimizer does to one parameter.

use std::fmt::Debug;

use candle_core::DType;
use serde::Serialize;

use crate::{Error, Result, Update};

/// The update of one parameter; the [`Optimizer`](crate::Optimizer) does the rest.
///
/// A rule is a plain config: what it remembers lives in named slots that the driver creates, saves
/// and loads. To add one: a struct with its options, this trait, and a [`Descent`](crate::Descent) or a
/// [`Kernel`](crate::Kernel) with the formula for one element.
///
/// ```
/// use dl_optim::{Adam, Rule};
/// let names: Vec<_> = Adam::default().slots(&[3, 4]).into_iter().map(|slot| slot.name).collect();
/// assert_eq!(names, ["exp_avg", "exp_avg_sq"]);
/// assert_eq!(Adam::default().basics().lr, 1e-3);
/// ```
pub trait Rule: Options + Debug + Send + Sync {
    /// The name and the options that the driver takes care of.
    fn basics(&self) -> Basics;
    /// What is remembered about a parameter of this shape, in a fixed order, with PyTorch's names.
    fn slots(&self, shape: &[usize]) -> Vec<Slot>;
    /// Refuses options outside their range.
    fn validate(&self) -> Result<()>;
    /// What the shape of a parameter must be, if the rule cannot update one of this shape. Default:
    /// every shape will do.
    fn refuses(&self, shape: &[usize]) -> Option<&'static str> {
        let _ = shape;
        None
    }
    /// The numbers that all parameters of this rule have in common, and their first values. Where
    /// there are some, [`Rule::measure`] and [`Rule::agree`] go before the updates. Default: none.
    fn shared(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
    /// What this parameter adds to the two sums that the shared numbers follow.
    fn measure(&self, at: &mut Update<'_>) -> candle_core::Result<[f64; 2]> {
        let _ = at;
        Ok([0.0; 2])
    }
    /// Moves the shared numbers by the sums over all parameters; `false` if no step is to be taken.
    fn agree(&self, shared: &mut [f64], sums: [f64; 2], lr: f64) -> bool {
        let _ = (shared, sums, lr);
        true
    }
    /// The share β, of rules whose gradients are taken at y = β x + (1 − β) z, whose result is x, and
    /// whose first slot is z; see [`Optimizer::eval`](crate::Optimizer::eval). Default: the parameters
    /// are the result.
    fn interpolates(&self) -> Option<f64> {
        None
    }
    /// Whether the update is a step along a momentum that [`Cautious`](crate::Cautious) can mask: one
    /// that [`Update::descend`] or [`Update::step_along`] takes. Default: it is not.
    fn can_be_cautious(&self) -> bool {
        false
    }
    /// Takes one step on one parameter.
    fn update(&self, at: Update<'_>) -> candle_core::Result<()>;
}

/// What every rule has.
///
/// ```
/// use dl_optim::{AdamW, Rule};
/// let basics = AdamW::default().basics();
/// assert_eq!((basics.name, basics.lr, basics.weight_decay), ("adamw", 1e-3, 0.01));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Basics {
    /// The name in files and configs, lower case: `adamw`.
    pub name: &'static str,
    /// The learning rate that the driver starts with.
    pub lr: f64,
    /// The weight decay that holds where no group says otherwise.
    pub weight_decay: f64,
    /// Whether the objective is to be maximised: the driver then negates the gradients.
    pub maximize: bool,
}

/// The options of a rule as JSON, in the form that [`rule_named`](crate::rule_named) takes. What is
/// `Serialize` has them.
pub trait Options {
    /// The options.
    fn options(&self) -> serde_json::Value;
}

impl<T: Serialize> Options for T {
    fn options(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl<R: Rule + 'static> From<R> for Box<dyn Rule> {
    fn from(rule: R) -> Self {
        Box::new(rule)
    }
}

/// A tensor that a rule keeps for one parameter.
///
/// ```
/// use dl_optim::Slot;
/// let slot = Slot::like("exp_avg", &[3, 4]);
/// assert_eq!((slot.shape.as_slice(), slot.init), ([3, 4].as_slice(), 0.0));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// PyTorch's name for it.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is filled with before the first step.
    pub init: f64,
    /// Whether it stays on the CPU whatever the device of the parameter: a number that steers the
    /// step and that must be read without waiting for the device.
    pub host: bool,
    /// Its type, where that is not the one of [`Update::slots`](crate::Update::slots).
    pub dtype: Option<DType>,
}

impl Slot {
    /// A slot of zeros in the shape of the parameter.
    pub fn like(name: &'static str, shape: &[usize]) -> Self {
        Self {
            name,
            shape: shape.to_vec(),
            init: 0.0,
            host: false,
            dtype: None,
        }
    }

    /// A slot of 8-bit codes in the shape of the parameter.
    pub fn codes(name: &'static str, shape: &[usize]) -> Self {
        Self {
            dtype: Some(DType::U8),
            ..Self::like(name, shape)
        }
    }

    /// One number, kept on the CPU. Such slots come after all others.
    pub fn scalar(name: &'static str, init: f64) -> Self {
        Self {
            init,
            host: true,
            ..Self::like(name, &[])
        }
    }

    /// One number in f64, kept on the CPU. As [`Slot::scalar`], such slots come after all others.
    pub fn precise(name: &'static str, init: f64) -> Self {
        Self {
            dtype: Some(DType::F64),
            ..Self::scalar(name, init)
        }
    }
}

/// Refuses `got` unless `valid`.
pub(crate) fn require(
    valid: bool,
    owner: &'static str,
    field: &'static str,
    wanted: &'static str,
    got: f64,
) -> Result<()> {
    if valid {
        Ok(())
    } else {
        Err(Error::InvalidOption {
            owner,
            field,
            wanted,
            got,
        })
    }
}

/// Refuses what is negative, infinite or not a number.
pub(crate) fn require_not_negative(
    owner: &'static str,
    field: &'static str,
    got: f64,
) -> Result<()> {
    require(got >= 0.0 && got.is_finite(), owner, field, ">= 0", got)
}

/// Refuses what is outside `[0, 1)`.
pub(crate) fn require_share(owner: &'static str, field: &'static str, got: f64) -> Result<()> {
    require((0.0..1.0).contains(&got), owner, field, "in [0, 1)", got)
}
