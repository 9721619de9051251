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
use dl_transfer::{Checkpoint, KeyMap, LoadOptions, load_into, save_safetensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::images::{Images, View};
use crate::recipe::Outcome;

/// Everything a run writes; what any of them says is in the folder already.
const FILES: [&str; 7] = [
    "model.safetensors",
    "config.json",
    "all_results.json",
    "training_args.json",
    "metrics.jsonl",
    "curves.svg",
    "confusion_matrix.svg",
];

/// A folder with a run in it, or one to come.
pub struct RunFolder(PathBuf);

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

    pub fn class_names(&self) -> Vec<String> {
        self.id2label.values().cloned().collect()
    }
}

impl RunFolder {
    /// A folder that holds no run: the one asked for, or the first free one under `runs/`.
    pub fn create(args: &Args) -> Result<Self> {
        let folder = match &args.output_dir {
            Some(path) => Self(path.clone()),
            None => (1..)
                .map(|n| Self(PathBuf::from(format!("runs/finetune-{n}"))))
                .find(|folder| !folder.0.exists())
                .context("no free name under runs/")?,
        };
        let path = folder.0.display();
        let held = FILES.iter().find(|name| folder.path(name).exists());
        match (held, args.overwrite_output_dir) {
            (Some(name), false) => bail!(
                "{path} already holds a run ({name}); name another --output-dir or pass \
                 --overwrite-output-dir"
            ),
            (Some(_), true) => folder.clear()?,
            (None, _) => {}
        }
        fs::create_dir_all(&folder.0)
            .with_context(|| format!("cannot create the folder {path}"))?;
        Ok(folder)
    }

    /// A folder that holds a run.
    pub fn open(args: &Args) -> Result<Self> {
        let folder = Self(
            args.output_dir
                .clone()
                .context("name the run with --output-dir")?,
        );
        for name in ["config.json", "model.safetensors"] {
            ensure!(
                folder.path(name).is_file(),
                "{} holds no finished run: it has no {name}",
                folder.0.display()
            );
        }
        Ok(folder)
    }

    fn clear(&self) -> Result<()> {
        for name in FILES
            .iter()
            .map(|name| self.path(name))
            .filter(|path| path.exists())
        {
            fs::remove_file(&name).with_context(|| format!("cannot remove {}", name.display()))?;
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the folder is.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The log of every epoch.
    pub fn metrics(&self) -> PathBuf {
        self.path("metrics.jsonl")
    }

    /// The configuration of the model in the folder.
    pub fn config(&self) -> Result<ModelConfig> {
        let path = self.path("config.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
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
        load_into(&params, &file, &KeyMap::identity(), &LoadOptions::default())?;
        params.freeze("*")?;
        Ok(model.build(classes, params.vb())?)
    }

    /// Writes the best model, what it was made with, the results and the pictures.
    pub fn write(&self, args: &Args, config: &ModelConfig, outcomes: &[Outcome]) -> Result<()> {
        let best = best(outcomes).context("no training was run")?;
        let names = config.class_names();
        let title = format!("{} on {} images", best.mode.name(), best.evaluation.samples);
        let matrix = confusion_matrix(&best.evaluation.confusion, &names, &title)?;
        self.put("confusion_matrix.svg", matrix.as_bytes())?;
        self.put("curves.svg", curves(outcomes)?.as_bytes())?;
        self.put_json(
            "training_args.json",
            &json!({"arguments": format!("{args:?}"), "version": env!("CARGO_PKG_VERSION")}),
        )?;
        self.put_json("config.json", config)?;
        let weights = best.params.all().into_iter();
        let weights = weights.map(|(name, var)| (name, var.as_detached_tensor()));
        save_safetensors(self.path("model.safetensors"), weights, &[])?;
        self.put_json("all_results.json", &results(outcomes, best))
    }

    fn put_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string_pretty(value)?;
        text.push('\n');
        self.put(name, text.as_bytes())
    }

    /// Writes a sibling, syncs and renames it, so that the name never shows half a file.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(name);
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.0)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
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
        ("train_loss", json!(last.map(|e| e.train_loss))),
        ("train_accuracy", json!(last.map(|e| e.train_accuracy))),
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
        let points = |of: fn(&dl_core::train::Epoch) -> f64| -> Vec<(f64, f64)> {
            outcome
                .epochs
                .iter()
                .map(|e| (e.epoch as f64, of(e)))
                .collect()
        };
        let name = outcome.mode.name();
        let train = Series::new(format!("{name}, train"), points(|e| e.train_loss));
        loss = loss.series(train.dashed().color(color));
        loss = loss.series(Series::new(name, points(|e| e.eval_loss)).color(color));
        let train = Series::new(format!("{name}, train"), points(|e| e.train_accuracy));
        accuracy = accuracy.series(train.dashed().color(color));
        accuracy = accuracy.series(Series::new(name, points(|e| e.eval_accuracy)).color(color));
    }
    Ok(Curves::new("Loss and accuracy by epoch")
        .panel(loss)
        .panel(accuracy)
        .svg()?)
}
