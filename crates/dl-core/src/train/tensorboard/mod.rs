//! A run for TensorBoard.

mod event;
mod event_file;
mod histogram;
mod record;

pub use event_file::EventFile;
pub use histogram::Histogram;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::Serialize;

use super::{Callback, Epoch, Evaluated, Flow, Gradients, Plan, Step, TrainError};
use crate::Params;
use crate::dotted::dotted;

/// Writes event files that `tensorboard --logdir FOLDER` shows: losses, metrics and rates, times and
/// memory, the configuration, and histograms of parameters and gradients if asked for.
///
/// | tag | when |
/// |---|---|
/// | `train/loss`, `train/learning_rate`, `train/grad_norm`, `time/step_seconds`, `time/data_seconds` | every so many steps |
/// | `eval/loss`, `eval/accuracy` | every evaluation |
/// | `epoch/train_loss`, `epoch/train_accuracy`, `time/samples_per_second`, `memory/resident_bytes` | every epoch |
/// | `parameters/NAME`, `gradients/NAME` | every so many steps, if asked for |
///
/// A run that goes on from a checkpoint, or begins again with `Resume::IfAny` before it had one, first
/// takes off what lies behind it and begins a new file, so that no step is there twice. One folder is
/// one run.
///
/// ```
/// use dl_core::train::TensorBoard;
/// let folder = std::env::temp_dir().join(format!("tensorboard-{}", std::process::id()));
/// let board = TensorBoard::new(&folder).every(10).text("configuration", &("lr", 0.1))?;
/// // Nothing is written before the run begins.
/// assert!(!folder.exists());
/// # drop(board);
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct TensorBoard {
    folder: PathBuf,
    every: usize,
    texts: Vec<(String, String)>,
    histograms: Option<(Params, usize)>,
    file: Option<EventFile>,
}

impl TensorBoard {
    /// Writes into a folder, which is made when the run begins.
    pub fn new(folder: impl AsRef<Path>) -> Self {
        Self {
            folder: folder.as_ref().to_path_buf(),
            every: 1,
            texts: vec![],
            histograms: None,
            file: None,
        }
    }

    /// Writes the numbers of every so many steps, `≥ 1`. Default every step.
    pub fn every(self, steps: usize) -> Self {
        let every = steps.max(1);
        Self { every, ..self }
    }

    /// Shows a configuration as a table of its fields. Fails on what JSON cannot hold.
    pub fn text(mut self, name: &str, values: &impl Serialize) -> Result<Self, TrainError> {
        let values = crate::checkpoint::Part::values(values)?.values;
        self.texts.push((name.to_string(), table(&dotted(&values))));
        Ok(self)
    }

    /// Adds histograms of the parameters that train and of their gradients, every so many steps, `≥ 1`.
    /// Each costs a pass over them.
    pub fn histograms(self, params: &Params, every: usize) -> Self {
        let histograms = Some((params.clone(), every.max(1)));
        Self { histograms, ..self }
    }

    fn file(&mut self) -> Result<&mut EventFile, TrainError> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(EventFile::create(&self.folder)?)),
        }
    }

    fn draw(
        &mut self,
        kind: &str,
        step: usize,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<(), TrainError> {
        for (name, tensor) in tensors {
            if let Some(histogram) = Histogram::of_tensor(tensor)? {
                let tag = format!("{kind}/{name}");
                self.file()?.histogram(step as u64, &tag, &histogram)?;
            }
        }
        Ok(())
    }

    fn draw_parameters(&mut self, step: usize) -> Result<(), TrainError> {
        let Some((params, _)) = &self.histograms else {
            return Ok(());
        };
        let trainable = params.trainable().into_iter();
        let values = trainable.map(|(name, var)| (name, var.as_detached_tensor()));
        let values = values.collect();
        self.draw("parameters", step, &values)
    }

    fn histograms_after_step(&self, step: usize) -> bool {
        let due = |(_, every): &(Params, usize)| step.is_multiple_of(*every);
        self.histograms.as_ref().is_some_and(due)
    }
}

impl Callback for TensorBoard {
    fn on_train_begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        let done = plan.resumed.unwrap_or(0) as u64;
        if plan.cut_after.is_some() {
            EventFile::cut(&self.folder, plan.resumed.map(|step| step as u64))?;
        }
        let texts = std::mem::take(&mut self.texts);
        let file = self.file()?;
        file.forget_from(done + 1)?;
        if plan.resumed.is_none() {
            for (name, text) in &texts {
                file.text(0, name, text)?;
            }
        }
        self.texts = texts;
        Ok(())
    }

    fn wants_gradients(&self, step: usize) -> bool {
        self.histograms_after_step(step)
    }

    fn on_gradients(&mut self, gradients: &Gradients) -> Result<(), TrainError> {
        self.draw("gradients", gradients.step, &gradients.by_name)
    }

    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        if self.histograms_after_step(step.step) {
            self.draw_parameters(step.step)?;
        }
        if step.step.is_multiple_of(self.every) {
            let mut values = vec![
                ("train/loss".to_string(), step.loss),
                ("train/learning_rate".to_string(), step.lr),
                ("time/step_seconds".to_string(), step.seconds),
                ("time/data_seconds".to_string(), step.data_seconds),
            ];
            values.extend(step.grad_norm.map(|x| ("train/grad_norm".to_string(), x)));
            self.file()?.scalars(step.step as u64, &values)?;
        }
        Ok(Flow::Continue)
    }

    fn on_evaluation(&mut self, found: &Evaluated) -> Result<Flow, TrainError> {
        let name = |name: &String| format!("eval/{}", name.trim_start_matches("eval_"));
        let values = found.metrics.iter().map(|(k, v)| (name(k), *v));
        let values: Vec<_> = values.collect();
        self.file()?.scalars(found.step as u64, &values)?;
        Ok(Flow::Continue)
    }

    fn on_epoch_end(&mut self, epoch: &Epoch) -> Result<Flow, TrainError> {
        let trained = epoch
            .metrics()
            .iter()
            .filter(|(k, _)| k.starts_with("train_"));
        let mut values: Vec<_> = trained.map(|(k, v)| (format!("epoch/{k}"), *v)).collect();
        let measured = [
            (
                "time/samples_per_second",
                Some(epoch.train_samples_per_second),
            ),
            ("time/tokens_per_second", epoch.train_tokens_per_second),
            ("time/train_seconds", Some(epoch.train_seconds)),
            ("time/eval_seconds", Some(epoch.eval_seconds)),
            ("time/checkpoint_seconds", Some(epoch.checkpoint_seconds)),
            (
                "memory/resident_bytes",
                epoch.resident_bytes.map(|n| n as f64),
            ),
        ];
        let measured = measured
            .into_iter()
            .filter_map(|(k, v)| Some((k.to_string(), v?)));
        values.extend(measured);
        self.file()?.scalars(epoch.step as u64, &values)?;
        Ok(Flow::Continue)
    }
}

/// A table in Markdown.
fn table(rows: &[(String, String)]) -> String {
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let rows = rows.iter();
    let rows = rows.map(|(k, v)| format!("| {} | {} |\n", cell(k), cell(v)));
    format!("| name | value |\n|---|---|\n{}", rows.collect::<String>())
}
