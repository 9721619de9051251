//! The command line, with the names of Hugging Face's trainer.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use clap::{Parser, ValueEnum};
use dl_core::train::PredictionFile;
use serde::{Serialize, Serializer};

/// Height and width that images may be brought to: a network that halves them five times leaves
/// nothing of less, and one image of more takes gigabytes.
pub const SIZES: RangeInclusive<usize> = 32..=4096;

/// Fine-tunes an ImageNet-pretrained network on images.
///
/// Without flags: EfficientNet-Lite0 on the Fashion-MNIST subset of this repository, three ways,
/// compared. Flags may be written with `-` or `_`.
#[derive(Parser, Serialize, Clone, Debug)]
#[command(name = "finetune", version, args_override_self = true)]
pub struct Args {
    /// What to train, or all three side by side.
    #[arg(long, value_enum, default_value = "compare")]
    pub mode: Mode,
    /// Architecture, by its name in the zoo.
    #[arg(
        long,
        alias = "model-name-or-path",
        default_value = "efficientnet_lite0"
    )]
    pub model: String,
    /// Pretrained weights: a .safetensors, .pth or .pt file, or the id of a repository on the hub.
    /// Default: the ImageNet weights in this repository.
    #[arg(long)]
    pub weights: Option<String>,
    /// Keep fresh values where the weights file has another shape.
    #[arg(long)]
    pub ignore_mismatched_sizes: bool,

    /// Training images: a folder with one folder a class.
    #[arg(long)]
    #[serde(serialize_with = "shown")]
    pub train_dir: Option<PathBuf>,
    /// Images to evaluate on, in the same classes.
    #[arg(long)]
    #[serde(serialize_with = "shown")]
    pub validation_dir: Option<PathBuf>,
    /// Without a validation folder: share of the training images held out, class by class.
    #[arg(long, alias = "train-val-split", default_value_t = 0.15)]
    pub validation_split: f64,
    /// Use at most so many training images, the same number of each class.
    #[arg(long)]
    pub max_train_samples: Option<usize>,
    /// Use at most so many images for evaluation.
    #[arg(long)]
    pub max_eval_samples: Option<usize>,
    /// Height and width that images are brought to. Default: 64 for the shipped data, else the size
    /// the model was pretrained on.
    #[arg(long)]
    pub image_size: Option<usize>,
    /// Threads that decode images.
    #[arg(long, default_value_t = 1)]
    pub dataloader_num_workers: usize,

    /// Where results go. Default: a new folder under runs/.
    #[arg(long)]
    #[serde(serialize_with = "shown")]
    pub output_dir: Option<PathBuf>,
    /// Replace the run that the output folder holds.
    #[arg(long)]
    pub overwrite_output_dir: bool,

    /// Passes over the training images.
    #[arg(long, alias = "epochs", default_value_t = 6)]
    pub num_train_epochs: usize,
    /// End each training after so many optimizer steps; -1: no limit.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    pub max_steps: i64,
    /// How many of the epochs fine-tuning trains the new classifier alone.
    #[arg(long, default_value_t = 1)]
    pub head_epochs: usize,
    /// Training images a step.
    #[arg(long, alias = "batch-size", default_value_t = 32)]
    pub per_device_train_batch_size: usize,
    /// Images a step of evaluation.
    #[arg(long, default_value_t = 64)]
    pub per_device_eval_batch_size: usize,
    /// Batches whose gradients make one step.
    #[arg(long, default_value_t = 1)]
    pub gradient_accumulation_steps: usize,
    /// Learning rate of the whole network.
    #[arg(long, alias = "lr", default_value_t = 2e-3)]
    pub learning_rate: f64,
    /// Learning rate while the classifier trains alone.
    #[arg(long, default_value_t = 3e-3)]
    pub head_learning_rate: f64,
    /// Fine-tuning: each block nearer to the image learns this much slower than the one behind it.
    #[arg(long, default_value_t = 0.9)]
    pub layer_decay: f64,
    /// Decoupled weight decay, not on biases and norms.
    #[arg(long, default_value_t = 0.01)]
    pub weight_decay: f64,
    /// AdamW's β₁.
    #[arg(long, default_value_t = 0.9)]
    pub adam_beta1: f64,
    /// AdamW's β₂.
    #[arg(long, default_value_t = 0.999)]
    pub adam_beta2: f64,
    /// AdamW's ε.
    #[arg(long, default_value_t = 1e-8)]
    pub adam_epsilon: f64,
    /// Largest norm of all gradients together; 0: no limit.
    #[arg(long, default_value_t = 1.0)]
    pub max_grad_norm: f64,
    /// linear, cosine, cosine_with_restarts, polynomial, constant, constant_with_warmup,
    /// inverse_sqrt or cosine_with_min_lr.
    #[arg(long, default_value = "cosine")]
    pub lr_scheduler_type: String,
    /// Steps of rising rate; below 1: a share of all steps.
    #[arg(long, alias = "warmup-ratio", default_value_t = 0.1)]
    pub warmup_steps: f64,
    /// Share of each target that is spread over all classes.
    #[arg(long, default_value_t = 0.1)]
    pub label_smoothing_factor: f64,
    /// Seed of initialisation, order, augmentation and dropout.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Two steps and a few images of everything, to see that it works.
    #[arg(long, alias = "dry-run")]
    pub fast_dev_run: bool,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value = "auto")]
    pub device: String,

    /// Write what the model says about each evaluation image, with the probability of each class, to
    /// this file: .csv or .jsonl.
    #[arg(long, conflicts_with = "predict")]
    #[serde(serialize_with = "shown")]
    pub predictions: Option<PathBuf>,
    /// Classify these images with the model in the output folder instead of training.
    #[arg(long, num_args = 1.., value_name = "IMAGE", requires = "output_dir")]
    #[serde(skip)]
    pub predict: Vec<PathBuf>,
    /// Evaluate the model in the output folder instead of training.
    #[arg(long, requires = "output_dir")]
    #[serde(skip)]
    pub eval_only: bool,
}

/// A way to train.
#[derive(ValueEnum, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The whole network from random weights.
    Scratch,
    /// A new classifier on the features of the frozen pretrained network.
    FeatureExtract,
    /// A new classifier first, then the whole pretrained network.
    Finetune,
    /// All three on the same data for the same number of epochs.
    Compare,
}

impl Mode {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scratch => "scratch",
            Self::FeatureExtract => "feature-extract",
            Self::Finetune => "finetune",
            Self::Compare => "compare",
        }
    }

    /// The trainings that this stands for.
    pub fn parts(self) -> Vec<Self> {
        match self {
            Self::Compare => vec![Self::Scratch, Self::FeatureExtract, Self::Finetune],
            one => vec![one],
        }
    }
}

impl Args {
    /// Reads the command line; `--learning_rate` is `--learning-rate`.
    pub fn read() -> Result<Self> {
        let mut args = Self::parse_from(std::env::args_os().map(dashed));
        args.check()?;
        if args.fast_dev_run {
            args.max_steps = 2;
            args.num_train_epochs = 2;
            args.max_train_samples = Some(args.max_train_samples.unwrap_or(64).min(64));
            args.max_eval_samples = Some(args.max_eval_samples.unwrap_or(64).min(64));
        }
        Ok(args)
    }

    fn check(&self) -> Result<()> {
        self.check_counts()?;
        self.check_ranges()?;
        if let Some(path) = &self.predictions {
            PredictionFile::check(path).context("cannot use --predictions")?;
        }
        ensure!(
            self.weights.is_none() || self.mode != Mode::Scratch,
            "--mode scratch starts from random weights; leave --weights out or choose another mode"
        );
        ensure!(
            self.validation_dir.is_none() || self.train_dir.is_some() || self.eval_only,
            "--validation-dir needs --train-dir, the images to train on"
        );
        Ok(())
    }

    fn check_counts(&self) -> Result<()> {
        let counts = [
            ("num-train-epochs", self.num_train_epochs),
            (
                "per-device-train-batch-size",
                self.per_device_train_batch_size,
            ),
            (
                "per-device-eval-batch-size",
                self.per_device_eval_batch_size,
            ),
            (
                "gradient-accumulation-steps",
                self.gradient_accumulation_steps,
            ),
            ("max-train-samples", self.max_train_samples.unwrap_or(1)),
            ("max-eval-samples", self.max_eval_samples.unwrap_or(1)),
        ];
        for (flag, value) in counts {
            ensure!(value > 0, "--{flag} must be 1 or more, got 0");
        }
        let (steps, size) = (self.max_steps, self.image_size.unwrap_or(*SIZES.start()));
        ensure!(
            steps == -1 || steps > 0,
            "--max-steps must be 1 or more, or -1 for no limit, got {steps}"
        );
        ensure!(
            SIZES.contains(&size),
            "--image-size must be {} to {}, got {size}",
            SIZES.start(),
            SIZES.end()
        );
        Ok(())
    }

    fn check_ranges(&self) -> Result<()> {
        let split = self.validation_split;
        ensure!(
            split > 0. && split < 1.,
            "--validation-split must lie between 0 and 1, got {split}"
        );
        let smoothing = self.label_smoothing_factor;
        ensure!(
            (0. ..=1.).contains(&smoothing),
            "--label-smoothing-factor must be 0 to 1, got {smoothing}"
        );
        for (flag, value) in [
            ("warmup-steps", self.warmup_steps),
            ("max-grad-norm", self.max_grad_norm),
        ] {
            ensure!(value >= 0., "--{flag} must be 0 or more, got {value}");
        }
        Ok(())
    }

    /// The limit on optimizer steps, if there is one.
    pub fn step_limit(&self) -> Option<usize> {
        usize::try_from(self.max_steps).ok()
    }

    /// The device asked for.
    pub fn open_device(&self) -> Result<Device> {
        let name = self.device.as_str();
        let index = name.strip_prefix("cuda").map(|rest| match rest {
            "" => Ok(0),
            rest => rest.trim_start_matches(':').parse::<usize>(),
        });
        match (name, index) {
            ("cpu", _) => Ok(Device::Cpu),
            ("metal", _) => Device::new_metal(0).with_context(|| unusable(name)),
            ("auto", _) if candle_core::utils::cuda_is_available() => Ok(Device::new_cuda(0)?),
            ("auto", _) if candle_core::utils::metal_is_available() => Ok(Device::new_metal(0)?),
            ("auto", _) => Ok(Device::Cpu),
            (_, Some(Ok(index))) => Device::new_cuda(index).with_context(|| unusable(name)),
            _ => bail!("no device `{name}`; there are auto, cpu, cuda, cuda:N and metal"),
        }
    }
}

fn unusable(device: &str) -> String {
    let feature = device.split(':').next().unwrap_or(device);
    format!("cannot use --device {device}; pass --device cpu, or build with --features {feature}")
}

/// `--learning_rate` as `--learning-rate`; the value behind a `=` stays as it is.
fn dashed(arg: OsString) -> OsString {
    let Some(flag) = arg.to_str().and_then(|text| text.strip_prefix("--")) else {
        return arg;
    };
    let (name, value) = flag.split_at(flag.find('=').unwrap_or(flag.len()));
    format!("--{}{value}", name.replace('_', "-")).into()
}

/// A path as text, for a path of other bytes is no JSON.
fn shown<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|p| p.to_string_lossy()).serialize(to)
}
