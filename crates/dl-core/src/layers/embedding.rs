//! A table of vectors by number.

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};

use crate::summary;

/// The rows of `weight (vocabulary, dim)` with the given ids: `(…)` of integers → `(…, dim)`.
///
/// Initialised from the standard normal distribution as PyTorch does.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::embedding};
/// let params = Params::new(0, &Device::Cpu);
/// let layer = embedding(10, 4, params.vb())?;
/// let y = layer.forward(&Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?)?;
/// assert_eq!(y.dims(), [1, 3, 4]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Embedding {
    name: String,
    weight: Tensor,
    padding_index: Option<usize>,
}

/// A table of `vocabulary` rows of `dim`.
pub fn embedding(vocabulary: usize, dim: usize, vb: VarBuilder) -> Result<Embedding> {
    let normal = Init::Randn {
        mean: 0.,
        stdev: 1.,
    };
    Ok(Embedding {
        name: vb.prefix(),
        weight: vb.get_with_hints((vocabulary, dim), "weight", normal)?,
        padding_index: None,
    })
}

impl Embedding {
    /// The row of this number gets no gradient, as PyTorch's `padding_idx`. Unlike there it keeps its
    /// values, since they may come from a checkpoint.
    pub fn with_padding(self, padding_index: usize) -> Self {
        Self {
            padding_index: Some(padding_index),
            ..self
        }
    }
}

impl Module for Embedding {
    fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::embedding(&self.weight, ids, self.padding_index)?;
        summary::record(Some(&self.name), "Embedding", &y, || 0);
        Ok(y)
    }
}
