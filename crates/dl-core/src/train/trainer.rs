//! The loop over epochs and steps.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use candle_core::{Device, Result as CandleResult, Tensor};
use candle_nn::{ModuleT, VarBuilder};
use dl_optim::{Ema, Optimizer, Schedule, Swa};

use super::averages::{Averages, SwaWeights};
use super::batch_source::{BatchSource, Feed};
use super::objective::Objective;
use super::state::State;
use super::{
    BatchSizeFinder, Callback, CheckpointOptions, Epoch, Evaluated, Flow, FoundBatchSize,
    Gradients, Plan, Resume, Step, StepReport, Supervised, SwaOptions, TrainError, TrainStep,
    TrainerConfig,
};
use crate::Params;
use crate::checkpoint::{CheckpointError, Checkpoints, Part, Snapshot, Values, Writer};
use crate::data::{DataError, Position};
use crate::losses::MultiTaskLoss;
use crate::metrics::Mean;

/// Inputs and targets.
pub type Batch = (Tensor, Tensor);

/// The loss of each sample: (outputs, targets) → `(n,)`.
pub type Loss<'a> = dyn Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + 'a;

/// The epochs of a run, in order.
pub type History = Vec<Epoch>;

/// The part of a checkpoint that is the loop's own.
const LOOP: &str = "loop";

/// The part that says how the run was configured.
const CONFIG: &str = "config";

/// Trains: steps over a loader, evaluations, callbacks, checkpoints, resumption.
///
/// A run that is killed and resumed from its checkpoint is the same run, bit for bit: weights,
/// metrics, what callbacks remember. Only times differ.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{DataLoader, StackTensors, TensorDataset};
/// use dl_core::{Params, models::{Mlp, MlpConfig}, train::{Trainer, TrainerConfig}};
/// use dl_optim::{Adam, Optimizer};
/// let params = Params::new(0, &Device::Cpu);
/// let config = MlpConfig { inputs: 2, hidden: vec![8], classes: 2, dropout: 0. };
/// let model = Mlp::new(&config, params.vb())?;
/// let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
/// let loader = DataLoader::new(TensorDataset::new(x, y)?, StackTensors).batch_size(4);
/// let optimizer = Optimizer::new(params.trainable(), Adam { lr: 0.05, ..Adam::default() })?;
/// let config = TrainerConfig { epochs: 150, ..Default::default() };
/// let history = Trainer::new(&model, optimizer, config).fit(&loader, &loader)?;
/// assert_eq!(history[149].metric("eval_accuracy")?, 1.);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Trainer<'a, S = Supervised<'a>> {
    step: S,
    callbacks: Vec<Box<dyn Callback + 'a>>,
    config: TrainerConfig,
    checkpoints: Option<CheckpointOptions>,
}

impl<'a> Trainer<'a> {
    /// A trainer with cross-entropy, accuracy, a constant rate and no callbacks, on the CPU.
    pub fn new(model: &'a dyn ModuleT, optimizer: Optimizer, config: TrainerConfig) -> Self {
        let optimizer = optimizer.non_finite(config.non_finite);
        let mut step = Supervised::new(model, optimizer, config.seed);
        step.non_finite = config.non_finite;
        step.loss_scaler = config.scaler();
        step.mixed_precision = config.mixed_precision;
        Self::with_step(step, config)
    }

    /// The device that batches are moved to: the model's. Default the CPU.
    pub fn device(mut self, device: &Device) -> Self {
        self.step.device = device.clone();
        self
    }

    /// Multiplies the optimizer's rate, step by step. Default constant.
    pub fn schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.step.schedule = Box::new(schedule);
        self
    }

    /// The loss of each sample. Default cross-entropy of logits and classes.
    pub fn loss(mut self, loss: impl Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + 'a) -> Self {
        self.step.objective = Objective::One(Box::new(loss));
        self
    }

    /// Several losses with weights, of which each is a metric `loss_NAME` as well.
    pub fn multi_task_loss(mut self, loss: MultiTaskLoss<'a>) -> Self {
        self.step.objective = Objective::Tasks(loss);
        self
    }

    /// The loss that evaluations report. Default the training loss.
    pub fn eval_loss(
        mut self,
        loss: impl Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + 'a,
    ) -> Self {
        self.step.eval_objective = Some(Objective::One(Box::new(loss)));
        self
    }

    /// Adds what is averaged over training epochs and evaluations besides the loss.
    pub fn metric(
        mut self,
        name: impl Into<String>,
        metric: impl Fn(&Tensor, &Tensor) -> CandleResult<Mean> + 'a,
    ) -> Self {
        self.step.metrics.push((name.into(), Box::new(metric)));
        self
    }

    /// Takes all metrics away, `accuracy` among them: for what is not a classification.
    pub fn no_metrics(mut self) -> Self {
        self.step.metrics.clear();
        self
    }

    /// Keeps a running average of the weights, with which evaluations run.
    pub fn ema(mut self, ema: Ema) -> Self {
        self.step.averages = Some(Averages::Ema(ema));
        self
    }

    /// Averages the weights at the ends of epochs, in place of [`Trainer::ema`]; evaluations run with
    /// the averages, once there are any, and with running statistics of batch norms that were computed
    /// for them in a pass over the training batches of the epoch. `params` are the model's.
    pub fn swa(mut self, swa: Swa, params: &Params, options: SwaOptions) -> Self {
        self.step.averages = Some(Averages::Swa(SwaWeights {
            swa,
            params: params.clone(),
            options,
            statistics: BTreeMap::new(),
        }));
        self
    }

    /// The model's parameters, frozen ones and buffers included: what its state consists of.
    pub fn params(mut self, params: &Params) -> Self {
        self.step.params = Some(params.clone());
        self
    }

    /// How to build the model again when a callback such as [`Freezing`](super::Freezing) has changed
    /// which parameters train. Nothing is copied: the weights stay where they are.
    pub fn rebuild<M: ModuleT + 'a>(
        mut self,
        params: &Params,
        build: impl Fn(VarBuilder<'static>) -> CandleResult<M> + 'a,
    ) -> Self {
        let build = move |vb: VarBuilder<'static>| -> CandleResult<Box<dyn ModuleT + 'a>> {
            Ok(Box::new(build(vb)?))
        };
        self.step.builder = Some((params.clone(), Box::new(build)));
        self
    }

    /// Writes checkpoints and goes on from one. `params` are the model's, frozen ones and buffers
    /// included.
    pub fn checkpoints(self, params: &Params, options: CheckpointOptions) -> Self {
        self.params(params).with_checkpoints(options)
    }
}

impl<'a, S> Trainer<'a, S> {
    /// A trainer of one's own step.
    pub fn with_step(step: S, config: TrainerConfig) -> Self {
        Self {
            step,
            callbacks: vec![],
            config,
            checkpoints: None,
        }
    }

    /// Writes checkpoints of a step of one's own and goes on from one.
    pub fn with_checkpoints(mut self, options: CheckpointOptions) -> Self {
        self.checkpoints = Some(options);
        self
    }

    /// Adds a listener; they are called in the order in which they were added.
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// The largest batch whose steps fit into memory, the first ones of `loader`'s first epoch with the
    /// size it is given. What the steps change is put back.
    pub fn find_batch_size<B, L: BatchSource<B>>(
        &mut self,
        finder: &BatchSizeFinder,
        loader: impl Fn(usize) -> L,
    ) -> Result<FoundBatchSize, TrainError>
    where
        S: TrainStep<B>,
    {
        let parts = self.step.state()?;
        let before = Snapshot {
            parts,
            ..Default::default()
        };
        let before = before.copied()?;
        let found = finder.search(|size| {
            let source = loader(size);
            let stream = source.batches(Position::default())?;
            let at = Position::default();
            let mut window = stream.take(1).map(|batch| Ok((at, batch?)));
            Ok(self.step.step(&mut window)?.samples)
        });
        self.step.load_state(&before)?;
        found
    }

    /// The step, such as to read from it what it has learned.
    pub fn into_step(self) -> S {
        self.step
    }

    /// Optimizer steps of the whole run, for a loader of so many batches.
    pub fn total_steps(&self, batches: usize) -> Result<usize, TrainError> {
        let config = &self.config;
        config.validate()?;
        let batches = config.train_limit().map_or(batches, |n| n.min(batches));
        if batches == 0 {
            return Err(TrainError::NoBatches { split: "training" });
        }
        let steps = batches.div_ceil(config.gradient_accumulation_steps) * config.epochs;
        Ok(config.max_steps.map_or(steps, |max| max.min(steps)))
    }

    /// As [`Trainer::total_steps`], for a source that may not know its batches: then `max_steps` or
    /// `limit_train_batches` must end the run.
    fn planned_steps(&self, batches: Option<usize>) -> Result<usize, TrainError> {
        match (batches.or(self.config.train_limit()), self.config.max_steps) {
            (Some(batches), _) => self.total_steps(batches),
            (None, Some(max_steps)) => self.config.validate().map(|()| max_steps),
            (None, None) => Err(TrainError::UnknownLength),
        }
    }

    /// Trains on `train`, evaluating on `eval`.
    ///
    /// A stream that does not know its length needs `max_steps` or `limit_train_batches` for the plan; it
    /// may end sooner.
    pub fn fit<B>(
        &mut self,
        train: &dyn BatchSource<B>,
        eval: &dyn BatchSource<B>,
    ) -> Result<History, TrainError>
    where
        S: TrainStep<B>,
    {
        let total_steps = self.planned_steps(train.len())?;
        if eval.is_empty() {
            let split = "evaluation";
            return Err(TrainError::NoBatches { split });
        }
        let writer = self.open_checkpoints()?;
        let mut run = Run {
            trainer: self,
            train,
            eval,
            writer,
            total_steps,
            state: State::default(),
        };
        let ended = run.all();
        if let Err(error) = &ended {
            let callbacks = run.trainer.callbacks.iter_mut();
            callbacks.for_each(|callback| callback.on_error(error));
        }
        ended
    }

    fn open_checkpoints(&self) -> Result<Option<Writer>, TrainError> {
        let Some(options) = &self.checkpoints else {
            return Ok(None);
        };
        options.validate()?;
        let checkpoints = Checkpoints::create(&options.folder, options.keep.clone())?;
        if options.resume == Resume::Never && !checkpoints.list()?.is_empty() {
            return Err(TrainError::FolderInUse {
                folder: options.folder.clone(),
            });
        }
        Ok(Some(Writer::new(checkpoints)))
    }
}

/// A run of [`Trainer::fit`].
struct Run<'t, 'a, S, B> {
    trainer: &'t mut Trainer<'a, S>,
    train: &'t dyn BatchSource<B>,
    eval: &'t dyn BatchSource<B>,
    writer: Option<Writer>,
    total_steps: usize,
    state: State,
}

impl<B, S: TrainStep<B>> Run<'_, '_, S, B> {
    fn all(&mut self) -> Result<History, TrainError> {
        self.begin()?;
        self.all_epochs()?;
        self.end()
    }

    fn begin(&mut self) -> Result<(), TrainError> {
        self.state.position.epoch = self.trainer.config.first_epoch as u64;
        let resumed = self.resume()?;
        if resumed.is_none() && self.trainer.config.sanity_eval_batches > 0 {
            self.found(Some(self.trainer.config.sanity_eval_batches))?;
        }
        let plan = Plan {
            epochs: self.last_epoch() as usize,
            total_steps: self.total_steps,
            trainable: self.trainer.step.trainable(),
            resumed,
            cut_after: resumed.or(self.restarts().then_some(0)),
        };
        let mut callbacks = self.trainer.callbacks.iter_mut();
        callbacks.try_for_each(|callback| callback.on_train_begin(&plan))
    }

    /// Whether the run would go on from a checkpoint if there were one.
    fn restarts(&self) -> bool {
        let options = self.trainer.checkpoints.as_ref();
        options.is_some_and(|options| options.resume == Resume::IfAny)
    }

    fn all_epochs(&mut self) -> Result<(), TrainError> {
        while !self.complete() {
            let epoch = self.state.position.epoch as usize + 1;
            match self.tell(|callback| callback.on_epoch_begin(epoch))? {
                Flow::Interrupt => return Err(self.interrupted()?),
                Flow::Stop => {
                    self.state.stopped = true;
                    self.checkpoint()?;
                }
                _ => {
                    let flow = self.steps()?;
                    self.end_epoch(flow)?;
                }
            }
        }
        Ok(())
    }

    fn complete(&self) -> bool {
        let State { position, step, .. } = &self.state;
        // In mid-epoch the evaluation at its end is still to come.
        let limit = position.batch == 0 && self.limit_reached(*step);
        self.state.stopped || position.epoch >= self.last_epoch() || limit
    }

    fn last_epoch(&self) -> u64 {
        (self.trainer.config.first_epoch + self.trainer.config.epochs) as u64
    }

    fn limit_reached(&self, step: usize) -> bool {
        self.trainer.config.max_steps.is_some_and(|max| step >= max)
    }

    /// The steps of an epoch, from where it stands.
    fn steps(&mut self) -> Result<Flow, TrainError> {
        let begun = Instant::now();
        let stream = self.train.batches(self.in_data(self.state.position))?;
        let mut feed = Feed::new(stream, self.trainer.config.train_limit());
        let seconds = begun.elapsed().as_secs_f64();
        self.state.totals.seconds += seconds;
        self.state.totals.data_seconds += seconds;
        if self.state.position.batch == 0 && !feed.has_next() {
            // Only a stream can turn out to be empty.
            let split = "training";
            return Err(TrainError::NoBatches { split });
        }
        let mut flow = Flow::Continue;
        while flow == Flow::Continue && !self.epoch_is_over(&mut feed) {
            flow = self.one_step(&mut feed)?;
            if flow == Flow::Interrupt && !self.epoch_is_over(&mut feed) {
                return Err(self.interrupted()?);
            }
        }
        Ok(flow)
    }

    /// A place of the run in the data: with `overfit_batches` every epoch is the first one.
    fn in_data(&self, position: Position) -> Position {
        match self.trainer.config.overfit_batches {
            Some(_) => Position {
                epoch: 0,
                ..position
            },
            None => position,
        }
    }

    /// Adds to a loss that is not finite which items its batch was made of.
    fn with_items(&self, mut error: TrainError) -> TrainError {
        if let TrainError::NonFiniteLoss { batch, items, .. } = &mut error {
            let at = Position {
                batch: *batch as u64,
                ..self.state.position
            };
            // A failure of its own must not hide the error that matters.
            *items = self.train.indices(self.in_data(at)).unwrap_or_default();
        }
        error
    }

    fn one_step(&mut self, feed: &mut Feed<'_, B>) -> Result<Flow, TrainError> {
        let (report, step) = self.train(feed)?;
        self.state.totals.add(&report);
        self.tell_gradients(report, &step)?;
        let mut flow = self.tell(|callback| callback.on_step_end(&step))?;
        if self.trainer.config.eval_every.after_step(self.state.step) {
            flow = stronger(flow, self.evaluate()?);
        }
        let due = |options: &CheckpointOptions| options.every.after_step(self.state.step);
        let due = self.trainer.checkpoints.as_ref().is_some_and(due);
        if due && flow == Flow::Continue && !self.epoch_is_over(feed) {
            self.checkpoint()?;
        }
        Ok(flow)
    }

    /// Whether the step was the last of its epoch. Then no checkpoint is written before the epoch is
    /// over, so that what was logged up to the step of a checkpoint never comes again.
    fn epoch_is_over(&self, feed: &mut Feed<'_, B>) -> bool {
        self.limit_reached(self.state.step) || !feed.has_next()
    }

    /// One step, timed.
    fn train(&mut self, feed: &mut Feed<'_, B>) -> Result<(StepReport, Step), TrainError> {
        let begun = Instant::now();
        let (step, epoch) = (self.state.step + 1, self.state.position.epoch);
        let mut callbacks = self.trainer.callbacks.iter();
        let wanted = callbacks.any(|callback| callback.wants_gradients(step));
        self.trainer.step.keep_gradients(wanted);
        let ahead = feed.take_waited();
        let batches = self.trainer.config.gradient_accumulation_steps;
        let mut window = feed.by_ref().take(batches).map(|batch| {
            let (at, batch) = batch?;
            Ok((Position { epoch, ..at }, batch))
        });
        let report = self.trainer.step.step(&mut window);
        let report = report.map_err(|error| self.with_items(error))?;
        self.state.step = step;
        self.state.position.batch = feed.next_position().batch;
        let step = Step {
            epoch: epoch as usize + 1,
            step,
            loss: report.loss,
            lr: report.lr,
            samples: report.samples,
            tokens: report.tokens,
            grad_norm: report.grad_norm,
            skipped: report.skipped,
            seconds: (ahead + begun.elapsed()).as_secs_f64(),
            data_seconds: (ahead + feed.take_waited()).as_secs_f64(),
        };
        self.state.totals.seconds += step.seconds;
        self.state.totals.data_seconds += step.data_seconds;
        Ok((report, step))
    }

    fn tell_gradients(&mut self, report: StepReport, step: &Step) -> Result<(), TrainError> {
        if report.gradients.is_empty() {
            return Ok(());
        }
        let gradients = Gradients {
            epoch: step.epoch,
            step: step.step,
            by_name: report.gradients,
        };
        let mut callbacks = self.trainer.callbacks.iter_mut();
        callbacks.try_for_each(|callback| match callback.wants_gradients(step.step) {
            true => callback.on_gradients(&gradients),
            false => Ok(()),
        })
    }

    fn end_epoch(&mut self, flow: Flow) -> Result<(), TrainError> {
        let epochs = self.state.position.epoch as usize + 1 - self.trainer.config.first_epoch;
        let ends = flow == Flow::Stop
            || self.state.position.epoch + 1 >= self.last_epoch()
            || self.limit_reached(self.state.step);
        let due = ends || self.trainer.config.eval_every.after_epoch(epochs);
        self.end_training()?;
        let (mut flow, mut found) = (flow, None);
        if due {
            if self.state.evaluated_step != Some(self.state.step) {
                flow = stronger(flow, self.evaluate()?);
            }
            found = Some(self.state.evaluated.0.clone());
        }
        let epoch = self.state.end_epoch(found);
        flow = stronger(flow, self.tell(|callback| callback.on_epoch_end(&epoch))?);
        self.state.stopped = flow == Flow::Stop;
        if flow == Flow::Interrupt {
            return Err(self.interrupted()?);
        }
        let step = self.state.step;
        let due = |options: &CheckpointOptions| {
            options.every.after_epoch(epochs) || options.every.after_step(step)
        };
        if self.complete() || self.trainer.checkpoints.as_ref().is_some_and(due) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Lets the step finish an epoch's training.
    fn end_training(&mut self) -> Result<(), TrainError> {
        let first = Position {
            batch: 0,
            ..self.in_data(self.state.position)
        };
        let begun = Instant::now();
        let (train, limit) = (self.train, self.trainer.config.train_limit());
        let read = |()| match train.batches(first) {
            Ok(stream) => stream as Box<dyn Iterator<Item = Result<B, DataError>> + '_>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        // Opened when it is asked for.
        let batches = std::iter::once(()).flat_map(read);
        let mut batches = batches.take(limit.unwrap_or(usize::MAX));
        let epoch = self.state.position.epoch as usize + 1;
        let ended = self.trainer.step.end_epoch(epoch, &mut batches);
        self.state.totals.eval_seconds += begun.elapsed().as_secs_f64();
        ended
    }

    fn end(&mut self) -> Result<History, TrainError> {
        self.finish_writing()?;
        let mut callbacks = self.trainer.callbacks.iter_mut();
        callbacks.try_for_each(|callback| callback.on_train_end())?;
        Ok(std::mem::take(&mut self.state.history))
    }

    fn evaluate(&mut self) -> Result<Flow, TrainError> {
        let begun = Instant::now();
        let mut callbacks = self.trainer.callbacks.iter();
        let wanted = callbacks.any(|callback| callback.wants_confusion());
        self.trainer.step.keep_confusion(wanted);
        let found = self.found(self.trainer.config.limit_eval_batches)?;
        self.state.totals.eval_seconds += begun.elapsed().as_secs_f64();
        let metrics: BTreeMap<_, _> = found
            .into_iter()
            .map(|(name, value)| (format!("eval_{name}"), value))
            .collect();
        self.state.evaluated = Values(metrics.clone());
        self.state.evaluated_step = Some(self.state.step);
        let evaluated = Evaluated {
            epoch: self.state.position.epoch as usize + 1,
            step: self.state.step,
            metrics,
            confusion: self.trainer.step.take_confusion(),
        };
        self.tell(|callback| callback.on_evaluation(&evaluated))
    }

    fn found(&mut self, limit: Option<usize>) -> Result<BTreeMap<String, f64>, TrainError> {
        let batches = self.eval.batches(Position::default())?;
        let mut batches = batches.take(limit.unwrap_or(usize::MAX));
        self.trainer.step.evaluate(&mut batches)
    }

    /// Every callback hears, also when an earlier one has said stop.
    fn tell(
        &mut self,
        mut event: impl FnMut(&mut dyn Callback) -> Result<Flow, TrainError>,
    ) -> Result<Flow, TrainError> {
        let mut answer = Flow::Continue;
        for callback in &mut self.trainer.callbacks {
            match event(callback.as_mut())? {
                Flow::ScaleLr(factor) => self.trainer.step.scale_lr(factor),
                Flow::Rebuild => self.trainer.step.rebuild()?,
                flow => answer = stronger(answer, flow),
            }
        }
        Ok(answer)
    }

    fn snapshot(&self) -> Result<Snapshot, TrainError> {
        let mut parts = self.trainer.step.state()?;
        let mut own = vec![
            (LOOP.to_string(), Part::values(&self.state)?),
            // To look at: a run goes on with what it is told.
            (CONFIG.to_string(), Part::values(&self.trainer.config)?),
        ];
        for callback in &self.trainer.callbacks {
            own.extend(callback.state()?);
        }
        for (name, part) in own {
            if parts.insert(name.clone(), part).is_some() {
                return Err(TrainError::DuplicateState { name });
            }
        }
        Ok(Snapshot {
            step: self.state.step,
            metrics: self.state.evaluated.0.clone(),
            parts,
        })
    }

    fn checkpoint(&mut self) -> Result<(), TrainError> {
        if self.writer.is_none() {
            return Ok(());
        }
        let begun = Instant::now();
        let snapshot = self.snapshot()?;
        let before = match &mut self.writer {
            Some(writer) => writer.save(&snapshot)?,
            None => None,
        };
        self.state.totals.checkpoint_seconds += begun.elapsed().as_secs_f64();
        self.announce(before).map(drop)
    }

    fn finish_writing(&mut self) -> Result<Option<PathBuf>, TrainError> {
        let written = match &mut self.writer {
            Some(writer) => writer.finish()?,
            None => None,
        };
        self.announce(written)
    }

    fn announce(&mut self, written: Option<PathBuf>) -> Result<Option<PathBuf>, TrainError> {
        if let Some(path) = &written {
            let mut callbacks = self.trainer.callbacks.iter_mut();
            callbacks.try_for_each(|callback| callback.on_checkpoint(path))?;
        }
        Ok(written)
    }

    /// What to end with when a callback has asked for an end at once.
    fn interrupted(&mut self) -> Result<TrainError, TrainError> {
        self.checkpoint()?;
        Ok(TrainError::Interrupted {
            step: self.state.step,
            checkpoint: self.finish_writing()?,
        })
    }

    /// Loads what the options ask for and gives its step.
    fn resume(&mut self) -> Result<Option<usize>, TrainError> {
        let Some(options) = &self.trainer.checkpoints else {
            return Ok(None);
        };
        let Some(snapshot) = snapshot_to_resume(options)? else {
            return Ok(None);
        };
        self.trainer.step.load_state(&snapshot)?;
        self.state = snapshot.part(LOOP)?.read(LOOP)?;
        for callback in &mut self.trainer.callbacks {
            if let Some((name, _)) = callback.state()? {
                callback.load_state(snapshot.part(&name)?)?;
            }
        }
        Ok(Some(self.state.step))
    }
}

fn snapshot_to_resume(options: &CheckpointOptions) -> Result<Option<Snapshot>, TrainError> {
    let checkpoints = Checkpoints::create(&options.folder, options.keep.clone())?;
    let (_, snapshot) = match (&options.resume, &options.keep.best) {
        (Resume::Never, _) => return Ok(None),
        (Resume::IfAny, _) if checkpoints.list()?.is_empty() => return Ok(None),
        (Resume::IfAny | Resume::Latest, _) => checkpoints.latest()?,
        (Resume::Path(path), _) => Checkpoints::load(path)?,
        (Resume::Best, Some((metric, goal))) => checkpoints.best(metric, *goal)?,
        (Resume::Best, None) => {
            return Err(CheckpointError::NoMetric {
                folder: options.folder.clone(),
                metric: "keep.best".to_string(),
            }
            .into());
        }
    };
    Ok(Some(snapshot))
}

/// The answer that ends the run sooner.
fn stronger(a: Flow, b: Flow) -> Flow {
    let rank = |flow| match flow {
        Flow::Continue | Flow::ScaleLr(_) | Flow::Rebuild => 0,
        Flow::Stop => 1,
        Flow::Interrupt => 2,
    };
    if rank(b) > rank(a) { b } else { a }
}
