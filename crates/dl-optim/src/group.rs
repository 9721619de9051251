//! Groups: which parameters get their own rate, weight decay or rule.

use std::fmt;

use candle_core::Var;
use globset::GlobMatcher;

use crate::rule::require_not_negative;
use crate::{Error, Result, Rule};

/// A selection of parameters and what is different for them.
///
/// Groups are applied in the order in which they are given: rate scales multiply, and the last
/// weight decay and the last rule win. A group that selects nothing is an error.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use dl_optim::{AdamW, Group, Optimizer};
/// let names = ["encoder.0.weight", "encoder.0.bias", "head.weight"];
/// let params = names.map(|name| {
///     (name.to_string(), Var::zeros((2, 2), DType::F32, &Device::Cpu).expect("small"))
/// });
/// let optimizer = Optimizer::new(params, AdamW::default())?
///     .group(Group::matching("encoder.*")?.lr_scale(0.1))?
///     .group(Group::matching("*.bias")?.weight_decay(0.0))?;
/// let bias = optimizer.settings("encoder.0.bias").expect("it exists");
/// assert_eq!((bias.lr_scale, bias.weight_decay), (0.1, 0.0));
/// # Ok::<(), dl_optim::Error>(())
/// ```
pub struct Group {
    label: String,
    selection: Selection,
    lr_scale: f64,
    weight_decay: Option<f64>,
    rule: Option<Box<dyn Rule>>,
}

type Predicate = Box<dyn Fn(&str, &Var) -> bool>;

enum Selection {
    Glob(GlobMatcher),
    Predicate(Predicate),
}

impl Group {
    /// The parameters whose whole name matches a glob; `*` matches dots too: `encoder.*`, `*.bias`,
    /// `{stem,layer1}.*`.
    ///
    /// Fails on a pattern that is not a glob.
    pub fn matching(pattern: &str) -> Result<Self> {
        Ok(Self::new(pattern, Selection::Glob(glob(pattern)?)))
    }

    /// The parameters that a function picks; the label is for messages.
    pub fn selecting(label: &str, predicate: impl Fn(&str, &Var) -> bool + 'static) -> Self {
        Self::new(label, Selection::Predicate(Box::new(predicate)))
    }

    fn new(label: &str, selection: Selection) -> Self {
        let label = label.to_string();
        Self {
            label,
            selection,
            lr_scale: 1.0,
            weight_decay: None,
            rule: None,
        }
    }

    /// Multiplies the scheduled learning rate, `>= 0`.
    pub fn lr_scale(self, lr_scale: f64) -> Self {
        Self { lr_scale, ..self }
    }

    /// Replaces the weight decay of the rule, `>= 0`. How it acts stays the rule's affair.
    pub fn weight_decay(self, weight_decay: f64) -> Self {
        Self {
            weight_decay: Some(weight_decay),
            ..self
        }
    }

    /// Replaces the rule. Its own `lr`, in proportion to that of the rule it replaces, becomes a
    /// rate scale, so a schedule moves both alike as PyTorch's schedulers do; a replaced `lr` of 0
    /// leaves the scale as it is.
    pub fn rule(self, rule: impl Into<Box<dyn Rule>>) -> Self {
        Self {
            rule: Some(rule.into()),
            ..self
        }
    }

    pub(crate) fn selects(&self, name: &str, var: &Var) -> bool {
        match &self.selection {
            Selection::Glob(glob) => glob.is_match(name),
            Selection::Predicate(predicate) => predicate(name, var),
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        require_not_negative("group", "lr_scale", self.lr_scale)?;
        require_not_negative("group", "weight_decay", self.weight_decay.unwrap_or(0.0))?;
        self.rule.as_ref().map_or(Ok(()), |rule| rule.validate())
    }

    pub(crate) fn into_parts(self) -> Parts {
        let Self {
            label,
            lr_scale,
            weight_decay,
            rule,
            ..
        } = self;
        Parts {
            label,
            lr_scale,
            weight_decay,
            rule,
        }
    }
}

/// A group without its selection.
pub(crate) struct Parts {
    pub(crate) label: String,
    pub(crate) lr_scale: f64,
    pub(crate) weight_decay: Option<f64>,
    pub(crate) rule: Option<Box<dyn Rule>>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("label", &self.label)
            .field("lr_scale", &self.lr_scale)
            .field("weight_decay", &self.weight_decay)
            .field("rule", &self.rule)
            .finish()
    }
}

/// What holds for one parameter.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use dl_optim::{AdamW, Optimizer};
/// let bias = Var::zeros(3, DType::F32, &Device::Cpu)?;
/// let optimizer = Optimizer::new([("fc.bias".to_string(), bias)], AdamW::default())?
///     .no_decay_on_bias_and_norm();
/// let settings = optimizer.settings("fc.bias").expect("it exists");
/// assert_eq!((settings.rule, settings.weight_decay), ("adamw", 0.0));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The name of the rule.
    pub rule: &'static str,
    /// What the scheduled learning rate is multiplied by.
    pub lr_scale: f64,
    /// The weight decay.
    pub weight_decay: f64,
}

/// 1-D tensors (norms, biases) and whatever is called a bias: what is usually not decayed.
pub(crate) fn is_bias_or_norm(name: &str, var: &Var) -> bool {
    var.rank() <= 1 || name == "bias" || name.ends_with(".bias")
}

/// Whether a parameter belongs to a layer: the name itself, a name below it, or a match of its glob.
pub(crate) fn is_in_layer(layer: &str, glob: &GlobMatcher, name: &str) -> bool {
    let below = name
        .strip_prefix(layer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    below || glob.is_match(name)
}

pub(crate) fn glob(pattern: &str) -> Result<GlobMatcher> {
    let glob = globset::Glob::new(pattern).map_err(|source| Error::Pattern {
        pattern: pattern.to_string(),
        source,
    })?;
    Ok(glob.compile_matcher())
}
