//! Layers on the differentiable ops of `dl-autograd`, with PyTorch's parameter names and initialisation.

mod batch_norm;
mod conv2d;
mod dropout;
mod linear;
mod pool;
mod resize;

pub use batch_norm::{BatchNorm, BatchNormConfig, batch_norm};
pub use conv2d::{Conv2d, Conv2dOptions, Padding, conv2d};
pub use dropout::Dropout;
pub use linear::{Linear, linear, linear_no_bias};
pub use pool::{AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d};
pub use resize::{Pad, PixelShuffle, PixelUnshuffle, Upsample};

pub use dl_autograd::{
    AvgPool1dConfig, AvgPool2dConfig, Interpolation, MaxPool1dConfig, MaxPool2dConfig, PadMode,
};
