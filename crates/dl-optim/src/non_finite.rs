//! What happens to gradients that are not finite.

use serde::{Deserialize, Serialize};

/// What a step does with gradients that are infinite or not numbers.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{NonFinite, Optimizer, Sgd};
/// let x = Var::new(0.0_f64, &Device::Cpu)?;
/// let sgd = Optimizer::new([("x".to_string(), x.clone())], Sgd::default())?;
/// let mut sgd = sgd.non_finite(NonFinite::Skip);
/// sgd.step(&x.sqrt()?.backward()?)?; // 1 / 0
/// assert_eq!((sgd.steps(), sgd.skipped_steps(), x.to_scalar::<f64>()?), (0, 1, 0.0));
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonFinite {
    /// Lets them through to the parameters, as PyTorch does. The default.
    #[default]
    Allow,
    /// Fails before anything is changed, and names the parameters.
    Error,
    /// Leaves the step out and counts it.
    Skip,
}
