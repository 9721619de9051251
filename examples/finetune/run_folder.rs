//! The folder that a run leaves behind.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Device;
use dl_core::Params;
use dl_core::models::{ImageClassifier, ImageModel};
use dl_core::plot::{Curves, Panel, Series, confusion_matrix};
use dl_core::train::{HtmlReport, Shown};
use dl_transfer::{Checkpoint, KeyMap, LoadOptions, load_into, save_safetensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::args::{Args, SIZES};
use crate::images::{Images, View};
use crate::predict::write_predictions;
use crate::recipe::{Outcome, Setup};

/// Everything a run writes; what any of them says is in the folder already.
const FILES: [&str; 8] = [
    "model.safetensors",
    "config.json",
    "all_results.json",
    "training_args.json",
    "confusion_matrix.svg",
    "curves.svg",
    LOG,
    REPORT,
];
/// What a run writes at its end.
const RESULTS: &[&str] = FILES.split_at(6).0;
const LOG: &str = "metrics.jsonl";
const REPORT: &str = "report.html";

/// A folder with a run in it, or one to come.
pub struct RunFolder {
    path: PathBuf,
    /// Whether this program made it.
    made: bool,
}

/// `config.json`: what it takes to use the model again.
#[derive(Serialize, Deserialize)]
pub struct ModelConfig {
    /// The architecture's name in the zoo.
    pub model_type: String,
    /// Class names by label.
    pub id2label: BTreeMap<u32, String>,
    /// Labels by class name.
    pub label2id: BTreeMap<String, u32>,
    /// Height and width of the images.
    pub image_size: usize,
    /// Mean of each channel, in 0 to 1.
    pub image_mean: [f32; 3],
    /// Deviation of each channel, in 0 to 1.
    pub image_std: [f32; 3],
}

impl ModelConfig {
    pub fn new(model: &ImageModel, images: &Images) -> Self {
        let View { size, mean, std } = images.view();
        let names = || (0..).zip(images.class_names.iter().cloned());
        Self {
            model_type: model.name.to_string(),
            id2label: names().collect(),
            label2id: names().map(|(id, name)| (name, id)).collect(),
            image_size: size,
            image_mean: mean,
            image_std: std,
        }
    }

    pub fn view(&self) -> View {
        View {
            size: self.image_size,
            mean: self.image_mean,
            std: self.image_std,
        }
    }

    /// Itself, if a run could have written it.
    fn checked(self) -> Result<Self> {
        ImageModel::named(&self.model_type)?;
        self.view().collate()?;
        ensure!(!self.id2label.is_empty(), "id2label is empty");
        ensure!(
            SIZES.contains(&self.image_size),
            "image_size must be {} to {}, got {}",
            SIZES.start(),
            SIZES.end(),
            self.image_size
        );
        Ok(self)
    }

    pub fn class_names(&self) -> Vec<String> {
        self.id2label.values().cloned().collect()
    }
}

impl RunFolder {
    /// Fails where [`create`](Self::create) would, and changes nothing.
    pub fn check(args: &Args) -> Result<()> {
        let Some(path) = &args.output_dir else {
            return Ok(());
        };
        let (shown, there) = (path.display(), path.symlink_metadata().is_ok());
        ensure!(
            path.is_dir() || !there,
            "{shown} is a file; name a folder with --output-dir"
        );
        match FILES.iter().find(|name| path.join(name).exists()) {
            Some(name) if !args.overwrite_output_dir => bail!(
                "{shown} already holds a run ({name}); name another --output-dir or pass \
                 --overwrite-output-dir"
            ),
            _ => Ok(()),
        }
    }

    /// A folder that can be written and holds no run: the one asked for, or a new one under `runs/`.
    pub fn create(args: &Args) -> Result<Self> {
        Self::check(args)?;
        let folder = match &args.output_dir {
            Some(path) => Self {
                made: !path.exists(),
                path: path.clone(),
            },
            None => Self {
                made: true,
                path: numbered()?,
            },
        };
        fs::create_dir_all(&folder.path).with_context(|| {
            let path = folder.path.display();
            format!("cannot create the folder {path}; name another --output-dir")
        })?;
        folder.probe()?;
        folder.clear(&FILES)?;
        Ok(folder)
    }

    /// Better now, with an older run still whole, than after hours of training.
    fn probe(&self) -> Result<()> {
        let written = tempfile::tempfile_in(&self.path).and_then(|mut file| file.write_all(b"{}"));
        if written.is_err() && self.made {
            let _ = fs::remove_dir(&self.path);
        }
        written.with_context(|| self.unwritable(""))
    }

    /// A folder that holds a run.
    pub fn open(args: &Args) -> Result<Self> {
        let path = args.output_dir.clone();
        let folder = Self {
            path: path.context("name the run with --output-dir")?,
            made: false,
        };
        for name in ["config.json", "model.safetensors"] {
            ensure!(
                folder.path(name).is_file(),
                "{} holds no finished run: it has no {name}; train one with this --output-dir",
                folder.path.display()
            );
        }
        Ok(folder)
    }

    /// After a failure: leaves nothing but the log and the report of the epochs that were finished, if
    /// any, and no empty folder that was not there before.
    pub fn abandon(&self) {
        // The failure is what is reported; one that follows from it would hide it.
        let _ = self.clear(RESULTS);
        if !matches!(self.whole_lines(), Ok(true)) {
            let _ = self.clear(&[REPORT]);
        }
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Cuts a half-written line from the end of the log, and removes a log without a line; whether it
    /// has one.
    fn whole_lines(&self) -> std::io::Result<bool> {
        let log = fs::read(self.metrics())?;
        let end = log.iter().rposition(|byte| *byte == b'\n');
        match end {
            None => fs::remove_file(self.metrics())?,
            Some(end) => fs::File::options()
                .write(true)
                .open(self.metrics())?
                .set_len(end as u64 + 1)?,
        }
        Ok(end.is_some())
    }

    fn clear(&self, names: &[&str]) -> Result<()> {
        let paths = names.iter().map(|name| self.path(name));
        for path in paths.filter(|path| path.exists()) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    fn unwritable(&self, name: &str) -> String {
        let path = self.path(name);
        format!(
            "cannot write {}; free space or name another --output-dir",
            path.display()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where the folder is.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// The log of every epoch.
    pub fn metrics(&self) -> PathBuf {
        self.path(LOG)
    }

    /// A report on the trainings to come, which is finished when their results are written.
    pub fn report(&self, args: &Args, setup: &Setup) -> Result<HtmlReport> {
        let (model, images) = (setup.model.name, setup.images);
        let (train, eval) = images.counts();
        let title = format!("{model} on {train} images, evaluated on {eval}");
        Ok(HtmlReport::new(self.path(REPORT), title)
            .class_names(&images.class_names)
            .configuration(args)?
            .version("candle-train", env!("CARGO_PKG_VERSION"))
            .open_ended())
    }

    /// The configuration of the model in the folder.
    pub fn config(&self) -> Result<ModelConfig> {
        let path = self.path("config.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config = serde_json::from_slice(&text).map_err(anyhow::Error::from);
        config
            .and_then(ModelConfig::checked)
            .with_context(|| format!("{} is damaged", path.display()))
    }

    /// The model in the folder, frozen.
    pub fn load(&self, config: &ModelConfig, device: &Device) -> Result<Box<dyn ImageClassifier>> {
        let params = Params::new(0, device);
        let (model, classes) = (
            ImageModel::named(&config.model_type)?,
            config.id2label.len(),
        );
        model.build(classes, params.vb())?;
        let file = Checkpoint::open(self.path("model.safetensors"))?;
        load_into(&params, &file, &KeyMap::identity(), &LoadOptions::default()).with_context(
            || {
                format!(
                    "config.json of {} is not of its weights",
                    self.path.display()
                )
            },
        )?;
        params.freeze("*")?;
        Ok(model.build(classes, params.vb())?)
    }

    /// Writes the best model, what it was made with, the results and the pictures.
    pub fn write(&self, setup: &Setup, config: &ModelConfig, outcomes: &[Outcome]) -> Result<()> {
        let best = best(outcomes).context("no training was run")?;
        let (args, names) = (setup.args, config.class_names());
        let title = format!("{} on {} images", best.mode.name(), best.evaluation.samples);
        let matrix = confusion_matrix(&best.evaluation.confusion, &names, &title)?;
        self.put("confusion_matrix.svg", matrix.as_bytes())?;
        self.put("curves.svg", curves(outcomes)?.as_bytes())?;
        self.put_json(
            "training_args.json",
            &json!({"arguments": args, "version": env!("CARGO_PKG_VERSION")}),
        )?;
        self.put_json("config.json", config)?;
        let weights = best.params.all().into_iter();
        let weights = weights.map(|(name, var)| (name, var.as_detached_tensor()));
        save_safetensors(self.path("model.safetensors"), weights, &[])
            .with_context(|| self.unwritable("model.safetensors"))?;
        write_predictions(args, &names, &best.predictions)?;
        self.put_json("all_results.json", &results(outcomes, best))?;
        self.finish_report(setup, best)
    }

    /// Adds to the report what the model that is kept says about the evaluation images.
    fn finish_report(&self, setup: &Setup, best: &Outcome) -> Result<()> {
        let Some(report) = &setup.report else {
            return Ok(());
        };
        let (mut report, set) = (report.borrow_mut(), best.mode.name());
        report.evaluation(set, &best.evaluation);
        report.worst(set, &best.worst, |sample| {
            Ok(Shown::Image(setup.images.original(sample.index)?))
        });
        report.finish().with_context(|| self.unwritable(REPORT))
    }

    fn put_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        self.put(name, text.as_bytes())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        dl_files::replace(self.path(name), bytes).with_context(|| self.unwritable(name))
    }
}

/// Makes the first folder under `runs/` that is not there; no two programs get the same.
fn numbered() -> Result<PathBuf> {
    fs::create_dir_all("runs")
        .context("cannot create the folder runs; name one with --output-dir")?;
    let mut paths = (1..).map(|n| PathBuf::from(format!("runs/finetune-{n}")));
    let made = paths.find_map(|path| match fs::create_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => None,
        Err(error) => Some(Err(error)),
        Ok(()) => Some(Ok(path)),
    });
    let made = made.context("no free name under runs/")?;
    made.context("cannot create a folder under runs; name one with --output-dir")
}

/// The outcome with the highest accuracy.
pub fn best(outcomes: &[Outcome]) -> Option<&Outcome> {
    let by_accuracy =
        |a: &&Outcome, b: &&Outcome| a.evaluation.accuracy.total_cmp(&b.evaluation.accuracy);
    outcomes.iter().max_by(by_accuracy)
}

fn result(outcome: &Outcome) -> Map<String, Value> {
    let last = outcome.epochs.last();
    let pairs = [
        ("epoch", json!(last.map(|e| e.epoch))),
        (
            "train_loss",
            json!(last.map(|e| e.metric("train_loss").ok())),
        ),
        (
            "train_accuracy",
            json!(last.map(|e| e.metric("train_accuracy").ok())),
        ),
        (
            "train_samples_per_second",
            json!(outcome.samples_per_second()),
        ),
        (
            "train_runtime",
            json!(outcome.epochs.iter().map(|e| e.train_seconds).sum::<f64>()),
        ),
        ("eval_loss", json!(outcome.evaluation.loss)),
        ("eval_accuracy", json!(outcome.evaluation.accuracy)),
        (
            "eval_macro_f1",
            json!(outcome.evaluation.confusion.macro_f1()),
        ),
        ("eval_samples", json!(outcome.evaluation.samples)),
        ("eval_runtime", json!(outcome.evaluation.seconds)),
        ("trainable_parameters", json!(outcome.trainable)),
        ("seconds", json!(outcome.seconds)),
    ];
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

/// The results of the model that is kept, and those of every training under its name.
fn results(outcomes: &[Outcome], best: &Outcome) -> Value {
    let mut all = result(best);
    all.insert("mode".to_string(), json!(best.mode.name()));
    let modes = outcomes
        .iter()
        .map(|o| (o.mode.name().to_string(), Value::Object(result(o))));
    all.insert("modes".to_string(), Value::Object(modes.collect()));
    Value::Object(all)
}

fn curves(outcomes: &[Outcome]) -> Result<String> {
    let mut loss = Panel::new("loss");
    let mut accuracy = Panel::new("accuracy");
    for (color, outcome) in outcomes.iter().enumerate() {
        let points = |metric: &str| -> Vec<(f64, f64)> {
            let found = outcome.epochs.iter();
            found
                .filter_map(|e| Some((e.epoch as f64, e.metric(metric).ok()?)))
                .collect()
        };
        let name = outcome.mode.name();
        let train = Series::new(format!("{name}, train"), points("train_loss"));
        loss = loss.series(train.dashed().color(color));
        loss = loss.series(Series::new(name, points("eval_loss")).color(color));
        let train = Series::new(format!("{name}, train"), points("train_accuracy"));
        accuracy = accuracy.series(train.dashed().color(color));
        accuracy = accuracy.series(Series::new(name, points("eval_accuracy")).color(color));
    }
    Ok(Curves::new("Loss and accuracy by epoch")
        .panel(loss)
        .panel(accuracy)
        .svg()?)
}
