//! The leaky rectifier whose slope is learned.

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};

use crate::summary;

/// `x` above 0, `w·x` below, with `weight (channels,)` or one for all, as `torch.nn.PReLU`. The slope
/// starts at 0.25.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::Module;
/// use dl_core::{Params, layers::prelu};
/// let layer = prelu(1, Params::new(0, &Device::Cpu).vb())?;
/// let y = layer.forward(&Tensor::new(&[[4f32, -4.]], &Device::Cpu)?)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[4., -1.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PRelu {
    name: String,
    weight: Tensor,
}

/// One slope for each of `channels`, or for all with 1.
pub fn prelu(channels: usize, vb: VarBuilder) -> Result<PRelu> {
    Ok(PRelu {
        name: vb.prefix(),
        weight: vb.get_with_hints(channels, "weight", Init::Const(0.25))?,
    })
}

impl Module for PRelu {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = dl_autograd::prelu(x, &self.weight)?;
        summary::record(Some(&self.name), "PRelu", &y, || 0);
        Ok(y)
    }
}
