//! candle-nn's trait, so that programs written against it can use ours.

use candle_core::backprop::GradStore;
use candle_core::{Result, Var};

use crate::{Optimizer, Rule};

/// Parameters are named by their number, `000000` on, since candle gives none; those that are not
/// floating-point are left out, and missing gradients are skipped, as candle-nn's own optimizers do.
/// There has to be at least one.
///
/// ```
/// use candle_core::{Device, Var};
/// use candle_nn::Optimizer as _;
/// use dl_optim::{Optimizer, Rule, Sgd};
/// fn train<O: candle_nn::Optimizer>(x: &Var, mut optimizer: O) -> candle_core::Result<f64> {
///     optimizer.set_learning_rate(0.25);
///     optimizer.backward_step(&x.sqr()?)?;
///     x.to_scalar::<f64>()
/// }
/// let x = Var::new(1.0_f64, &Device::Cpu)?;
/// let rule: Box<dyn Rule> = Sgd::default().into();
/// assert_eq!(train(&x, <Optimizer as candle_nn::Optimizer>::new(vec![x.clone()], rule)?)?, 0.5);
/// # Ok::<(), candle_core::Error>(())
/// ```
impl candle_nn::Optimizer for Optimizer {
    type Config = Box<dyn Rule>;

    fn new(vars: Vec<Var>, rule: Self::Config) -> Result<Self> {
        let vars = vars.into_iter().filter(|var| var.dtype().is_float());
        let named = vars.enumerate().map(|(i, var)| (format!("{i:06}"), var));
        let optimizer = Self::new(named, rule).map_err(candle_core::Error::wrap)?;
        Ok(optimizer.allow_missing_gradients())
    }

    fn step(&mut self, grads: &GradStore) -> Result<()> {
        self.step(grads).map_err(candle_core::Error::wrap)
    }

    fn learning_rate(&self) -> f64 {
        self.lr()
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.set_lr(lr);
    }
}
