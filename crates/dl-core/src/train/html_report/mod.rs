//! A run as one HTML file.

mod page;
mod pictures;
mod run;
mod sample_card;
mod utc;

pub use sample_card::Shown;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{
    Callback, Epoch, Evaluated, Evaluation, Flow, Plan, Prediction, Step, TrainError, Worst,
};
use crate::checkpoint::{Manifest, Part, Saved};
use crate::data::DataError;
use crate::dotted::dotted;
use crate::metrics::ConfusionMatrix;
use run::Run;
use sample_card::{SampleCard, View};

/// Writes `report.html`: curves by step and epoch, evaluations with their confusion matrix, the scores
/// of each class and, of those at the end, the worst samples, the configuration, times, checkpoints and versions.
///
/// The file needs nothing beside it: no script, style, font or picture comes from elsewhere, and its
/// own policy forbids it. It follows the reader's light or dark theme, and all names and texts are
/// escaped. It is replaced in one step: when training begins, after epochs and evaluations (at most
/// every 10 seconds), and at the end, also of a run that is interrupted or fails. A page that cannot be
/// written ends the run when training begins or ends, and is a warning in between. What it has drawn
/// is part of the checkpoint. However long the run, a curve has at most 1,000 points: means of
/// neighbours.
///
/// As a callback it draws the training, with the latest evaluation of a classifier of up to 100 classes.
/// What [`Evaluator`](super::Evaluator) finds is added afterwards, in place of that evaluation:
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::data::{DataLoader, StackTensors, TensorDataset};
/// use dl_core::models::{Mlp, MlpConfig};
/// use dl_core::train::{Evaluator, HtmlReport, Shown, Trainer, TrainerConfig, Worst};
/// use dl_core::Params;
/// use dl_optim::{Adam, Optimizer};
/// let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &Device::Cpu)?;
/// let y = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu)?;
/// let data = DataLoader::new(TensorDataset::new(x, y)?, StackTensors).batch_size(2);
/// let params = Params::new(0, &Device::Cpu);
/// let network = MlpConfig { inputs: 2, hidden: vec![8], classes: 2, dropout: 0. };
/// let model = Mlp::new(&network, params.vb())?;
/// let optimizer = Optimizer::new(params.trainable(), Adam::default())?;
///
/// let path = std::env::temp_dir().join(format!("report-{}.html", std::process::id()));
/// let mut report = HtmlReport::new(&path, "exclusive or")
///     .class_names(&["equal", "different"])
///     .configuration(&network)?;
/// Trainer::new(&model, optimizer, TrainerConfig::default())
///     .callback(&mut report)
///     .fit(&data, &data)?;
/// let mut worst = Worst::new(12);
/// let found = Evaluator::new(&model).predict(&data, |sample| {
///     worst.see(sample);
///     Ok(())
/// })?;
/// report.evaluation("all four", &found);
/// report.worst("all four", &worst, |sample| Ok(Shown::Text(sample.name.clone())));
/// report.write()?;
/// assert_eq!(std::fs::read_to_string(&path)?.matches("<!DOCTYPE html>").count(), 1);
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HtmlReport {
    path: PathBuf,
    title: String,
    class_names: Vec<String>,
    configuration: Vec<(String, String)>,
    versions: Vec<(String, String)>,
    drawn: Drawn,
    sets: Vec<Set>,
    checkpoints: Vec<Saved>,
    status: Status,
    /// Whether a training that is over is not all that the report is about.
    open_ended: bool,
    written: Option<Instant>,
}

/// What a checkpoint remembers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Drawn {
    runs: Vec<Run>,
    /// The run that is heard now.
    current: usize,
}

/// A data set that the model was evaluated on.
#[derive(Clone, Debug)]
struct Set {
    name: String,
    found: Evaluation,
    worst: Vec<SampleCard>,
}

#[derive(Clone, Debug, PartialEq)]
enum Status {
    Running,
    Finished,
    /// Why it was broken off.
    Broken(String),
}

/// Between two writings while the run goes on.
const PAUSE: Duration = Duration::from_secs(10);

/// The version of candle that the workspace pins; a test compares it with the lock file.
const CANDLE: &str = "0.11.1";

impl HtmlReport {
    /// A report that will be at `path`; its folder must exist when it is written.
    pub fn new(path: impl AsRef<Path>, title: impl Into<String>) -> Self {
        Self {
            path: path.as_ref().to_path_buf(),
            title: title.into(),
            class_names: vec![],
            configuration: vec![],
            versions: versions(),
            drawn: Drawn::default(),
            sets: vec![],
            checkpoints: vec![],
            status: Status::Running,
            open_ended: false,
            written: None,
        }
    }

    /// Names the classes by label. Default their numbers.
    pub fn class_names<S: AsRef<str>>(mut self, names: &[S]) -> Self {
        self.class_names = names.iter().map(|name| name.as_ref().to_string()).collect();
        self
    }

    /// Shows a configuration as a table of its fields, below those that were given before. Fails on
    /// what JSON cannot hold.
    pub fn configuration(mut self, values: &impl Serialize) -> Result<Self, TrainError> {
        let values = Part::values(values)?.values;
        self.configuration.extend(dotted(&values));
        Ok(self)
    }

    /// Adds the version of something that the run depends on, such as of the data.
    pub fn version(mut self, name: impl Into<String>, version: impl ToString) -> Self {
        self.versions.push((name.into(), version.to_string()));
        self
    }

    /// Says `running` until [`HtmlReport::finish`], also when a training is over: for a program that goes
    /// on with another one, or with results to write. Default `finished` after each training.
    pub fn open_ended(mut self) -> Self {
        self.open_ended = true;
        self
    }

    /// Draws what comes as a training of this name, beside the others; fits under one name follow
    /// each other. Default one without a name.
    pub fn run(&mut self, name: &str) {
        let runs = &mut self.drawn.runs;
        let place = runs.iter().position(|run| run.name == name);
        self.drawn.current = place.unwrap_or_else(|| {
            runs.push(Run::new(name, now()));
            runs.len() - 1
        });
    }

    /// Shows what an evaluation found on the data set of this name, in place of what was shown of it.
    pub fn evaluation(&mut self, set: &str, found: &Evaluation) {
        let shown = Set {
            name: set.to_string(),
            found: found.clone(),
            worst: vec![],
        };
        match self.sets.iter_mut().find(|known| known.name == set) {
            Some(known) => *known = shown,
            None => self.sets.push(shown),
        }
    }

    /// Shows the worst samples of a data set that [`HtmlReport::evaluation`] was told of; `show` is
    /// asked for each, and what it cannot read is said in the sample's place.
    pub fn worst(
        &mut self,
        set: &str,
        worst: &Worst,
        mut show: impl FnMut(&Prediction) -> Result<Shown, DataError>,
    ) {
        let card = |prediction: &Prediction| SampleCard {
            view: View::of(show(prediction)),
            prediction: prediction.clone(),
        };
        if let Some(set) = self.sets.iter_mut().find(|known| known.name == set) {
            set.worst = worst.kept().iter().map(card).collect();
        }
    }

    /// The page as it stands. Fails where a picture cannot be drawn.
    pub fn html(&self) -> Result<String, TrainError> {
        let mut html = page::page(self, now())?.into_string();
        // HTML has no place for other control characters, not even escaped.
        html.retain(|c| c == '\n' || c == '\t' || !c.is_control());
        Ok(html)
    }

    /// Puts the page in its place.
    pub fn write(&mut self) -> Result<(), TrainError> {
        let html = self.html()?;
        let path = &self.path;
        dl_files::replace(path, html.as_bytes()).map_err(|reason| TrainError::Write {
            path: path.clone(),
            reason,
        })?;
        self.written = Some(Instant::now());
        Ok(())
    }

    /// Says that all is finished, and puts the page in its place.
    pub fn finish(&mut self) -> Result<(), TrainError> {
        self.status = Status::Finished;
        self.write()
    }

    /// Says that the run was broken off and why, such as by a failure behind the training. A page that was
    /// never written stays unwritten, and one that cannot be is a warning: the failure is what matters.
    pub fn broken_off(&mut self, reason: impl ToString) {
        self.status = Status::Broken(reason.to_string());
        // A run that did not even begin must not take the place of an earlier report.
        if self.written.is_some() {
            self.write_or_warn();
        }
    }

    /// While the run goes on: a page that cannot be written now can be later, and is no reason to end
    /// a training.
    fn write_now_and_then(&mut self) {
        if self
            .written
            .is_none_or(|written| written.elapsed() >= PAUSE)
        {
            self.written = Some(Instant::now());
            self.write_or_warn();
        }
    }

    fn write_or_warn(&mut self) {
        if let Err(error) = self.write() {
            tracing::warn!("{error}");
        }
    }

    fn current(&mut self) -> &mut Run {
        let Drawn { runs, current } = &mut self.drawn;
        if runs.is_empty() {
            runs.push(Run::new("", now()));
        }
        let last = runs.len() - 1;
        &mut runs[(*current).min(last)]
    }

    fn class(&self, class: usize) -> String {
        let name = self.class_names.get(class);
        name.cloned().unwrap_or_else(|| class.to_string())
    }

    /// A name for every class of a matrix.
    fn classes(&self, confusion: &ConfusionMatrix) -> Vec<String> {
        (0..confusion.classes())
            .map(|class| self.class(class))
            .collect()
    }
}

fn versions() -> Vec<(String, String)> {
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let threads = rayon::current_num_threads();
    [
        ("dl-core", env!("CARGO_PKG_VERSION").to_string()),
        ("candle", CANDLE.to_string()),
        ("system", format!("{os} on {arch}, {threads} threads")),
    ]
    .map(|(name, version)| (name.to_string(), version))
    .to_vec()
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The checkpoints that are there now, beside the one that was just written.
fn checkpoints_beside(path: &Path) -> Vec<Saved> {
    let folder = path.parent().map(std::fs::read_dir);
    let entries = folder.into_iter().flatten().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    // One that is being written has another name and no manifest yet.
    let saved = paths.filter_map(|path| {
        let manifest = Manifest::read(&path).ok()?;
        let hidden = path.file_name()?.as_encoded_bytes().starts_with(b".");
        (!hidden).then_some(Saved { path, manifest })
    });
    let mut saved: Vec<_> = saved.collect();
    saved.sort_by_key(|saved| saved.manifest.step);
    saved
}

impl Callback for HtmlReport {
    fn on_train_begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        self.status = Status::Running;
        self.current().begin(plan);
        self.write()
    }

    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        self.current().step(step);
        Ok(Flow::Continue)
    }

    fn wants_confusion(&self) -> bool {
        true
    }

    fn on_evaluation(&mut self, found: &Evaluated) -> Result<Flow, TrainError> {
        self.current().evaluated(found);
        self.write_now_and_then();
        Ok(Flow::Continue)
    }

    fn on_epoch_end(&mut self, epoch: &Epoch) -> Result<Flow, TrainError> {
        self.current().epochs.push(epoch.clone());
        self.write_now_and_then();
        Ok(Flow::Continue)
    }

    fn on_checkpoint(&mut self, path: &Path) -> Result<(), TrainError> {
        self.checkpoints = checkpoints_beside(path);
        Ok(())
    }

    fn on_train_end(&mut self) -> Result<(), TrainError> {
        match self.open_ended {
            true => self.write(),
            false => self.finish(),
        }
    }

    fn on_error(&mut self, error: &TrainError) {
        self.broken_off(error);
    }

    fn state(&self) -> Result<Option<(String, Part)>, TrainError> {
        let part = Part::values(&self.drawn)?;
        Ok(Some(("html_report".to_string(), part)))
    }

    fn load_state(&mut self, part: &Part) -> Result<(), TrainError> {
        self.drawn = part.read("html_report")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_candle_is_that_of_the_lock_file() {
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
        let Ok(lock) = std::fs::read_to_string(lock) else {
            return;
        };
        let wanted = format!("name = \"candle-core\"\nversion = \"{CANDLE}\"\n");
        assert!(lock.replace("\r\n", "\n").contains(&wanted));
    }
}
