//! Gradient centralisation.

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};

use crate::clip::{replace, sorted};

/// Subtracts from each gradient of `params` its mean over all dimensions but the first, so that the
/// weights of each output unit keep their sum.
///
/// ```text
/// gᵤ ← gᵤ − mean(gᵤ)
/// ```
///
/// Vectors and scalars are left alone. An optimizer with
/// [`Optimizer::centralize_gradients`](crate::Optimizer::centralize_gradients) does the same in its
/// step.
///
/// Source: H. Yong, J. Huang, X. Hua, L. Zhang, 2020, Gradient Centralization.
///
/// ```
/// use candle_core::{Device, Var};
/// use dl_optim::centralize_gradients;
/// let w = Var::new(&[[1.0_f64, 3.0], [0.0, 5.0]], &Device::Cpu)?;
/// let mut grads = (w.sqr()?.sum_all()? * 0.5)?.backward()?;
/// centralize_gradients(&mut grads, [("w", &w)])?;
/// let centred = grads.get(&w).expect("it has one").to_vec2::<f64>()?;
/// assert_eq!(centred, [[-1.0, 1.0], [-2.5, 2.5]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn centralize_gradients<'a, N: AsRef<str>>(
    grads: &mut GradStore,
    params: impl IntoIterator<Item = (N, &'a Var)>,
) -> Result<()> {
    replace(grads, sorted(params).into_values(), |_, g| centralized(g))
}

pub(crate) fn centralized(gradient: &Tensor) -> Result<Tensor> {
    if gradient.rank() <= 1 || gradient.elem_count() == 0 {
        return Ok(gradient.clone());
    }
    let dims: Vec<usize> = (1..gradient.rank()).collect();
    let gradient = gradient.detach();
    gradient.broadcast_sub(&gradient.mean_keepdim(dims)?)
}
