//! Trains a perceptron, 784-64-64-10 with ReLU, on handwritten digits.
//!
//! ```text
//! cargo run --release --example mnist_mlp -- --data-dir mnist        the idx files of MNIST
//! cargo run --release --example mnist_mlp                            the shipped Fashion-MNIST subset
//! ```
//!
//! With `--output-dir RUN` a checkpoint is written every epoch, and at Ctrl-C; the same command goes on
//! from it, to the same bits as if it had not stopped. `--dashboard` shows it on the whole terminal.
//!
//! Adam, batches of 32, 10 epochs. The network ends in logits: the softmax is part of the loss, and
//! one in front of it is refused. Prints a line an epoch; on MNIST the last one shows 97 % or more.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use dl_core::Params;
use dl_core::allocator::{MiMalloc, keep_freed_memory};
use dl_core::checkpoint::{Goal, Keep};
use dl_core::data::{DataLoader, IdxImages, MnistPart, Normalize, StackImages};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{
    Callback, CheckpointOptions, Dashboard, Epoch, Flow, Plan, Progress, Resume, StopOnSignal,
    TrainError, Trainer, TrainerConfig,
};
use dl_optim::{Adam, Optimizer};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Trains 784-64-64-10 on idx images of 28×28.
#[derive(Parser)]
struct Args {
    /// Folder with train- and t10k-{images-idx3,labels-idx1}-ubyte, plain or .gz.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Passes over the training images.
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Images a step.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// Adam's learning rate.
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    /// Folder for checkpoints: the newest two and the best.
    #[arg(long)]
    output_dir: Option<PathBuf>,
    /// The checkpoint to go on from: never, if_any, latest, best, or a path.
    #[arg(long, default_value = "if_any")]
    resume: Resume,
    /// Show the run on the whole terminal: curves, rates, keys to stop with.
    #[arg(long)]
    dashboard: bool,
    /// Seed of initialisation and order.
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

fn main() -> Result<()> {
    keep_freed_memory();
    let args = Args::parse();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/fashion_mnist");
    let folder = args.data_dir.as_ref().unwrap_or(&shipped);
    let loader = |part, shuffle| -> Result<_> {
        let images = IdxImages::open(folder, part)
            .with_context(|| format!("no images to train on in {}", folder.display()))?;
        // Mean and deviation of MNIST's training images.
        let collate = StackImages::new(Normalize::new([0.1307], [0.3081])?);
        Ok(DataLoader::new(images, collate)
            .batch_size(args.batch_size)
            .shuffle(shuffle)
            .seed(args.seed)
            .workers(1))
    };
    let (train, test) = (
        loader(MnistPart::Train, true)?,
        loader(MnistPart::Test, false)?,
    );

    let params = Params::new(args.seed, &candle_core::Device::Cpu);
    let model = Mlp::new(&MlpConfig::default(), params.vb())?;
    let optimizer = Optimizer::new(
        params.trainable(),
        Adam {
            lr: args.learning_rate,
            ..Adam::default()
        },
    )?;
    let config = TrainerConfig {
        epochs: args.epochs,
        seed: args.seed,
        ..Default::default()
    };
    let trainer = Trainer::new(&model, optimizer, config);
    let mut trainer = match args.dashboard {
        true => trainer.callback(Dashboard::new("mnist_mlp")?),
        false => trainer
            .callback(Progress::new("mnist_mlp"))
            .callback(PrintEpochs),
    };
    if let Some(folder) = &args.output_dir {
        let options = CheckpointOptions {
            keep: Keep {
                best: Some(("eval_accuracy".to_string(), Goal::Maximize)),
                ..Default::default()
            },
            resume: args.resume.clone(),
            ..CheckpointOptions::new(folder)
        };
        trainer = trainer
            .callback(StopOnSignal::install()?)
            .checkpoints(&params, options);
    }
    match trainer.fit(&train, &test) {
        Err(stopped @ TrainError::Interrupted { .. }) => {
            eprintln!("{stopped}");
            std::process::exit(stopped.exit_code().into())
        }
        done => Ok(done.map(drop)?),
    }
}

struct PrintEpochs;

impl Callback for PrintEpochs {
    fn on_train_begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        println!("parameters {}", plan.trainable);
        match plan.resumed {
            Some(step) if step >= plan.total_steps => println!("was finished after step {step}"),
            Some(step) => println!("going on from step {step} of {}", plan.total_steps),
            None => {}
        }
        println!("epoch train_loss train_accuracy test_loss test_accuracy samples/s");
        Ok(())
    }

    fn on_epoch_end(&mut self, e: &Epoch) -> Result<Flow, TrainError> {
        println!(
            "{:>5} {:>10.4} {:>14.4} {:>9.4} {:>13.4} {:>9.0}",
            e.epoch,
            e.metric("train_loss")?,
            e.metric("train_accuracy")?,
            e.metric("eval_loss")?,
            e.metric("eval_accuracy")?,
            e.train_samples_per_second
        );
        Ok(Flow::Continue)
    }
}
