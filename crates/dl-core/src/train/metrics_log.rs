//! The metrics of every epoch as JSON lines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{Callback, Epoch, Flow, Plan, TrainError};

/// Appends one JSON object an epoch to a file: the fields of [`Epoch`] and some of one's own.
///
/// A line is written whole and flushed before the next epoch begins, so a reader may follow the file.
/// A run that goes on from a checkpoint, or begins again with `Resume::IfAny` before it had one, first
/// takes off its own lines (those with the same fields of one's own) that lie behind it: they come
/// again.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    extra: Map<String, Value>,
}

impl MetricsLog {
    /// Appends to `path`, which is created if it is missing.
    pub fn append(path: impl AsRef<Path>) -> Result<Self, TrainError> {
        let path = path.as_ref().to_path_buf();
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Self {
            file: file.map_err(|reason| TrainError::Write {
                path: path.clone(),
                reason,
            })?,
            path,
            extra: Map::new(),
        })
    }

    /// Adds a field to every line, such as the name of the run.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_string(), value.into());
        self
    }

    fn line(&self, epoch: &Epoch) -> std::io::Result<String> {
        let mut fields = self.extra.clone();
        if let Value::Object(epoch) = serde_json::to_value(epoch)? {
            fields.extend(epoch);
        }
        Ok(format!("{}\n", Value::Object(fields)))
    }
}

impl MetricsLog {
    /// Takes off this run's lines behind `step`, and a last line that was cut off.
    fn cut(&mut self, step: usize) -> std::io::Result<()> {
        let text = std::fs::read_to_string(&self.path)?;
        let stays = |line: &&str| match serde_json::from_str::<Map<String, Value>>(line) {
            Err(_) => false,
            Ok(fields) => {
                let ours = self.extra.iter().all(|(k, v)| fields.get(k) == Some(v));
                let behind = fields.get("step").and_then(Value::as_u64) > Some(step as u64);
                !(ours && behind)
            }
        };
        let kept: String = text
            .lines()
            .filter(stays)
            .map(|l| format!("{l}\n"))
            .collect();
        dl_files::replace(&self.path, kept.as_bytes())?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        Ok(())
    }
}

impl Callback for MetricsLog {
    fn on_train_begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        match plan.cut_after {
            Some(step) => self.cut(step).map_err(|reason| TrainError::Write {
                path: self.path.clone(),
                reason,
            }),
            None => Ok(()),
        }
    }

    fn on_epoch_end(&mut self, epoch: &Epoch) -> Result<Flow, TrainError> {
        self.line(epoch)
            .and_then(|line| self.file.write_all(line.as_bytes()))
            .map_err(|reason| TrainError::Write {
                path: self.path.clone(),
                reason,
            })?;
        Ok(Flow::Continue)
    }
}
