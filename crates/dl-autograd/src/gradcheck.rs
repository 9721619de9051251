//! Comparing gradients with central differences.

use candle_core::{DType, Result, Tensor, Var, bail};

use crate::grad::grad_with_graph;
use crate::mul::mul;
use crate::sum::sum;
use crate::tape::Tape;

/// Half the distance of a central difference: its error is about `h²` from the curvature and
/// `1e-16/h` from rounding, both near 1e-10 here.
const STEP: f64 = 1e-5;

/// Checks every element of the gradient of `f` against central differences, in f64.
///
/// ```text
/// ∂L/∂xᵢ ≈ (L(x + h·eᵢ) − L(x − h·eᵢ)) / 2h          L = Σ r ⊙ f(x), r fixed and irregular
/// ```
///
/// `r` makes every output count differently, so that gradients that are mixed up between outputs
/// do not cancel. A difference above `tolerance · max(1, |∂L/∂xᵢ|)` is an error that names the
/// input, the element and both values; so is an input that gets no gradient. The inputs keep their
/// values either way.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// let x = Var::from_tensor(&Tensor::new(&[0.3f64, -1.2, 2.0], &Device::Cpu)?)?;
/// dl_autograd::gradcheck(&[x], |x| x[0].sqr(), 1e-8)?;
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gradcheck(
    inputs: &[Var],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    tolerance: f64,
) -> Result<()> {
    if let Some(i) = inputs.iter().position(|x| x.dtype() != DType::F64) {
        bail!("gradcheck needs f64, input {i} is {:?}", inputs[i].dtype())
    }
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let loss = || project(&f(&tensors)?);
    let grads = loss()?.backward()?;
    for (i, input) in inputs.iter().enumerate() {
        let Some(grad) = grads.get(input) else {
            bail!("input {i} of shape {:?} gets no gradient", input.shape())
        };
        if grad.shape() != input.shape() {
            bail!(
                "the gradient of input {i} has shape {:?}, not {:?}",
                grad.shape(),
                input.shape()
            )
        }
        let (grad, start) = (grad.flatten_all()?.to_vec1::<f64>()?, input.copy()?);
        let checked = check_input(i, input, &grad, &loss, tolerance);
        input.set(&start)?;
        checked?;
    }
    Ok(())
}

/// Checks the gradient of the gradient of `f` in the same way: [`gradcheck`] of
///
/// ```text
/// x ↦ Σᵢ rᵢ · ∂(Σ r ⊙ f(x))/∂xᵢ
/// ```
///
/// The conditions on `f` are those of [`grad_with_graph`].
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// let x = Var::from_tensor(&Tensor::new(&[0.3f64, -1.2, 2.0], &Device::Cpu)?)?;
/// dl_autograd::gradgradcheck(&[x], |x| dl_autograd::mul(&x[0], &x[0]), 1e-8)?;
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gradgradcheck(
    inputs: &[Var],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    tolerance: f64,
) -> Result<()> {
    gradcheck(inputs, |x| gradient_along(x, &f), tolerance)
}

fn gradient_along(inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<Tensor> {
    let _tape = Tape::new();
    let y = f(inputs)?;
    let weighted = sum(&mul(&y, &weights(&y)?)?)?;
    let grads = grad_with_graph(&weighted, &inputs.iter().collect::<Vec<_>>())?;
    let mut total = Tensor::zeros((), DType::F64, y.device())?;
    for (x, g) in inputs.iter().zip(grads) {
        // A gradient that does not depend on an input is right to have no path to it.
        total = (total + (x + x.neg()?)?.sum_all()?)?;
        if let Some(g) = g {
            total = (total + project(&g)?)?;
        }
    }
    Ok(total)
}

fn check_input(
    index: usize,
    input: &Var,
    grad: &[f64],
    loss: &impl Fn() -> Result<Tensor>,
    tolerance: f64,
) -> Result<()> {
    let start = input.flatten_all()?.to_vec1::<f64>()?;
    let at = |element: usize, shift: f64| -> Result<f64> {
        let mut moved = start.clone();
        moved[element] += shift;
        input.set(&Tensor::from_vec(moved, input.shape(), input.device())?)?;
        loss()?.to_scalar::<f64>()
    };
    for (element, &grad) in grad.iter().enumerate() {
        let expected = (at(element, STEP)? - at(element, -STEP)?) / (2. * STEP);
        let close = (grad - expected).abs() <= tolerance * expected.abs().max(1.);
        if !close {
            bail!(
                "input {index}, element {element}: gradient {grad}, central difference {expected}"
            )
        }
    }
    Ok(())
}

fn project(y: &Tensor) -> Result<Tensor> {
    (y * weights(y)?)?.sum_all()
}

fn weights(y: &Tensor) -> Result<Tensor> {
    let weights: Vec<f64> = (0..y.elem_count())
        .map(|i| ((i * 7 + 3) % 11) as f64 / 11. - 0.4)
        .collect();
    Tensor::from_vec(weights, y.shape(), y.device())
}
