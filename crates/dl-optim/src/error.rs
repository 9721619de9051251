//! What can go wrong outside of tensor mathematics.

use std::path::PathBuf;

use candle_core::{DType, Shape};

/// The result of everything here that is not a pure function.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an optimizer, a schedule or a state file was refused.
///
/// ```
/// use dl_optim::{Adam, Rule};
/// let error = Adam { eps: -1.0, ..Adam::default() }.validate().unwrap_err();
/// assert_eq!(error.to_string(), "adam: `eps` must be >= 0, got -1");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of a rule, schedule or driver is outside its range.
    #[error("{owner}: `{field}` must be {wanted}, got {got}")]
    InvalidOption {
        /// The rule, schedule or driver.
        owner: &'static str,
        /// The field, as it is written in Rust.
        field: &'static str,
        /// The range.
        wanted: &'static str,
        /// The value that came.
        got: f64,
    },
    /// The options of a rule or schedule could not be read from JSON.
    #[error("{owner}: {source}")]
    UnreadableOptions {
        /// The rule or schedule.
        owner: String,
        /// What serde said.
        source: serde_json::Error,
    },
    /// No rule or schedule goes by this name.
    #[error("no {kind} is called `{name}`; known are {}", known.join(", "))]
    UnknownName {
        /// `rule` or `schedule`.
        kind: &'static str,
        /// The name that came.
        name: String,
        /// Every name that would have been taken.
        known: Vec<&'static str>,
    },
    /// A sequence of schedules does not have one milestone between each two parts, in order.
    #[error("sequence: {parts} schedules need {} increasing milestones, got {milestones:?}", parts.saturating_sub(1))]
    Milestones {
        /// How many schedules there are.
        parts: usize,
        /// The milestones that came, in steps.
        milestones: Vec<usize>,
    },
    /// There is nothing to optimize.
    #[error("the optimizer was given no parameters")]
    NoParameters,
    /// Two parameters have the same name.
    #[error("the parameter name `{name}` came twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// The same Var came under two names; it would be updated twice a step.
    #[error("`{first}` and `{second}` are the same variable; pass it once")]
    SharedVariable {
        /// The name that comes first in name order.
        first: String,
        /// The other name.
        second: String,
    },
    /// A parameter cannot be updated in place.
    #[error("`{name}` is not contiguous, so it cannot be updated in place")]
    NotContiguous {
        /// The parameter.
        name: String,
    },
    /// A parameter is not of a floating-point type.
    #[error("`{name}` must be f64, f32, f16 or bf16, got {dtype:?}")]
    UnsupportedDType {
        /// The parameter.
        name: String,
        /// Its type.
        dtype: DType,
    },
    /// A group pattern is not a valid glob.
    #[error("`{pattern}` is not a pattern: {source}")]
    Pattern {
        /// The pattern that came.
        pattern: String,
        /// What the glob parser said.
        source: globset::Error,
    },
    /// A group or layer matches no parameter: most often a typing mistake.
    #[error("`{pattern}` matches none of the {count} parameters")]
    NothingMatches {
        /// The pattern that came.
        pattern: String,
        /// How many parameters there are.
        count: usize,
    },
    /// Layer-wise decay was given a list of layers that leaves parameters out.
    #[error("no layer covers {}", names.join(", "))]
    UncoveredParameters {
        /// The parameters, in name order.
        names: Vec<String>,
    },
    /// Parameters received no gradient; the graph to them is cut, or they are unused.
    #[error("no gradient for {}", names.join(", "))]
    MissingGradients {
        /// The parameters, in name order.
        names: Vec<String>,
    },
    /// A step was to be taken while the parameters hold what is to be evaluated.
    #[error("the optimizer is in eval mode; call `train` before a step")]
    Evaluating,
    /// Gradients are infinite or not numbers: the loss diverged, or the rate is too high.
    #[error("the gradient is not finite for {}", names.join(", "))]
    NonFiniteGradients {
        /// The parameters, in name order.
        names: Vec<String>,
    },
    /// A rule that a momentum was given to has none.
    #[error("{rule} has no momentum")]
    NoMomentum {
        /// The rule.
        rule: &'static str,
    },
    /// A rule that is to be [`Cautious`](crate::Cautious) has no step along a momentum to mask.
    #[error("{rule} cannot be cautious: it takes no steps along a momentum")]
    NoCaution {
        /// The rule.
        rule: &'static str,
    },
    /// A rule cannot update a parameter of this shape. A group can give it another rule.
    #[error("{rule} cannot update `{name}`: its shape must be {wanted}, got {shape:?}")]
    UnsuitableShape {
        /// The parameter.
        name: String,
        /// The rule.
        rule: &'static str,
        /// What the rule can update.
        wanted: &'static str,
        /// The shape that came.
        shape: Shape,
    },
    /// A gradient does not look like its parameter.
    #[error(
        "the gradient of `{name}` must be {dtype:?} {shape:?}, got {got_dtype:?} {got_shape:?}"
    )]
    GradientMismatch {
        /// The parameter.
        name: String,
        /// Its type.
        dtype: DType,
        /// Its shape.
        shape: Shape,
        /// The type of the gradient.
        got_dtype: DType,
        /// The shape of the gradient.
        got_shape: Shape,
    },
    /// The state lacks a tensor that this optimizer needs.
    #[error("the state has no `{slot}` for `{parameter}`")]
    MissingState {
        /// The parameter.
        parameter: String,
        /// The slot, as in PyTorch.
        slot: String,
    },
    /// The state has a tensor that this optimizer has no place for.
    #[error("the state has `{slot}` for `{parameter}`, which this optimizer does not keep")]
    UnexpectedState {
        /// The parameter.
        parameter: String,
        /// The slot, as in PyTorch.
        slot: String,
    },
    /// A tensor of the state has another shape or type than this optimizer's.
    #[error("`{slot}` of `{parameter}` must be {wanted}, got {got}")]
    StateMismatch {
        /// The parameter.
        parameter: String,
        /// The slot, as in PyTorch.
        slot: String,
        /// The type and shape that fit.
        wanted: String,
        /// The type and shape that came.
        got: String,
    },
    /// The state of a parameter was written by another rule.
    #[error("`{parameter}` is updated by {wanted}, but its state was written by {got}")]
    RuleMismatch {
        /// The parameter.
        parameter: String,
        /// The rule of this optimizer.
        wanted: &'static str,
        /// The rule in the state.
        got: String,
    },
    /// A state could not be written.
    #[error(transparent)]
    Save(#[from] dl_files::Error),
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is damaged, or is not the state of an optimizer.
    #[error("{} is not the state of an optimizer: {reason}", path.display())]
    NotAState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
