//! The negative log-likelihood of class indices.

use candle_core::{DType, Result, Shape, Tensor};

use super::Reduction;
use super::class_targets::ClassShape;
use crate::host::{narrow_to, widen};
use crate::many_inputs::CustomOpN;
use crate::tape::{apply_n, differentiable};
use crate::view::contiguous;

/// PyTorch's defaults.
#[derive(Clone, Debug)]
pub struct NllOptions {
    /// Weight of each class, `(classes,)`, a constant. Default all 1.
    pub weight: Option<Tensor>,
    /// The class that marks a target to be left out. Default `-100`.
    pub ignore_index: i64,
}

impl Default for NllOptions {
    fn default() -> Self {
        Self {
            weight: None,
            ignore_index: -100,
        }
    }
}

/// The negative log-likelihood of class indices, as `torch.nn.functional.nll_loss`.
///
/// `log_probabilities (n, classes, d1, …)` or `(classes,)`, `targets (n, d1, …)` or `()` → a scalar,
/// or the shape of the targets unreduced
///
/// ```text
/// ℓᵢ = −w[yᵢ] · log pᵢ[yᵢ]        mean = Σ ℓᵢ / Σ w[yᵢ] over the targets that are not ignored
/// ```
///
/// The mean is NaN where every target is ignored or there is none, as PyTorch's. An error if the
/// shapes do not fit or a target is no class.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_autograd::{Reduction, nll_loss};
/// let log_p = Tensor::new(&[[-2f32, -0.5], [-1., -3.]], &Device::Cpu)?;
/// let targets = Tensor::new(&[0i64, -100], &Device::Cpu)?;
/// let loss = nll_loss(&log_p, &targets, &Default::default(), Reduction::Mean)?;
/// assert_eq!(loss.to_scalar::<f32>()?, 2.);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn nll_loss(
    log_probabilities: &Tensor,
    targets: &Tensor,
    options: &NllOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    let shape = ClassShape::new("nll_loss", ("log_probabilities", log_probabilities))?;
    let classes = shape.indices("nll_loss", targets, options.ignore_index)?;
    let weights = shape.weights("nll_loss", options.weight.as_ref())?;
    let x = contiguous(&widen(log_probabilities.clone())?)?;
    let op = Nll::new(&x, &shape, &classes, &weights, reduction)?;
    let y = apply_n(&[&x], op.value(&x.detach())?, op.clone())?;
    let y = narrow_to(y, log_probabilities.dtype())?;
    Ok(differentiable(y, move |_, _, dy| {
        Ok(vec![Some(op.gradient(dy)?)])
    }))
}

#[derive(Clone)]
struct Nll {
    shape: Shape,
    dim: usize,
    /// The class of each target, with one class in the dimension of the classes.
    index: Tensor,
    /// −w[y], 0 where the target is ignored.
    factor: Tensor,
    kept: Tensor,
    divisor: Option<f64>,
}

impl Nll {
    fn new(
        x: &Tensor,
        shape: &ClassShape,
        classes: &[Option<u32>],
        weights: &[f64],
        reduction: Reduction,
    ) -> Result<Self> {
        let dim = usize::from(x.rank() > 1);
        let mut dims = x.dims().to_vec();
        dims[dim] = 1;
        let index: Vec<u32> = classes.iter().map(|c| c.unwrap_or(0)).collect();
        let kept: Vec<u8> = classes.iter().map(|c| u8::from(c.is_some())).collect();
        let weight = |c: &Option<u32>| c.map_or(0., |c| weights[c as usize]);
        let factor: Vec<f64> = classes.iter().map(|c| -weight(c)).collect();
        let total = -factor.iter().sum::<f64>();
        let device = x.device();
        let factor = Tensor::from_vec(factor, dims.as_slice(), device)?;
        Ok(Self {
            shape: x.shape().clone(),
            dim,
            index: Tensor::from_vec(index, dims.as_slice(), device)?,
            factor: factor.to_dtype(x.dtype())?,
            kept: Tensor::from_vec(kept, dims.as_slice(), device)?,
            divisor: reduction.divisor(total, shape.batch),
        })
    }

    fn value(&self, x: &Tensor) -> Result<Tensor> {
        let picked = (x.gather(&self.index, self.dim)? * &self.factor)?;
        // An ignored target may lie on −∞.
        let losses = self.kept.where_cond(&picked, &picked.zeros_like()?)?;
        match self.divisor {
            Some(divisor) => {
                let total = losses.to_dtype(DType::F64)?.sum_all()?;
                (total / divisor)?.to_dtype(x.dtype())
            }
            None => losses.squeeze(self.dim),
        }
    }

    fn gradient(&self, dy: &Tensor) -> Result<Tensor> {
        let slope = match self.divisor {
            // Without a target the mean has no gradient that could be NaN.
            Some(0.) => self.factor.broadcast_mul(dy)?,
            Some(divisor) => self.factor.broadcast_mul(&(dy / divisor)?)?,
            None => (&self.factor * dy.unsqueeze(self.dim)?)?,
        };
        let zeros = Tensor::zeros(&self.shape, dy.dtype(), dy.device())?;
        zeros.scatter_add(&self.index, &slope, self.dim)
    }
}

impl CustomOpN for Nll {
    fn name(&self) -> &'static str {
        "nll_loss"
    }

    fn bwd(&self, _: &[Tensor], _: &Tensor, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(self.gradient(&dy.detach())?)])
    }
}
