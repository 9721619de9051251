//! The workloads of `examples/train_speed` in Burn on its own CPU backend, Flex: Burn's layers,
//! automatic differentiation and optimizers, these with PyTorch's numbers.
//!
//! ```text
//! cargo run --release --bin burn_speed -- mlp gpt     these workloads
//! cargo run --release --bin burn_speed                all of them
//! ```

mod images;
mod residual;
mod sequences;
mod training;
mod update;

use anyhow::Result;

fn main() -> Result<()> {
    peers::run(
        "Burn 0.22.1",
        &[
            ("mlp", images::mlp),
            ("lenet", images::lenet),
            ("resnet20", residual::resnet20),
            ("resnet18", residual::resnet18),
            ("mobilenet_v2", residual::mobilenet_v2),
            ("vgg16", images::vgg16),
            ("minilm", sequences::minilm),
            ("minilm_frozen", sequences::minilm_frozen),
            ("gpt", sequences::gpt),
            ("lstm", sequences::lstm),
            ("adamw_25m", update::adamw_25m),
        ],
    )
}
