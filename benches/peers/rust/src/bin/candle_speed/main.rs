//! The workloads of `examples/train_speed` in plain candle: its operations, its layers, its
//! `loss.backward()` and its optimizers, without a crate of ours.
//!
//! ```text
//! cargo run --release --bin candle_speed -- mlp gpt     these workloads
//! cargo run --release --bin candle_speed                all of them
//! ```
//!
//! `resnet20` trains without momentum, which candle's `SGD` lacks. There is no `resnet18`: candle's
//! maximum pool has no padding, and no gradient where windows overlap. There is no `mobilenet_v2`:
//! candle computes a depthwise convolution channel by channel, and its backward pads the gradient of
//! each channel to all of them.

mod images;
mod residual;
mod sequences;
mod training;
mod update;

use anyhow::Result;

fn main() -> Result<()> {
    peers::run(
        "candle 0.11.1",
        &[
            ("mlp", images::mlp),
            ("lenet", images::lenet),
            ("resnet20", residual::resnet20),
            ("vgg16", images::vgg16),
            ("minilm", sequences::minilm),
            ("minilm_frozen", sequences::minilm_frozen),
            ("gpt", sequences::gpt),
            ("lstm", sequences::lstm),
            ("adamw_25m", update::adamw_25m),
        ],
    )
}
