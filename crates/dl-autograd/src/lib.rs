//! Differentiable operations for candle whose gradients are right and proved.
//!
//! Every op is a candle custom op on ordinary [`candle_core::Tensor`]s: candle's own
//! `loss.backward()` is all one calls. On the CPU in f32 and f64 a kernel of this crate runs;
//! elsewhere the op is composed of candle's ops with the same gradient. No gradient is computed for
//! an operand that is not tracked.
//!
//! | what | where |
//! |---|---|
//! | convolution, grouped and depthwise, asymmetric padding | [`conv1d`], [`conv2d`] |
//! | transposed convolution | [`conv_transpose1d`], [`conv_transpose2d`] |
//! | batch normalisation with activation | [`batch_norm`], [`batch_norm_with`] |
//! | dense layer | [`linear`] |
//! | activations | [`relu`], [`relu6`], [`Activation`] |
//! | softmax and cross-entropy in one | [`cross_entropy`] |
//! | pooling | [`global_avg_pool`] |
//! | dropout without a stored mask | [`dropout`] |
//! | random numbers by (seed, purpose, step, element) | [`Rng`] |
//! | the stream of the current step, for layers | [`RngScope`], [`next_rng`] |
//! | residual sums, the sum of a loss | [`add`], [`sum`] |
//! | backward without candle's walk | [`Tape`], [`backward`] |
//! | gradients against central differences | [`gradcheck`] |
//! | the composed form of every op on the CPU, for tests | [`composed`] |
//!
//! | feature | what it turns on |
//! |---|---|
//! | `cuda`, `cudnn`, `metal`, `accelerate`, `mkl`, `nccl` | candle's feature of that name |

mod activation;
mod batch_norm;
mod convolution;
mod cross_entropy;
mod dropout;
mod global_avg_pool;
mod gradcheck;
mod host;
mod linear;
mod matmul;
mod rng;
mod rng_scope;
mod simd;
mod sum;
mod tape;

pub use activation::{Activation, relu, relu6};
pub use batch_norm::{BatchStatistics, batch_norm, batch_norm_with};
pub use convolution::{
    Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig, Padding2d,
    conv_transpose1d, conv_transpose2d, conv1d, conv2d, same_padding,
};
pub use cross_entropy::cross_entropy;
pub use dropout::dropout;
pub use global_avg_pool::global_avg_pool;
pub use gradcheck::gradcheck;
pub use host::composed;
pub use linear::linear;
pub use rng::{Purpose, Rng};
pub use rng_scope::{RngScope, next_rng};
pub use sum::{add, sum};
pub use tape::{Tape, backward};
