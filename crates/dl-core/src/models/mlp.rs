//! Multi-layer perceptron.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ModuleT, VarBuilder};
use serde::{Deserialize, Serialize};

use crate::layers::{Dropout, Linear, linear};

/// The widths of a perceptron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MlpConfig {
    /// Values per sample. Default `784`.
    pub inputs: usize,
    /// Widths of the hidden layers. Default `[64, 64]`.
    pub hidden: Vec<usize>,
    /// Number of classes. Default `10`.
    pub classes: usize,
    /// Dropout behind every hidden layer, in `[0, 1]`. Default `0`.
    pub dropout: f64,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            inputs: 784,
            hidden: vec![64, 64],
            classes: 10,
            dropout: 0.,
        }
    }
}

/// Dense layers with ReLU between them: `(n, …)` → logits `(n, classes)`.
///
/// Weights `layers.{i}.weight`, `layers.{i}.bias`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use candle_nn::ModuleT;
/// use dl_core::{Params, models::Mlp};
/// let params = Params::new(0, &Device::Cpu);
/// let model = Mlp::new(&Default::default(), params.vb())?;
/// assert_eq!(params.parameter_count(), 55_050);
/// let x = Tensor::zeros((2, 1, 28, 28), DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward_t(&x, false)?.dims(), [2, 10]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    dropout: Dropout,
}

impl Mlp {
    /// Builds the layers on `vb`.
    pub fn new(config: &MlpConfig, vb: VarBuilder) -> Result<Self> {
        let widths: Vec<usize> = [config.inputs]
            .into_iter()
            .chain(config.hidden.iter().copied())
            .chain([config.classes])
            .collect();
        let vb = vb.pp("layers");
        let layer = |(i, w): (usize, &[usize])| linear(w[0], w[1], vb.pp(i));
        Ok(Self {
            layers: widths
                .windows(2)
                .enumerate()
                .map(layer)
                .collect::<Result<_>>()?,
            dropout: Dropout::new(config.dropout),
        })
    }
}

impl ModuleT for Mlp {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = x.flatten_from(1)?;
        let last = self.layers.len() - 1;
        for layer in &self.layers[..last] {
            x = dl_autograd::relu(&layer.forward(&x)?)?;
            x = self.dropout.forward_t(&x, train)?;
        }
        self.layers[last].forward(&x)
    }
}
