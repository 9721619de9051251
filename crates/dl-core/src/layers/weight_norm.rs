//! A weight as a length times a direction.

use candle_core::{Result, Shape, Tensor, bail};
use candle_nn::{Init, VarBuilder};

/// The weight of a layer as a length times a direction: `g·v/‖v‖`.
///
/// Its parameters are PyTorch's: `parametrizations.weight.original0`, the lengths g, and
/// `parametrizations.weight.original1`, the directions v. New lengths are those of the new
/// directions, so that the weight starts as it would without.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Init;
/// use dl_core::{Params, layers::weight_norm};
/// let params = Params::new(0, &Device::Cpu);
/// let norm = weight_norm((1, 4), Some(0), Init::Const(2.), params.vb())?;
/// let x = Tensor::new(&[[1f32, 1., 1., 1.]], &Device::Cpu)?;
/// let y = dl_autograd::linear(&x, &norm.weight()?, None)?;
/// assert!((y.to_vec2::<f32>()?[0][0] - 8.).abs() < 1e-6);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct WeightNorm {
    g: Tensor,
    v: Tensor,
    dim: Option<usize>,
}

/// A weight of `shape` with a length for each index of `dim`, PyTorch's default being the first, or
/// one for the whole; new directions are drawn from `init`.
pub fn weight_norm(
    shape: impl Into<Shape>,
    dim: Option<usize>,
    init: Init,
    vb: VarBuilder,
) -> Result<WeightNorm> {
    let shape = shape.into();
    let vb = vb.pp("parametrizations").pp("weight");
    let v = vb.get_with_hints(shape.clone(), "original1", init)?;
    let norms = lengths(&v.detach(), dim)?;
    let is_new = !vb.contains_tensor("original0");
    let g = vb.get_with_hints(norms.shape().clone(), "original0", Init::Const(1.))?;
    if is_new {
        // A view of one dimension, because a scalar has none to be set along.
        let all = g.detach().flatten_all()?;
        all.slice_set(&norms.flatten_all()?, 0, 0)?;
    }
    Ok(WeightNorm { g, v, dim })
}

fn lengths(v: &Tensor, dim: Option<usize>) -> Result<Tensor> {
    match dim {
        None => v.sqr()?.sum_all()?.sqrt(),
        Some(dim) if dim < v.rank() => {
            let others: Vec<usize> = (0..v.rank()).filter(|&d| d != dim).collect();
            v.sqr()?.sum_keepdim(others)?.sqrt()
        }
        Some(dim) => bail!(
            "weight_norm over dimension {dim} of a weight {:?}",
            v.shape()
        ),
    }
}

impl WeightNorm {
    /// The weight, to be asked for in every forward.
    pub fn weight(&self) -> Result<Tensor> {
        dl_autograd::weight_norm(&self.v, &self.g, self.dim)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Params;
    use candle_core::Device;

    #[test]
    fn a_new_weight_is_its_direction_and_a_changed_length_scales_it() {
        let init = Init::Randn {
            mean: 0.,
            stdev: 1.,
        };
        for dim in [None, Some(0), Some(1)] {
            let params = Params::new(0, &Device::Cpu);
            let build = || weight_norm((3, 4), dim, init, params.vb()).unwrap();
            let difference = |factor: f64| {
                let v = params.get("parametrizations.weight.original1").unwrap();
                let wanted = (v.as_tensor() * factor).unwrap();
                let d = (build().weight().unwrap() - wanted).unwrap().abs().unwrap();
                d.max_all().unwrap().to_scalar::<f32>().unwrap()
            };
            build();
            assert!(difference(1.) < 1e-6);
            let name = "parametrizations.weight.original0";
            let g = params.get(name).unwrap();
            params.set(name, &(g.as_tensor() * 3.).unwrap()).unwrap();
            // Built again, it keeps the length that is there.
            assert!(difference(3.) < 1e-5);
        }
    }
}
