//! The program of the README: a perceptron that learns to tell clothes apart, in three epochs.

use candle_core::Device;
use dl_core::Params;
use dl_core::data::{DataLoader, IdxImages, MnistPart, Normalize, StackImages};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{Progress, Trainer, TrainerConfig};
use dl_optim::{AdamW, Optimizer};

fn main() -> anyhow::Result<()> {
    let loader = |part| -> anyhow::Result<_> {
        let images = IdxImages::open("assets/fashion_mnist", part)?;
        Ok(DataLoader::new(images, StackImages::new(Normalize::unit())).batch_size(32))
    };
    let (train, test) = (
        loader(MnistPart::Train)?.shuffle(true),
        loader(MnistPart::Test)?,
    );

    let params = Params::new(42, &Device::Cpu);
    let model = Mlp::new(&MlpConfig::default(), params.vb())?;
    let optimizer = Optimizer::new(params.trainable(), AdamW::default())?;
    let history = Trainer::new(&model, optimizer, TrainerConfig::default())
        .callback(Progress::new("clothes"))
        .fit(&train, &test)?;
    for epoch in history {
        println!(
            "epoch {}: accuracy {:.3}",
            epoch.epoch,
            epoch.metric("eval_accuracy")?
        );
    }
    Ok(())
}
