//! Differentiable operations for candle whose gradients are right and proved.
//!
//! Every op is a candle custom op on ordinary [`candle_core::Tensor`]s: candle's own
//! `loss.backward()` is all one calls. On the CPU in f32 and f64 a kernel of this crate runs;
//! elsewhere the op is composed of candle's ops with the same gradient. No gradient is computed for
//! an operand that is not tracked.
//!
//! | what | where |
//! |---|---|
//! | convolution, grouped and depthwise, asymmetric padding | [`conv1d`], [`conv2d`], [`conv3d`] |
//! | transposed convolution | [`conv_transpose1d`], [`conv_transpose2d`] |
//! | batch normalisation, with the residual and the activation behind it | [`batch_norm`], [`batch_norm_with`], [`Epilogue`] |
//! | a convolution of a batch-normalised image in one op | [`batch_norm_conv2d`], [`Prologue`] |
//! | layer and RMS normalisation, behind a residual sum too | [`layer_norm`](layer_norm()), [`rms_norm`](rms_norm()), [`add_layer_norm`], [`add_rms_norm`] |
//! | group and instance normalisation | [`group_norm`](group_norm()), [`instance_norm`] |
//! | weights of a given length or singular value | [`weight_norm`](weight_norm()), [`spectral_norm`](spectral_norm()), [`power_iteration`] |
//! | softmax and its logarithm over any dimension | [`softmax`](softmax()), [`log_softmax`] |
//! | rows of a table | [`embedding`](embedding()) |
//! | dense layer with activation, batches of matrix products | [`linear`], [`linear_with`], [`linear_gelu`], [`matmul`] |
//! | activations | [`relu`], [`relu6`], [`Activation`], [`sigmoid`], [`tanh`], [`silu`], [`gelu`], [`gelu_tanh`] |
//! | leaky and exponential rectifiers, softplus, Mish, the hard ones | [`leaky_relu`], [`prelu`](prelu()), [`elu`], [`selu`], [`celu`], [`softplus`], [`log_sigmoid`], [`mish`], [`hard_swish`], [`hard_sigmoid`], [`hard_tanh`], [`softsign`] |
//! | gated units | [`glu`](glu()), [`swiglu`], [`geglu`], [`reglu`] |
//! | attention without a stored score matrix | [`scaled_dot_product_attention`] |
//! | LSTM and GRU over whole sequences | [`lstm`], [`gru`] |
//! | rotary positions, linear biases | [`rope`], [`rope_interleaved`], [`rope_frequencies`], [`alibi_bias`] |
//! | losses of classes and distributions | [`cross_entropy`], [`nll_loss`] |
//! | losses of pairs of elements | [`binary_cross_entropy_with_logits`], [`pointwise_loss`] |
//! | how losses are put together | [`Reduction`] |
//! | pooling | [`max_pool2d`], [`avg_pool2d`], [`adaptive_avg_pool2d`], [`adaptive_max_pool2d`], [`global_avg_pool`] |
//! | resampling | [`interpolate`], [`interpolate_by`], [`pixel_shuffle`], [`pixel_unshuffle`] |
//! | padding | [`pad`](pad()) |
//! | a factor for every channel | [`scale_channels`](scale_channels()) |
//! | dropout without a stored mask, noise | [`dropout`], [`dropout_channels`], [`drop_path`], [`alpha_dropout`], [`gaussian_noise`] |
//! | random numbers by (seed, purpose, step, element) | [`Rng`] |
//! | the stream of the current step, for layers | [`RngScope`], [`next_rng`] |
//! | slices whose gradients meet in one buffer | [`split`], [`chunk`], [`unbind`], [`cat`] |
//! | writing and adding at indices | [`scatter`], [`scatter_add`] |
//! | extrema, running sums, powers | [`max`], [`min`], [`amax`], [`amin`], [`cumsum`], [`pow`], [`powf`] |
//! | residual sums, products, the sum of a loss | [`add`], [`mul`](mul()), [`sum`] |
//! | products in half precision, weights in f32 | [`Autocast`] |
//! | backward without candle's walk | [`Tape`], [`backward`], [`backward_from`] |
//! | what the tape follows besides | [`reshape`], [`flatten_from`], [`transpose`], [`narrow`], [`scale`] |
//! | gradients of chosen tensors, and their derivatives | [`grad`](grad()), [`grad_with_graph`], [`hessian_vector_product`] |
//! | a segment computed again in backward | [`checkpoint`](checkpoint()), [`is_recomputing`] |
//! | a hook on a gradient, no graph at all | [`on_grad`](on_grad()), [`no_grad`](no_grad()) |
//! | gradients against central differences | [`gradcheck`](gradcheck()), [`gradgradcheck`] |
//! | the composed form of every op on the CPU, for tests | [`composed`] |
//!
//! | feature | what it turns on |
//! |---|---|
//! | `cuda`, `cudnn`, `metal`, `accelerate`, `mkl`, `nccl` | candle's feature of that name |
//!
//! The kernels are compiled for several instruction sets, of which the widest that the CPU has is taken.
//! The environment variable `DL_SIMD` asks for another, so that two machines give the same bits or a test
//! sees them all: `scalar`, or `avx2` on x86-64.

mod activation;
mod alibi;
mod attention;
mod autocast;
mod batch_norm;
mod batched;
mod cat;
mod checkpoint;
mod convolution;
mod cumsum;
mod dropout;
mod elementwise;
mod embedding;
mod epilogue;
mod exp;
mod global_avg_pool;
mod glu;
mod grad;
mod gradcheck;
mod group_norm;
mod host;
mod interpolate;
mod lanes;
mod layer_norm;
mod linear;
mod loss;
mod many_inputs;
mod matmul;
mod max;
mod mul;
mod no_grad;
mod on_grad;
mod pack;
mod pad;
mod piecewise;
mod pixel_shuffle;
mod pointwise;
mod pool;
mod pow;
mod prefetch;
mod prelu;
mod prologue;
mod recurrent;
mod rms_norm;
mod rng;
mod rng_scope;
mod rope;
mod row_norm;
mod rows;
mod scale_channels;
mod scatter;
mod separable;
mod simd;
mod smooth;
mod softmax;
mod spectral_norm;
mod split;
mod sum;
mod tape;
mod turn;
mod view;
mod weight_norm;

pub use activation::{Activation, relu, relu6};
pub use alibi::{alibi_bias, alibi_slopes};
pub use attention::{AttentionOptions, Causal, scaled_dot_product_attention};
pub use autocast::Autocast;
pub use batch_norm::{BatchStatistics, batch_norm, batch_norm_with};
pub use batched::matmul;
pub use cat::cat;
pub use checkpoint::{checkpoint, is_recomputing};
pub use convolution::{
    Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    Padding2d, batch_norm_conv2d, conv_transpose1d, conv_transpose2d, conv1d, conv2d, conv3d,
    same_padding,
};
pub use cumsum::cumsum;
pub use dropout::{alpha_dropout, drop_path, dropout, dropout_channels, gaussian_noise};
pub use embedding::embedding;
pub use epilogue::Epilogue;
pub use global_avg_pool::global_avg_pool;
pub use glu::{geglu, glu, reglu, swiglu};
pub use grad::{grad, grad_with_graph, hessian_vector_product};
pub use gradcheck::{gradcheck, gradgradcheck};
pub use group_norm::{group_norm, instance_norm};
pub use host::composed;
pub use interpolate::{Interpolation, interpolate, interpolate_by};
pub use layer_norm::{add_layer_norm, layer_norm};
pub use linear::{linear, linear_gelu, linear_with};
pub use loss::{
    BinaryCrossEntropyOptions, CrossEntropyOptions, NllOptions, PointwiseLoss, Reduction,
    binary_cross_entropy_with_logits, cross_entropy, nll_loss, pointwise_loss,
};
pub use max::{amax, amin, max, min};
pub use mul::mul;
pub use no_grad::no_grad;
pub use on_grad::on_grad;
pub use pad::{PadMode, pad};
pub use piecewise::{
    celu, elu, hard_sigmoid, hard_swish, hard_tanh, leaky_relu, log_sigmoid, mish, selu, softplus,
    softsign,
};
pub use pixel_shuffle::{pixel_shuffle, pixel_unshuffle};
pub use pointwise::{gelu, gelu_tanh, sigmoid, silu, tanh};
pub use pool::{
    AvgPool1dConfig, AvgPool2dConfig, MaxPool1dConfig, MaxPool2dConfig, adaptive_avg_pool1d,
    adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d, avg_pool1d, avg_pool2d,
    max_pool1d, max_pool2d,
};
pub use pow::{pow, powf};
pub use prelu::prelu;
pub use prologue::Prologue;
pub use recurrent::{Direction, RecurrentWeights, gru, lstm};
pub use rms_norm::{add_rms_norm, rms_norm};
pub use rng::{Purpose, Rng};
pub use rng_scope::{RngScope, next_rng};
pub use rope::{rope, rope_frequencies, rope_interleaved};
pub use scale_channels::scale_channels;
pub use scatter::{scatter, scatter_add};
pub use softmax::{log_softmax, softmax};
pub use spectral_norm::{power_iteration, spectral_norm};
pub use split::{chunk, split, unbind};
pub use sum::{add, sum};
pub use tape::{Tape, backward, backward_from};
pub use view::{flatten_from, narrow, reshape, scale, transpose};
pub use weight_norm::weight_norm;
