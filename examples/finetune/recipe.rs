//! The three trainings.

use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use candle_nn::ModuleT;
use dl_core::Params;
use dl_core::data::{Collate, DataLoader, Dataset, StackTensors};
use dl_core::losses::{CrossEntropyOptions, Reduction, cross_entropy};
use dl_core::models::{ClassifierHead, ImageClassifier, ImageModel};
use dl_core::train::{
    Batch, Epoch, Evaluation, Evaluator, HtmlReport, MetricsLog, Prediction, Progress, Trainer,
    TrainerConfig, Worst,
};
use dl_optim::{AdamW, Clip, HuggingFace, Optimizer};
use dl_transfer::{Checkpoint, KeyMap, LoadOptions, extract_features, load_into, resolve_weights};

use crate::args::{Args, Mode};
use crate::images::{Images, asset};

/// Images that the report shows of those the model is most wrong about.
const WORST: usize = 24;

/// What a training needs.
pub struct Setup<'a> {
    pub args: &'a Args,
    pub images: &'a Images,
    pub model: ImageModel,
    pub device: Device,
    /// Where every epoch is logged.
    pub log: Option<PathBuf>,
    /// What shows every training.
    pub report: Option<RefCell<HtmlReport>>,
}

/// What a training gave.
pub struct Outcome {
    pub mode: Mode,
    pub params: Params,
    pub epochs: Vec<Epoch>,
    pub evaluation: Evaluation,
    /// What was said about each evaluation image, if it is to be written.
    pub predictions: Vec<Prediction>,
    pub worst: Worst,
    /// Scalars that were trained at the end.
    pub trainable: usize,
    /// Training, feature extraction and evaluation together.
    pub seconds: f64,
}

impl Outcome {
    /// A metric of the last epoch.
    pub fn last(&self, metric: &str) -> f64 {
        let last = self.epochs.last();
        last.and_then(|epoch| epoch.metric(metric).ok())
            .unwrap_or(f64::NAN)
    }

    /// Training images a second, over all epochs.
    pub fn samples_per_second(&self) -> f64 {
        let seconds: f64 = self.epochs.iter().map(|e| e.train_seconds).sum();
        let samples: f64 = self
            .epochs
            .iter()
            .map(|e| e.train_seconds * e.train_samples_per_second)
            .sum();
        samples / seconds
    }
}

impl Setup<'_> {
    /// Fails on weights, names and rates that no training could use.
    pub fn check(&self) -> Result<()> {
        let params = Params::new(self.args.seed, &self.device);
        match self.args.mode {
            Mode::Scratch => drop(self.build(&params)?),
            _ => self.pretrained(&params)?,
        }
        self.optimizer(&params, self.args.head_learning_rate)?;
        let depth = self.build(&params)?.depth_patterns();
        self.optimizer(&params, self.args.learning_rate)?
            .layer_wise_lr_decay(&depth, self.args.layer_decay)?;
        HuggingFace::named(&self.args.lr_scheduler_type, 0, 1)?;
        Ok(())
    }

    /// Runs one training and evaluates what came out.
    pub fn run(&self, mode: Mode) -> Result<Outcome> {
        let start = Instant::now();
        let params = Params::new(self.args.seed, &self.device);
        let epochs = match mode {
            Mode::Scratch => self.scratch(&params)?,
            Mode::FeatureExtract => self.head(mode, &params, 0..self.args.num_train_epochs)?,
            Mode::Finetune | Mode::Compare => self.finetune(&params)?,
        };
        let (evaluation, predictions, worst) = self.predict(self.build(&params)?.as_ref())?;
        ensure!(
            evaluation.loss.is_finite(),
            "the evaluation loss of {} is {} after the last step; lower the learning rate or clip \
             the gradients",
            mode.name(),
            evaluation.loss
        );
        Ok(Outcome {
            mode,
            evaluation,
            predictions,
            worst,
            trainable: params.trainable().iter().map(|(_, v)| v.elem_count()).sum(),
            seconds: start.elapsed().as_secs_f64(),
            params,
            epochs,
        })
    }

    /// What the model says about the evaluation images: in sum, of each if that is to be written, and
    /// where it is most wrong.
    pub fn predict(
        &self,
        model: &dyn ImageClassifier,
    ) -> Result<(Evaluation, Vec<Prediction>, Worst)> {
        let evaluator = Evaluator::new(model).device(&self.device);
        let (mut all, mut worst) = (vec![], Worst::new(WORST));
        let found = evaluator.predict(&self.images.evaluation()?, |prediction| {
            if self.args.predictions.is_some() {
                all.push(prediction.clone());
            }
            worst.see(prediction);
            Ok(())
        })?;
        Ok((found, all, worst))
    }

    /// The network on these parameters.
    pub fn build(&self, params: &Params) -> Result<Box<dyn ImageClassifier>> {
        Ok(self
            .model
            .build(self.images.class_names.len(), params.vb())?)
    }

    fn scratch(&self, params: &Params) -> Result<Vec<Epoch>> {
        let model = self.build(params)?;
        let optimizer = self.optimizer(params, self.args.learning_rate)?;
        let (epochs, model) = (0..self.args.num_train_epochs, model.as_ref());
        let (train, eval) = (self.images.training()?, self.images.evaluation()?);
        self.fit(Mode::Scratch, model, optimizer, epochs, &train, &eval)
    }

    /// Trains a new classifier on features that the frozen network computes once.
    fn head(&self, mode: Mode, params: &Params, epochs: Range<usize>) -> Result<Vec<Epoch>> {
        self.pretrained(params)?;
        params.freeze("*")?;
        params.unfreeze(&format!("{}.*", self.model.classifier))?;
        let model = self.build(params)?;
        let model = model.as_ref();
        let extract = |loader: crate::images::Loader| -> Result<_> {
            Ok(extract_features(model, loader.epoch(0)?, &self.device)?)
        };
        let batch = self.args.per_device_train_batch_size;
        let train = DataLoader::new(extract(self.images.training_as_is()?)?, StackTensors)
            .batch_size(batch)
            .shuffle(true)
            .seed(self.args.seed);
        let eval =
            DataLoader::new(extract(self.images.evaluation()?)?, StackTensors).batch_size(256);
        let optimizer = self.optimizer(params, self.args.head_learning_rate)?;
        self.fit(
            mode,
            &ClassifierHead(model),
            optimizer,
            epochs,
            &train,
            &eval,
        )
    }

    /// The classifier first, so that its first gradients do not spoil the rest; then everything,
    /// the slower the nearer to the image.
    fn finetune(&self, params: &Params) -> Result<Vec<Epoch>> {
        let total = self.args.num_train_epochs;
        let head = self.args.head_epochs.min(total.saturating_sub(1));
        let mut epochs = match head {
            0 => {
                self.pretrained(params)?;
                vec![]
            }
            _ => self.head(Mode::Finetune, params, 0..head)?,
        };
        params.unfreeze("*")?;
        let model = self.build(params)?;
        let optimizer = self
            .optimizer(params, self.args.learning_rate)?
            .layer_wise_lr_decay(&model.depth_patterns(), self.args.layer_decay)?;
        let (train, eval) = (self.images.training()?, self.images.evaluation()?);
        let rest = head..total;
        epochs.extend(self.fit(
            Mode::Finetune,
            model.as_ref(),
            optimizer,
            rest,
            &train,
            &eval,
        )?);
        Ok(epochs)
    }

    /// Loads everything but the classifier, which stays fresh.
    fn pretrained(&self, params: &Params) -> Result<()> {
        self.build(params)?;
        let file = match &self.args.weights {
            Some(weights) => resolve_weights(weights)?,
            None => asset("efficientnet_lite0/model.safetensors"),
        };
        let classifier = format!("{}.*", self.model.classifier);
        let options = LoadOptions {
            allow_missing: vec![classifier.clone()],
            ignore_mismatched: self.args.ignore_mismatched_sizes,
            ..Default::default()
        };
        let map = KeyMap::new(&[(&classifier, None)])?;
        load_into(params, &Checkpoint::open(&file)?, &map, &options).with_context(|| {
            format!(
                "cannot start {} from {}; name a file of its weights with --weights, or pass \
                     --mode scratch",
                self.model.name,
                file.display()
            )
        })?;
        Ok(())
    }

    fn optimizer(&self, params: &Params, lr: f64) -> Result<Optimizer> {
        let rule = AdamW {
            lr,
            betas: (self.args.adam_beta1, self.args.adam_beta2),
            eps: self.args.adam_epsilon,
            weight_decay: self.args.weight_decay,
            ..AdamW::default()
        };
        let optimizer = Optimizer::new(params.trainable(), rule)?.no_decay_on_bias_and_norm();
        Ok(match self.args.max_grad_norm {
            0. => optimizer,
            norm => optimizer.clip(Clip::Norm(norm))?,
        })
    }

    fn fit<T, E, C>(
        &self,
        mode: Mode,
        model: &dyn ModuleT,
        optimizer: Optimizer,
        epochs: Range<usize>,
        train: &DataLoader<T, C>,
        eval: &DataLoader<E, C>,
    ) -> Result<Vec<Epoch>>
    where
        T: Dataset<Item: 'static> + 'static,
        E: Dataset<Item: 'static> + 'static,
        C: Collate<T::Item, Batch = Batch> + Collate<E::Item, Batch = Batch> + 'static,
    {
        let args = self.args;
        let config = TrainerConfig {
            first_epoch: epochs.start,
            epochs: epochs.len(),
            max_steps: args.step_limit(),
            gradient_accumulation_steps: args.gradient_accumulation_steps,
            seed: args.seed,
            ..TrainerConfig::default()
        };
        let smoothed = CrossEntropyOptions {
            label_smoothing: args.label_smoothing_factor,
            ..Default::default()
        };
        // Before the trainer, which borrows it.
        let mut report = self.report.as_ref().map(RefCell::borrow_mut);
        let mut trainer = Trainer::new(model, optimizer, config).device(&self.device);
        let total = trainer.total_steps(train.len())?;
        let schedule = HuggingFace::named(&args.lr_scheduler_type, self.warmup(total), total)?;
        if let Some(path) = &self.log {
            let log = MetricsLog::append(path)?.with("mode", mode.name());
            trainer = trainer.callback(log);
        }
        if let Some(report) = &mut report {
            report.run(mode.name());
            trainer = trainer.callback(&mut **report);
        }
        let history = trainer
            .loss(move |z, y| cross_entropy(z, y, &smoothed, Reduction::None))
            .eval_loss(plain_loss)
            .schedule(schedule)
            .callback(Progress::new(mode.name()))
            .fit(train, eval)?;
        Ok(history)
    }

    fn warmup(&self, total: usize) -> usize {
        let steps = self.args.warmup_steps;
        let steps = if steps < 1. {
            steps * total as f64
        } else {
            steps
        };
        steps.round() as usize
    }
}

fn plain_loss(logits: &Tensor, labels: &Tensor) -> candle_core::Result<Tensor> {
    cross_entropy(logits, labels, &Default::default(), Reduction::None)
}
