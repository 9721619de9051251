//! A layer with its input added.

use candle_core::{Result, Tensor};
use candle_nn::ModuleT;

use super::drop_path::DropPath;

/// `y = x + f(x)`, for a layer `f` that keeps the shape. The weights keep the names of `f`.
///
/// Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", 2015.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use candle_nn::{ModuleT, func};
/// use dl_core::layers::Residual;
/// let layer = Residual::new(func(dl_autograd::relu));
/// let x = Tensor::new(&[-1f32, 2.], &Device::Cpu)?;
/// assert_eq!(layer.forward_t(&x, true)?.to_vec1::<f32>()?, [-1., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Residual<F> {
    layer: F,
    drop_path: Option<DropPath>,
}

impl<F: ModuleT> Residual<F> {
    /// Adds the input of `layer` to its result; another shape is an error of forward.
    pub fn new(layer: F) -> Self {
        Self {
            layer,
            drop_path: None,
        }
    }

    /// Leaves the layer out for a share `p` of the samples in training: stochastic depth.
    pub fn drop_path(self, p: f64) -> Self {
        let drop_path = Some(DropPath::new(p));
        Self { drop_path, ..self }
    }
}

impl<F: ModuleT> ModuleT for Residual<F> {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut y = self.layer.forward_t(x, train)?;
        if let Some(drop_path) = &self.drop_path {
            y = drop_path.forward_t(&y, train)?;
        }
        dl_autograd::add(&y, x)
    }
}
