//! Layers on the differentiable ops of `dl-autograd`, with PyTorch's parameter names and initialisation.

mod batch_norm;
mod conv1d;
mod conv2d;
mod conv_transpose1d;
mod conv_transpose2d;
mod dropout;
mod embedding;
mod layer_norm;
mod linear;

pub use batch_norm::{BatchNorm, BatchNormConfig, batch_norm};
pub use conv_transpose1d::{ConvTranspose1d, ConvTranspose1dOptions, conv_transpose1d};
pub use conv_transpose2d::{ConvTranspose2d, ConvTranspose2dOptions, conv_transpose2d};
pub use conv1d::{Conv1d, Conv1dOptions, Padding1d, conv1d};
pub use conv2d::{Conv2d, Conv2dOptions, Padding, conv2d};
pub use dropout::Dropout;
pub use embedding::{Embedding, embedding};
pub use layer_norm::{LayerNorm, RmsNorm, layer_norm, rms_norm};
pub use linear::{Linear, linear, linear_no_bias};
