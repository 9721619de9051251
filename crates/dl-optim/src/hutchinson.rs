//! The diagonal of a Hessian, from its product with random signs.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};

use crate::Result;
use crate::low_precision::{stream, uniform};

/// An estimate of the diagonal of the Hessian that is right on average (Hutchinson, 1990).
///
/// ```text
/// ĥ = u ⊙ (H u),   u: −1 or 1 with equal chance
/// ```
///
/// `product` gets u, one tensor for each parameter in the order given, and returns H u: the gradient
/// of ⟨∇L, u⟩, by whatever differentiates twice. The signs are a function of seed, name, step and
/// element. Those of PyTorch's ports are Gaussian, which has the same mean and a larger variance.
///
/// Source: M. Hutchinson, 1990, A stochastic estimator of the trace of the influence matrix for
/// Laplacian smoothing splines.
///
/// ```
/// use candle_core::{Device, Var};
/// let x = Var::new(&[1.0_f64, 2.0], &Device::Cpu)?;
/// // 3 x₀² + x₁²: a diagonal Hessian is found exactly.
/// let hessian = candle_core::Tensor::new(&[6.0_f64, 2.0], &Device::Cpu)?;
/// let product = |u: &[candle_core::Tensor]| Ok(vec![(&hessian * &u[0])?]);
/// let estimate = dl_optim::hutchinson([("x", &x)], 7, 1, product)?;
/// let found = estimate.get(&x).expect("it was asked for").to_vec1::<f64>()?;
/// assert_eq!(found, [6.0, 2.0]);
/// # Ok::<(), dl_optim::Error>(())
/// ```
pub fn hutchinson<'a>(
    params: impl IntoIterator<Item = (&'a str, &'a Var)>,
    seed: u64,
    step: usize,
    product: impl FnOnce(&[Tensor]) -> candle_core::Result<Vec<Tensor>>,
) -> Result<GradStore> {
    let params: Vec<_> = params.into_iter().collect();
    let signs = params
        .iter()
        .map(|(name, var)| signs(name, var, seed, step));
    let signs = signs.collect::<candle_core::Result<Vec<_>>>()?;
    let products = product(&signs)?;
    if products.len() != params.len() {
        let (wanted, got) = (params.len(), products.len());
        let text = format!("hutchinson: {wanted} products are wanted, got {got}");
        return Err(candle_core::Error::Msg(text).into());
    }
    let mut estimate = GradStore::default();
    for ((_, var), (u, product)) in params.iter().zip(signs.iter().zip(products)) {
        estimate.insert(var, (u * product.detach())?);
    }
    Ok(estimate)
}

fn signs(name: &str, var: &Var, seed: u64, step: usize) -> candle_core::Result<Tensor> {
    let key = stream(seed, name, step);
    let sign = |i| if uniform(key, i) < 0.5 { -1.0_f32 } else { 1.0 };
    let signs: Vec<f32> = (0..var.elem_count()).map(sign).collect();
    let signs = Tensor::from_vec(signs, var.shape(), &Device::Cpu)?;
    signs.to_dtype(var.dtype())?.to_device(var.device())
}
