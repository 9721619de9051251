//! Cross-entropy of logits and of probabilities.

use candle_core::{D, Result, Tensor, bail};

use super::{CrossEntropyOptions, Reduction};

/// Cross-entropy between logits and class indices or distributions:
/// [`dl_autograd::cross_entropy`], with a look at what comes in.
///
/// `logits (n, classes, d1, …)`, `targets (n, d1, …)` of integers, or of floats in the shape of the
/// logits → a scalar, or `(n, d1, …)` unreduced
///
/// The input is logits: softmax is part of the loss. Probabilities would be squashed by a second
/// softmax and the loss of ten classes could never fall below 1.46115, so where every row is
/// probabilities (none negative, sum 1) this is an error; [`cross_entropy_of_probabilities`] takes
/// those.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, cross_entropy};
/// let logits = Tensor::new(&[[2f32, -1.], [0., 1.]], &Device::Cpu)?;
/// let targets = Tensor::new(&[0u32, 0], &Device::Cpu)?;
/// let loss = cross_entropy(&logits, &targets, &Default::default(), Reduction::Mean)?;
/// assert!((loss.to_scalar::<f32>()? - 0.680_925).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    if is_probabilities(logits)? {
        bail!(
            "cross_entropy takes logits and got rows that are probabilities: remove the softmax in \
             front of the loss, with it the loss of {} classes cannot fall below {:.5}",
            logits.dim(D::Minus1)?,
            floor(logits.dim(D::Minus1)?)
        )
    }
    dl_autograd::cross_entropy(logits, targets, options, reduction)
}

/// Cross-entropy between probabilities and class indices, for a model that ends in a softmax.
///
/// Shapes as of [`cross_entropy`]. Less accurate than
/// [`cross_entropy`] of logits: a probability below 1e-38 is taken as that.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::losses::{Reduction, cross_entropy_of_probabilities};
/// let p = Tensor::new(&[[0.25f32, 0.75]], &Device::Cpu)?;
/// let target = Tensor::new(&[0u32], &Device::Cpu)?;
/// let loss = cross_entropy_of_probabilities(&p, &target, &Default::default(), Reduction::Mean)?;
/// assert!((loss.to_scalar::<f32>()? - 4f32.ln()).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn cross_entropy_of_probabilities(
    probabilities: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    reduction: Reduction,
) -> Result<Tensor> {
    // The logarithm of probabilities is logits whose softmax is those probabilities.
    let logits = probabilities.maximum(f64::from(f32::MIN_POSITIVE))?.log()?;
    dl_autograd::cross_entropy(&logits, targets, options, reduction)
}

/// The smallest loss that is left when a softmax stands in front: `log(e + classes − 1) − 1`.
fn floor(classes: usize) -> f64 {
    (std::f64::consts::E + classes as f64 - 1.).ln() - 1.
}

fn is_probabilities(logits: &Tensor) -> Result<bool> {
    if logits.rank() != 2 || logits.elem_count() == 0 || !logits.dtype().is_float() {
        return Ok(false);
    }
    // Rows of logits almost surely fail at the first value or the first sum.
    for row in 0..logits.dim(0)? {
        let values = logits
            .get(row)?
            .detach()
            .to_dtype(candle_core::DType::F64)?;
        let values = values.to_vec1::<f64>()?;
        let sum: f64 = values.iter().sum();
        // Sums of f32 or bf16 probabilities are off by their rounding.
        let probable = values.iter().all(|v| *v >= 0.) && (sum - 1.).abs() < 1e-3;
        if !probable {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn a_softmax_in_front_is_refused_with_the_floor_it_would_have() {
        let logits = Tensor::new(&[[3f32, 1., 0., 0., 0., 0., 0., 0., 0., 0.]], &Device::Cpu);
        let p = candle_nn::ops::softmax(&logits.unwrap(), 1).unwrap();
        let target = Tensor::new(&[0u32], &Device::Cpu).unwrap();
        let error = cross_entropy(&p, &target, &Default::default(), Reduction::Mean);
        assert!(error.unwrap_err().to_string().contains("1.46115"));
    }

    #[test]
    fn a_nan_reaches_the_loss_instead_of_being_taken_for_a_probability() {
        let logits = Tensor::new(&[[f32::NAN, 0.5]], &Device::Cpu).unwrap();
        let target = Tensor::new(&[0u32], &Device::Cpu).unwrap();
        let loss = cross_entropy(&logits, &target, &Default::default(), Reduction::Mean);
        assert!(loss.unwrap().to_scalar::<f32>().unwrap().is_nan());
    }

    #[test]
    fn one_class_of_zero_logits_is_not_taken_for_probabilities() {
        let logits = Tensor::new(&[[0f32, 0.], [0.5, 0.5]], &Device::Cpu).unwrap();
        let target = Tensor::new(&[0u32, 1], &Device::Cpu).unwrap();
        assert!(cross_entropy(&logits, &target, &Default::default(), Reduction::Mean).is_ok());
    }
}
