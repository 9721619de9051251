//! A weight divided by its largest singular value.

use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// PyTorch's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpectralNormConfig {
    /// The dimension that indexes the rows of the weight as a matrix. Default `0`; PyTorch takes `1`
    /// for transposed convolutions.
    pub dim: usize,
    /// Power iterations before every weight in training, `≥ 1`. Default `1`.
    pub n_power_iterations: usize,
    /// The least length that is divided by, `> 0`. Default `1e-12`.
    pub eps: f64,
}

impl Default for SpectralNormConfig {
    fn default() -> Self {
        Self {
            dim: 0,
            n_power_iterations: 1,
            eps: 1e-12,
        }
    }
}

/// The weight of a layer divided by its largest singular value, which power iterations follow.
///
/// Its names are PyTorch's: the parameter `parametrizations.weight.original` and the buffers
/// `parametrizations.weight.0._u` and `parametrizations.weight.0._v`. New buffers are drawn at random
/// and iterated 15 times.
///
/// ```
/// use candle_nn::Init;
/// use candle_core::Device;
/// use dl_core::{Params, layers::spectral_norm};
/// let params = Params::new(0, &Device::Cpu);
/// let norm = spectral_norm((1, 4), Default::default(), Init::Const(3.), params.vb())?;
/// // One row of four threes is 6 long.
/// let weight = norm.weight(true)?.to_vec2::<f32>()?;
/// assert!((weight[0][0] - 0.5).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SpectralNorm {
    original: Tensor,
    u: Tensor,
    v: Tensor,
    config: SpectralNormConfig,
}

/// Iterations of new vectors.
const FIRST: usize = 15;

/// A weight of `shape`, of rank 2 or more; a new one is drawn from `init`.
pub fn spectral_norm(
    shape: impl Into<Shape>,
    config: SpectralNormConfig,
    init: Init,
    vb: VarBuilder,
) -> Result<SpectralNorm> {
    let shape = shape.into();
    if config.dim >= shape.rank() || config.n_power_iterations == 0 {
        bail!("spectral_norm of a weight {shape:?} got {config:?}")
    }
    let vb = vb.pp("parametrizations").pp("weight");
    let original = vb.get_with_hints(shape.clone(), "original", init)?;
    let rows = shape.dims()[config.dim];
    let columns = shape.elem_count() / rows.max(1);
    let vb = vb.pp("0");
    let is_new = !vb.contains_tensor("_u");
    let normal = Init::Randn {
        mean: 0.,
        stdev: 1.,
    };
    let norm = SpectralNorm {
        original,
        u: vb.get_with_hints(rows, "_u", normal)?,
        v: vb.get_with_hints(columns, "_v", normal)?,
        config,
    };
    if is_new {
        norm.iterate(FIRST)?;
    }
    Ok(norm)
}

impl SpectralNorm {
    /// The weight, to be asked for in every forward; in training after the power iterations.
    pub fn weight(&self, train: bool) -> Result<Tensor> {
        if train && !dl_autograd::is_recomputing() {
            self.iterate(self.config.n_power_iterations)?;
        }
        dl_autograd::spectral_norm(&self.original, &self.u, &self.v, self.config.dim)
    }

    fn iterate(&self, times: usize) -> Result<()> {
        let SpectralNormConfig { dim, eps, .. } = self.config;
        let (u, v) =
            dl_autograd::power_iteration(&self.original, &self.u, &self.v, dim, times, eps)?;
        self.u.detach().slice_set(&u, 0, 0)?;
        self.v.detach().slice_set(&v, 0, 0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Params;
    use candle_core::Device;

    #[test]
    fn only_training_moves_the_vectors_and_they_are_buffers() {
        let params = Params::new(0, &Device::Cpu);
        let init = Init::Randn {
            mean: 0.,
            stdev: 1.,
        };
        let build = || spectral_norm((4, 3, 2), Default::default(), init, params.vb()).unwrap();
        let norm = build();
        let u = || {
            let u = params.get("parametrizations.weight.0._u").unwrap();
            u.to_vec1::<f32>().unwrap()
        };
        let start = u();
        norm.weight(false).unwrap();
        build();
        assert_eq!(u(), start);
        norm.weight(true).unwrap();
        assert_ne!(u(), start);
        let trainable: Vec<_> = params
            .trainable()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(trainable, ["parametrizations.weight.original"]);
    }

    /// In a discriminator the same weight serves two forwards before one backward.
    #[test]
    fn a_second_forward_leaves_the_gradient_of_the_first_alone() {
        let gradient = |again: bool| {
            let params = Params::new(0, &Device::Cpu);
            let init = Init::Randn {
                mean: 0.,
                stdev: 1.,
            };
            let norm = spectral_norm((4, 3), Default::default(), init, params.vb()).unwrap();
            let loss = norm.weight(true).unwrap().sum_all().unwrap();
            if again {
                norm.weight(true).unwrap();
            }
            let weight = params.get("parametrizations.weight.original").unwrap();
            let grads = loss.backward().unwrap();
            grads.get(&weight).unwrap().to_vec2::<f32>().unwrap()
        };
        assert_eq!(gradient(false), gradient(true));
    }
}
