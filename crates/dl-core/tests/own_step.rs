//! A step of one's own, with two optimizers against each other, has all that the usual one has.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, ModuleT};
use dl_autograd::{Purpose, Rng, RngScope, Tape, backward, next_rng};
use dl_core::Params;
use dl_core::checkpoint::{Part, Snapshot};
use dl_core::data::{DataError, DataLoader, StackTensors, TensorDataset};
use dl_core::layers::linear;
use dl_core::losses::{Reduction, binary_cross_entropy_with_logits};
use dl_core::metrics::Mean;
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{
    Batch, Callback, CheckpointOptions, CsvLog, EarlyStopping, Epoch, Every, Flow,
    ReduceLrOnPlateau, Resume, Step, StepReport, TrainError, TrainStep, Trainer, TrainerConfig,
    Window,
};
use dl_optim::{Adam, Optimizer, PlateauConfig, Sgd};

/// A generator that shifts and turns noise, and a critic with dropout that tells it from the data.
struct Adversaries {
    generator: Box<dyn Module>,
    critic: Mlp,
    params: [Params; 2],
    optimizers: [Optimizer; 2],
}

const NAMES: [&str; 2] = ["generator", "critic"];

impl Adversaries {
    fn new() -> Self {
        let params = [1, 2].map(|seed| Params::new(seed, &Device::Cpu));
        let generator = linear(2, 2, params[0].vb()).unwrap();
        let network = MlpConfig {
            inputs: 2,
            hidden: vec![8],
            classes: 1,
            dropout: 0.2,
        };
        let critic = Mlp::new(&network, params[1].vb()).unwrap();
        let adam = Optimizer::new(params[0].trainable(), Adam::default()).unwrap();
        let sgd = Sgd {
            momentum: 0.9,
            ..Sgd::default()
        };
        let sgd = Optimizer::new(params[1].trainable(), sgd).unwrap();
        Self {
            generator: Box::new(generator),
            critic,
            params,
            optimizers: [adam, sgd],
        }
    }

    fn made(&self, like: &Tensor) -> candle_core::Result<Tensor> {
        let mut noise = vec![0f32; like.elem_count()];
        next_rng(Purpose::Other(1)).fill_normal(&mut noise);
        let noise = Tensor::from_vec(noise, like.shape(), &Device::Cpu)?;
        self.generator.forward(&noise)
    }

    /// How far the critic is from saying this of all of them.
    fn loss(&self, x: &Tensor, real: bool) -> candle_core::Result<Tensor> {
        let logits = self.critic.forward_t(x, true)?;
        let target = Tensor::full(f32::from(u8::from(real)), logits.shape(), &Device::Cpu)?;
        binary_cross_entropy_with_logits(&logits, &target, &Default::default(), Reduction::Mean)
    }

    fn turn(&mut self, who: usize, loss: &Tensor) -> Result<f64, TrainError> {
        self.optimizers[who].step(&backward(loss)?)?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    }
}

impl TrainStep<Batch> for Adversaries {
    fn step(&mut self, window: &mut Window<'_, Batch>) -> Result<StepReport, TrainError> {
        let (mut losses, mut samples) = ([Mean::new(), Mean::new()], 0);
        for batch in window {
            let (at, (real, _)) = batch?;
            let _streams = RngScope::new(3, at.epoch << 32 | at.batch);
            samples += real.dim(0)?;
            for (who, mean) in losses.iter_mut().enumerate() {
                let _tape = Tape::new();
                let made = self.made(&real)?;
                let loss = match who {
                    0 => self.loss(&made, true)?,
                    _ => (self.loss(&made.detach(), false)? + self.loss(&real, true)?)?,
                };
                mean.update(self.turn(who, &loss)?, 1.);
            }
        }
        let [generator, critic] = losses;
        Ok(StepReport {
            loss: generator.compute(),
            samples,
            lr: self.optimizers[0].lr(),
            metrics: [("critic_loss".to_string(), critic)].into(),
            ..Default::default()
        })
    }

    fn evaluate(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        let _streams = RngScope::new(4, 0);
        let mut distance = Mean::new();
        for batch in batches {
            let (real, _) = batch?;
            let away = (self.made(&real)?.mean(0)? - real.mean(0)?)?
                .sqr()?
                .sum_all()?;
            let away = away.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            distance.update(away.sqrt(), 1.);
        }
        Ok([("distance".to_string(), distance.compute())].into())
    }

    fn scale_lr(&mut self, factor: f64) {
        for optimizer in &mut self.optimizers {
            optimizer.set_lr(optimizer.lr() * factor);
        }
    }

    fn state(&self) -> Result<BTreeMap<String, Part>, TrainError> {
        let mut parts = BTreeMap::new();
        for (i, name) in NAMES.iter().enumerate() {
            parts.insert(name.to_string(), Part::of_params(&self.params[i]));
            let optimizer = Part::of_optimizer(&self.optimizers[i])?;
            parts.insert(format!("{name}.optimizer"), optimizer);
        }
        Ok(parts)
    }

    fn load_state(&mut self, state: &Snapshot) -> Result<(), TrainError> {
        for (i, name) in NAMES.iter().enumerate() {
            state.part(name)?.load_params(name, &self.params[i])?;
            let part = format!("{name}.optimizer");
            state
                .part(&part)?
                .load_optimizer(&part, &mut self.optimizers[i])?;
        }
        Ok(())
    }
}

struct CrashAfter(usize);

impl Callback for CrashAfter {
    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        match step.step == self.0 {
            true => Err(TrainError::NoParams),
            false => Ok(Flow::Continue),
        }
    }
}

fn data() -> DataLoader<TensorDataset, StackTensors> {
    let mut x = vec![0f32; 30 * 2];
    Rng::new(4, Purpose::Other(0), 0).fill_normal(&mut x);
    let x = Tensor::from_vec(x, (30, 2), &Device::Cpu).unwrap();
    let x = (x * 0.5)
        .unwrap()
        .broadcast_add(&Tensor::new(&[2f32, -1.], &Device::Cpu).unwrap());
    let y = Tensor::zeros(30, DType::U32, &Device::Cpu).unwrap();
    let data = TensorDataset::new(x.unwrap(), y).unwrap();
    DataLoader::new(data, StackTensors)
        .batch_size(8)
        .shuffle(true)
}

/// Three epochs of two steps of two batches, logged, with a rate that falls and early stopping.
fn run(folder: &Path, crash_after: usize) -> Result<(Vec<u32>, Vec<Epoch>), TrainError> {
    let config = TrainerConfig {
        epochs: 3,
        gradient_accumulation_steps: 2,
        ..Default::default()
    };
    let options = CheckpointOptions {
        every: Every::Steps(1),
        resume: Resume::IfAny,
        ..CheckpointOptions::new(folder)
    };
    let plateau = PlateauConfig {
        patience: 0,
        threshold: 0.5,
        ..Default::default()
    };
    let mut trainer = Trainer::with_step(Adversaries::new(), config)
        .callback(ReduceLrOnPlateau::new("eval_distance", plateau, 1e-3)?)
        .callback(EarlyStopping::minimize("eval_distance").patience(9))
        .callback(CsvLog::append(folder.join("log.csv"))?)
        .callback(CrashAfter(crash_after))
        .with_checkpoints(options);
    let history = trainer.fit(&data(), &data())?;
    let step = trainer.into_step();
    let all = step.params.iter().flat_map(Params::all);
    let flat = all.map(|(_, v)| v.as_tensor().flatten_all().unwrap());
    let values = flat.flat_map(|t| t.to_vec1::<f32>().unwrap());
    Ok((values.map(f32::to_bits).collect(), history))
}

fn metrics(history: &[Epoch]) -> Vec<(&BTreeMap<String, f64>, f64)> {
    let all = history.iter();
    all.map(|epoch| (epoch.metrics(), epoch.learning_rate))
        .collect()
}

#[test]
fn two_optimizers_against_each_other_are_gone_on_from_bit_for_bit_at_every_step() {
    let whole = tempfile::tempdir().unwrap();
    let (weights, history) = run(whole.path(), usize::MAX).unwrap();
    assert_eq!((history.len(), history[2].step), (3, 6));
    for name in ["train_loss", "train_critic_loss", "eval_distance"] {
        assert!(history[2].metric(name).unwrap().is_finite(), "{name}");
    }
    // The plateau's callback has reached both.
    assert!(history[2].learning_rate < history[0].learning_rate);
    for crash_after in 1..=6 {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(folder.path(), crash_after).is_err());
        let (same, again) = run(folder.path(), usize::MAX).unwrap();
        assert_eq!(same, weights, "after {crash_after}");
        assert_eq!(metrics(&again), metrics(&history), "after {crash_after}");
        let log = |folder: &Path| std::fs::read_to_string(folder.join("log.csv")).unwrap();
        let lines = [folder.path(), whole.path()].map(|folder| log(folder).lines().count());
        assert_eq!(lines, [4, 4], "after {crash_after}");
    }
}
