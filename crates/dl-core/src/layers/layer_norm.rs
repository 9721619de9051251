//! Layer normalisation.

use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::{Init, Module, VarBuilder};

use crate::summary;

/// PyTorch's defaults. An `eps` alone converts into it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormConfig {
    /// Added to the variance, `≥ 0`. Default `1e-5`; BERT's is `1e-12`.
    pub eps: f64,
    /// Whether there is a weight. Default `true`.
    pub elementwise_affine: bool,
    /// Whether there is a bias too, where there is a weight. Default `true`.
    pub bias: bool,
}

impl Default for LayerNormConfig {
    fn default() -> Self {
        Self {
            eps: 1e-5,
            elementwise_affine: true,
            bias: true,
        }
    }
}

impl From<f64> for LayerNormConfig {
    fn from(eps: f64) -> Self {
        Self {
            eps,
            ..Self::default()
        }
    }
}

/// Normalises each row of `(…, d…)` to mean 0 and variance 1, then scales and shifts it.
///
/// Weights `weight (d…)`, ones at first, and `bias (d…)`, zeros at first. candle's own layer of this
/// name lets no gradient through.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::layer_norm};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = layer_norm(2, 1e-5, params.vb())?;
/// let y = layer.forward(&Tensor::new(&[[1f32, 5.]], &Device::Cpu)?)?.to_vec2::<f32>()?;
/// assert!((y[0][0] + 1.).abs() < 1e-5 && (y[0][1] - 1.).abs() < 1e-5);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm {
    name: String,
    shape: Shape,
    weight: Option<Tensor>,
    bias: Option<Tensor>,
    eps: f64,
}

/// Layer normalisation over the last dimensions, which are `shape`: a number, a tuple or a slice.
pub fn layer_norm(
    shape: impl Into<Shape>,
    config: impl Into<LayerNormConfig>,
    vb: VarBuilder,
) -> Result<LayerNorm> {
    let (shape, config) = (shape.into(), config.into());
    let get = |there: bool, name, value| {
        let tensor = there.then(|| vb.get_with_hints(shape.clone(), name, Init::Const(value)));
        tensor.transpose()
    };
    let affine = config.elementwise_affine;
    Ok(LayerNorm {
        name: vb.prefix(),
        weight: get(affine, "weight", 1.)?,
        bias: get(affine && config.bias, "bias", 0.)?,
        eps: config.eps,
        shape,
    })
}

impl LayerNorm {
    /// The normalised sum of `x` and `residual`, which is never stored: the end of a post-norm block.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        let residual = one_row(residual, &self.shape, self.weight.is_some())?;
        let y = over(x, &self.shape, self.weight.is_some(), |x| {
            let (weight, bias) = (self.weight.as_ref(), self.bias.as_ref());
            dl_autograd::add_layer_norm(x, &residual, weight, bias, self.eps)
        })?;
        self.record(&y);
        Ok(y)
    }

    fn record(&self, y: &Tensor) {
        let name = self.weight.as_ref().map(|_| self.name.as_str());
        summary::record(name, "LayerNorm", y, || 0);
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = over(x, &self.shape, self.weight.is_some(), |x| {
            dl_autograd::layer_norm(x, self.weight.as_ref(), self.bias.as_ref(), self.eps)
        })?;
        self.record(&y);
        Ok(y)
    }
}

/// Applies a norm over the last dimensions of `x`, which must be `shape`. A weight tells the norm how
/// many they are; without one they are made one.
pub(super) fn over(
    x: &Tensor,
    shape: &Shape,
    weighted: bool,
    norm: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let y = norm(&one_row(x, shape, weighted)?)?;
    match y.rank() == x.rank() {
        true => Ok(y),
        false => dl_autograd::reshape(&y, x.shape()),
    }
}

pub(super) fn one_row(x: &Tensor, shape: &Shape, weighted: bool) -> Result<Tensor> {
    if shape.rank() == 0 || !x.dims().ends_with(shape.dims()) {
        bail!(
            "a norm over {shape:?} takes x that ends in it, got {:?}",
            x.shape()
        )
    }
    match weighted || shape.rank() == 1 {
        true => Ok(x.clone()),
        false => dl_autograd::flatten_from(x, x.rank() - shape.rank()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Params;
    use candle_core::Device;

    fn run(config: LayerNormConfig, shape: &[usize]) -> (Vec<String>, Vec<f32>) {
        let params = Params::new(0, &Device::Cpu);
        let layer = layer_norm(shape, config, params.vb()).unwrap();
        let x = Tensor::new(&[[[1f32, 2.], [3., 7.]]], &Device::Cpu).unwrap();
        let y = layer.forward(&x).unwrap();
        assert_eq!(y.dims(), x.dims());
        (params.names(), y.flatten_all().unwrap().to_vec1().unwrap())
    }

    #[test]
    fn a_layer_without_weights_normalises_the_same_rows() {
        let plain = LayerNormConfig {
            elementwise_affine: false,
            ..Default::default()
        };
        let no_bias = LayerNormConfig {
            bias: false,
            ..Default::default()
        };
        for shape in [&[2][..], &[2, 2], &[1, 2, 2]] {
            let (names, wanted) = run(LayerNormConfig::default(), shape);
            assert_eq!(names, ["bias", "weight"]);
            assert_eq!(run(plain, shape), (vec![], wanted.clone()));
            assert_eq!(run(no_bias, shape), (vec!["weight".to_string()], wanted));
        }
    }

    #[test]
    fn a_residual_is_added_before_the_norm() {
        let params = Params::new(0, &Device::Cpu);
        let layer = layer_norm(2, 1e-5, params.vb()).unwrap();
        let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu).unwrap();
        let r = Tensor::new(&[[4f32, -2.]], &Device::Cpu).unwrap();
        let apart = layer.forward(&(&x + &r).unwrap()).unwrap();
        let fused = layer.forward_add(&x, &r).unwrap();
        assert_eq!(
            apart.to_vec2::<f32>().unwrap(),
            fused.to_vec2::<f32>().unwrap()
        );
    }

    #[test]
    fn another_last_dimension_is_named() {
        let params = Params::new(0, &Device::Cpu);
        let layer = layer_norm(3, 1e-5, params.vb()).unwrap();
        let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu).unwrap();
        let error = layer.forward(&x).unwrap_err().to_string();
        assert!(error.contains("[3]") && error.contains("[1, 2]"), "{error}");
    }
}
