//! The checkpoints of a run in their folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use dl_files::{sync_folder, write_safetensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{FORMAT, MANIFEST, Summing};
use super::{CheckpointError, FileSum, Manifest, Part, Snapshot, Values};

type Result<T> = std::result::Result<T, CheckpointError>;

/// The values of all parts.
const STATE: &str = "state.json";

/// Which way a metric gets better.
///
/// ```
/// use dl_core::checkpoint::Goal;
/// assert!(Goal::Minimize.improves(0.1, 0.2));
/// assert!(!Goal::Maximize.improves(f64::NAN, 0.2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Less is better: a loss.
    Minimize,
    /// More is better: an accuracy.
    Maximize,
}

impl Goal {
    /// Whether `now` is better than `best`; NaN never is, and anything is better than NaN.
    pub fn improves(self, now: f64, best: f64) -> bool {
        match self {
            Self::Minimize => now < best || best.is_nan() && !now.is_nan(),
            Self::Maximize => now > best || best.is_nan() && !now.is_nan(),
        }
    }
}

/// Which checkpoints stay when a new one is written.
///
/// ```
/// use dl_core::checkpoint::Keep;
/// assert_eq!(Keep::default(), Keep { newest: 2, best: None });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// The newest so many, `≥ 1`. Default 2: if one is damaged, there is another.
    pub newest: usize,
    /// The best by this metric besides. Default none.
    pub best: Option<(String, Goal)>,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            newest: 2,
            best: None,
        }
    }
}

/// A checkpoint on disk whose manifest could be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Its folder.
    pub path: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
}

/// The folder of a run's checkpoints.
///
/// ```
/// use dl_core::checkpoint::{Checkpoints, Keep, Part, Snapshot};
/// let folder = std::env::temp_dir().join(format!("checkpoints-{}", std::process::id()));
/// let checkpoints = Checkpoints::create(&folder, Keep::default())?;
/// let parts = [("loop".to_string(), Part::values(&7)?)].into();
/// checkpoints.save(&Snapshot { step: 3, parts, ..Default::default() })?;
/// let (saved, snapshot) = checkpoints.latest()?;
/// assert!(saved.path.ends_with("step-00000003"));
/// assert_eq!(snapshot.part("loop")?.read::<usize>("loop")?, 7);
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok::<(), dl_core::checkpoint::CheckpointError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: Keep,
}

impl Checkpoints {
    /// The checkpoints in `folder`, which is made if it is missing. Remains of checkpoints that were
    /// cut off while they were written or deleted are removed.
    pub fn create(folder: impl AsRef<Path>, keep: Keep) -> Result<Self> {
        let folder = folder.as_ref().to_path_buf();
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        let checkpoints = Self { folder, keep };
        for remains in checkpoints.names(|name| name.starts_with(".step-"))? {
            fs::remove_dir_all(&remains).map_err(io(&remains))?;
        }
        Ok(checkpoints)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a checkpoint and deletes those that are not to be kept. One of the same step is
    /// replaced.
    ///
    /// Fails before anything is written if there is too little room, and leaves the older ones as
    /// they were whenever it fails.
    pub fn save(&self, snapshot: &Snapshot) -> Result<PathBuf> {
        self.require_space(snapshot.bytes())?;
        let name = format!("step-{:08}", snapshot.step);
        let temporary = self.folder.join(format!(".{name}.{}", std::process::id()));
        let path = self.folder.join(&name);
        let written =
            write_all(&temporary, snapshot).and_then(|()| self.publish(&temporary, &path));
        if let Err(error) = written {
            // The first error is the one to report.
            let _ = fs::remove_dir_all(&temporary);
            return Err(error);
        }
        self.prune(&path)?;
        Ok(path)
    }

    /// The checkpoints whose manifest can be read, oldest first.
    pub fn list(&self) -> Result<Vec<Saved>> {
        let mut all: Vec<Saved> = self
            .names(|name| name.starts_with("step-"))?
            .into_iter()
            .filter_map(|path| match Manifest::read(&path) {
                Ok(manifest) => Some(Saved { path, manifest }),
                Err(error) => {
                    tracing::warn!("{error}");
                    None
                }
            })
            .collect();
        all.sort_by_key(|saved| saved.manifest.step);
        Ok(all)
    }

    /// The newest checkpoint that is whole; damaged ones are passed over and logged by name.
    pub fn latest(&self) -> Result<(Saved, Snapshot)> {
        let mut all = self.list()?;
        all.reverse();
        self.first_whole(all)
    }

    /// The whole checkpoint with the best metric; of equal ones the oldest.
    pub fn best(&self, metric: &str, goal: Goal) -> Result<(Saved, Snapshot)> {
        let mut all = self.list()?;
        all.retain(|saved| saved.manifest.metrics().contains_key(metric));
        if all.is_empty() {
            return Err(CheckpointError::NoMetric {
                folder: self.folder.clone(),
                metric: metric.to_string(),
            });
        }
        // Stable, so that of equal ones the oldest stays in front.
        all.sort_by(|a, b| {
            let [a, b] = [a, b].map(|saved| saved.manifest.metrics()[metric]);
            match (goal.improves(a, b), goal.improves(b, a)) {
                (true, _) => std::cmp::Ordering::Less,
                (_, true) => std::cmp::Ordering::Greater,
                _ => std::cmp::Ordering::Equal,
            }
        });
        self.first_whole(all)
    }

    /// Reads one checkpoint, after comparing every file with its sum.
    pub fn load(path: impl AsRef<Path>) -> Result<(Saved, Snapshot)> {
        let path = path.as_ref();
        let manifest = Manifest::read(path)?;
        manifest.verify(path)?;
        let mut parts = read_values(&path.join(STATE))?;
        for name in manifest.files.keys() {
            let Some(part) = name.strip_suffix(".safetensors") else {
                continue;
            };
            parts.entry(part.to_string()).or_default().tensors = read_tensors(&path.join(name))?;
        }
        let snapshot = Snapshot {
            step: manifest.step,
            metrics: manifest.metrics().clone(),
            parts,
        };
        let path = path.to_path_buf();
        Ok((Saved { path, manifest }, snapshot))
    }

    fn first_whole(&self, candidates: Vec<Saved>) -> Result<(Saved, Snapshot)> {
        let mut damaged = vec![];
        for saved in candidates {
            match Self::load(&saved.path) {
                Ok(found) => return Ok(found),
                Err(error) => {
                    tracing::warn!("{error}; trying the checkpoint before it");
                    damaged.push(saved.path);
                }
            }
        }
        Err(CheckpointError::None {
            folder: self.folder.clone(),
            damaged,
        })
    }

    fn require_space(&self, needed: u64) -> Result<()> {
        let folder = self.folder.clone();
        let available = fs4::available_space(&folder).map_err(io(&folder))?;
        if available > needed {
            return Ok(());
        }
        Err(CheckpointError::NoSpace {
            folder,
            needed,
            available,
        })
    }

    fn publish(&self, temporary: &Path, path: &Path) -> Result<()> {
        if path.exists() {
            self.delete(path)?;
        }
        fs::rename(temporary, path).map_err(io(path))?;
        sync_folder(&self.folder).map_err(io(&self.folder))
    }

    /// Deletes what is neither new nor best. What cannot be read is left for its owner to look at.
    fn prune(&self, newest: &Path) -> Result<()> {
        let all = self.list()?;
        let spare = all.len().saturating_sub(self.keep.newest.max(1));
        let best = self.best_of(&all);
        for saved in &all[..spare] {
            if Some(&saved.path) != best && saved.path != newest {
                self.delete(&saved.path)?;
            }
        }
        Ok(())
    }

    fn best_of<'a>(&self, all: &'a [Saved]) -> Option<&'a PathBuf> {
        let (metric, goal) = self.keep.best.as_ref()?;
        let mut best: Option<(&PathBuf, f64)> = None;
        for saved in all {
            let Some(&now) = saved.manifest.metrics().get(metric) else {
                continue;
            };
            if best.is_none_or(|(_, value)| goal.improves(now, value)) {
                best = Some((&saved.path, now));
            }
        }
        best.map(|(path, _)| path)
    }

    /// Renamed first: half of a checkpoint must not look like one.
    fn delete(&self, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let gone = self.folder.join(format!(".{name}.gone"));
        fs::rename(path, &gone).map_err(io(path))?;
        fs::remove_dir_all(&gone).map_err(io(&gone))
    }

    fn names(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
        let mut found = vec![];
        for entry in fs::read_dir(&self.folder).map_err(io(&self.folder))? {
            let entry = entry.map_err(io(&self.folder))?;
            if wanted(&entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

fn write_all(folder: &Path, snapshot: &Snapshot) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(io(folder))?;
    }
    fs::create_dir(folder).map_err(io(folder))?;
    let mut files = BTreeMap::new();
    for (name, part) in &snapshot.parts {
        require_file_name(name)?;
        if !part.tensors.is_empty() {
            let name = format!("{name}.safetensors");
            files.insert(name.clone(), write_tensors(&folder.join(name), part)?);
        }
    }
    let values: BTreeMap<&String, &Value> = snapshot
        .parts
        .iter()
        .map(|(name, part)| (name, &part.values))
        .collect();
    files.insert(STATE.to_string(), write_json(&folder.join(STATE), &values)?);
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_string(),
        step: snapshot.step,
        metrics: Values(snapshot.metrics.clone()),
        files,
    };
    sync_folder(folder).map_err(io(folder))?;
    write_json(&folder.join(MANIFEST), &manifest)?;
    sync_folder(folder).map_err(io(folder))
}

fn require_file_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    match !name.is_empty() && !name.starts_with('.') && name.chars().all(plain) {
        true => Ok(()),
        false => Err(CheckpointError::PartName {
            name: name.to_string(),
        }),
    }
}

fn write_tensors(path: &Path, part: &Part) -> Result<FileSum> {
    write_file(path, |file| {
        Ok(write_safetensors(file, path, &part.tensors, &[])?)
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<FileSum> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|reason| CheckpointError::Unwritable { reason })?;
    text.push(b'\n');
    write_file(path, |file| file.write_all(&text).map_err(io(path)))
}

fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut Summing<BufWriter<File>>) -> Result<()>,
) -> Result<FileSum> {
    let file = File::create_new(path).map_err(io(path))?;
    let mut summing = Summing::new(BufWriter::with_capacity(1 << 20, file));
    fill(&mut summing)?;
    let (writer, sum) = summing.finish();
    let file = writer
        .into_inner()
        .map_err(|error| io(path)(error.into_error()))?;
    file.sync_all().map_err(io(path))?;
    Ok(sum)
}

fn read_values(path: &Path) -> Result<BTreeMap<String, Part>> {
    let text = fs::read(path).map_err(io(path))?;
    let values: BTreeMap<String, Value> =
        serde_json::from_slice(&text).map_err(|error| CheckpointError::Damaged {
            path: path.to_path_buf(),
            reason: error.to_string(),
        })?;
    let part = |values| Part {
        tensors: BTreeMap::new(),
        values,
    };
    Ok(values
        .into_iter()
        .map(|(name, v)| (name, part(v)))
        .collect())
}

fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = fs::read(path).map_err(io(path))?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|error| {
        CheckpointError::Damaged {
            path: path.to_path_buf(),
            reason: error.to_string(),
        }
    })?;
    Ok(tensors.into_iter().collect())
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CheckpointError {
    let path = path.to_path_buf();
    move |source| CheckpointError::Io { path, source }
}
