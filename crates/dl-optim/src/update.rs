//! One step on one parameter, as a rule sees it.

use candle_core::{DType, Result, Tensor, Var};

use crate::low_precision::Rounding;
use crate::real::Composed;
use crate::sweep::{self, Intake};
use crate::{Kernel, Lanes, Sweep};

/// How an elementwise rule is carried out.
///
/// ```
/// assert_eq!(dl_optim::Path::default(), dl_optim::Path::Fused);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Path {
    /// One pass over memory where there is a loop for the device and type (CPU: f32, f64), else
    /// composed. The default.
    #[default]
    Fused,
    /// Always composed of candle's operations.
    Composed,
}

/// A parameter, its gradient, its slots and the numbers of this step.
///
/// A rule that works element by element calls [`Update::elementwise`] and is done. Any other reads
/// [`Update::theta`] and [`Update::gradient`], works with candle's operations on [`Update::slots`],
/// and ends with [`Update::write`].
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::{Basics, Optimizer, Result, Rule, Slot, Update};
///
/// /// Steps of length η against the gradient (normalised gradient descent).
/// #[derive(Debug, serde::Serialize)]
/// struct Normalized;
/// impl Rule for Normalized {
///     fn basics(&self) -> Basics {
///         Basics { name: "normalized", lr: 1.0, weight_decay: 0.0, maximize: false }
///     }
///     fn slots(&self, _: &[usize]) -> Vec<Slot> { Vec::new() }
///     fn validate(&self) -> Result<()> { Ok(()) }
///     fn update(&self, at: Update<'_>) -> candle_core::Result<()> {
///         let g = at.gradient()?;
///         let length = g.sqr()?.sum_all()?.sqrt()?;
///         at.write(&(at.theta()? - (g.broadcast_div(&length)? * at.lr)?)?)
///     }
/// }
/// let x = Var::new(&[3.0_f64, 4.0], &Device::Cpu)?;
/// let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], Normalized)?;
/// optimizer.step(&x.sqr()?.sum_all()?.backward()?)?;
/// assert!((x.to_vec1::<f64>()?[0] - 2.4).abs() < 1e-12);
/// # Ok::<(), dl_optim::Error>(())
/// ```
#[derive(Debug)]
pub struct Update<'a> {
    /// The number of this step for this parameter, from 1. Steps without a gradient do not count.
    pub step: usize,
    /// The learning rate, with the scale of the group.
    pub lr: f64,
    /// The weight decay of the group, else of the rule.
    pub weight_decay: f64,
    /// The slots of the rule, in its order: f64 for an f64 parameter, f32 for any other.
    pub slots: &'a mut [Tensor],
    pub(crate) var: &'a Var,
    pub(crate) raw_gradient: &'a Tensor,
    pub(crate) intake: Intake,
    pub(crate) path: Path,
    pub(crate) rounding: Rounding,
}

impl Update<'_> {
    /// The parameter, detached, in the type of the slots.
    pub fn theta(&self) -> Result<Tensor> {
        self.var.detach().to_dtype(slot_dtype(self.var.dtype()))
    }

    /// The gradient, detached, scaled and clipped, in the type of the slots.
    pub fn gradient(&self) -> Result<Tensor> {
        let Intake { scale, limit } = self.intake;
        let g = self
            .raw_gradient
            .detach()
            .to_dtype(slot_dtype(self.var.dtype()))?;
        let g = if scale == 1.0 {
            g
        } else {
            g.affine(scale, 0.0)?
        };
        if limit.is_finite() {
            g.clamp(-limit, limit)
        } else {
            Ok(g)
        }
    }

    /// Stores the new parameter, rounded to its type.
    pub fn write(&self, theta: &Tensor) -> Result<()> {
        // On an empty tensor candle's operations return the tensor itself, which `set` refuses.
        if theta.elem_count() == 0 {
            return Ok(());
        }
        self.var.set(&self.rounding.round(theta, self.var.dtype())?)
    }

    /// Applies one formula to every element, in one pass where the device and type have a loop.
    pub fn elementwise<const N: usize, K: Kernel<N>>(self, kernel: &K) -> Result<()>
    where
        Lanes<N>: Sweep<N>,
    {
        if self.path == Path::Fused && sweep::can_sweep(self.var) {
            return sweep::sweep(self.var, self.raw_gradient, self.slots, self.intake, kernel);
        }
        // f16 and bf16: the same pass, on a copy in f32.
        if self.path == Path::Fused && self.var.device().is_cpu() {
            let theta = self.theta()?;
            let gradient = self.raw_gradient.detach().to_dtype(theta.dtype())?;
            sweep::sweep(&theta, &gradient, self.slots, self.intake, kernel)?;
            return self.write(&theta);
        }
        let theta = Composed::new(self.theta());
        let gradient = Composed::new(self.gradient());
        let Ok(slots) = <&mut [Tensor; N]>::try_from(&mut *self.slots) else {
            candle_core::bail!("the kernel needs {N} slots, got {}", self.slots.len());
        };
        let old = slots.each_ref().map(|slot| Composed::new(Ok(slot.clone())));
        let (theta, new) = kernel.apply(theta, gradient, old);
        for (slot, new) in slots.iter_mut().zip(new) {
            *slot = new.finish()?.contiguous()?;
        }
        self.write(&theta.finish()?)
    }
}

/// Slots of f16 and bf16 parameters are f32, and so is the arithmetic: in the type itself
/// `0.999 · v` is `v` (bf16) and ε is 0 (f16). PyTorch keeps them in the type of the parameter.
pub(crate) fn slot_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}
