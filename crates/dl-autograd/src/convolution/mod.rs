//! Convolutions and transposed convolutions of one and two dimensions: one op over the same kernels,
//! on which those of three are built.
//!
//! A transposed convolution is a convolution's input gradient, its input gradient is the
//! convolution, and its weight gradient is the convolution's with image and gradient exchanged. One
//! dimension is an image of height 1.

mod batch_norm_conv2d;
mod bias;
mod composed;
mod conv1d;
mod conv2d;
mod conv3d;
mod conv_transpose1d;
mod conv_transpose2d;
mod depthwise;
mod direct;
mod geometry;
mod normed_depthwise;
mod op;
mod padding;
mod phases;
mod pointwise;
mod pointwise_gradients;
mod second_order;
mod weight_gradient;
mod winograd;

pub use batch_norm_conv2d::batch_norm_conv2d;
pub use conv_transpose1d::{ConvTranspose1dConfig, conv_transpose1d};
pub use conv_transpose2d::{ConvTranspose2dConfig, conv_transpose2d};
pub use conv1d::{Conv1dConfig, conv1d};
pub use conv2d::{Conv2dConfig, conv2d};
pub use conv3d::{Conv3dConfig, conv3d};
pub use padding::{Padding2d, same_padding};
