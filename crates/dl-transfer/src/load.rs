//! A checkpoint into a model: all of it, or an error and nothing.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Tensor, Var};
use dl_core::Params;
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::key_map::{KeyMap, fits};
use crate::load_report::{Comparison, LoadReport, Mismatch, Missing, prefix_hint};
use crate::nearest_name::nearest_name;

/// Missing names for which the nearest name is looked for; it takes a look at every name.
const NEAREST_FOR: usize = 8;

/// How strict [`load_into`] is.
///
/// The patterns have the wildcards of a [`KeyMap`]: `*` any text, `#` a number.
///
/// ```
/// use dl_transfer::LoadOptions;
/// let options = LoadOptions { allow_missing: vec!["fc.*".into()], ..Default::default() };
/// assert!(!options.ignore_mismatched);
/// assert_eq!(options.allow_unused, ["*num_batches_tracked"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadOptions {
    /// Our names that may be missing in the file and then keep their fresh values, such as a new
    /// head. Default: none.
    pub allow_missing: Vec<String>,
    /// Names (ours, after the key map) that the file may have and the model not. Default:
    /// `*num_batches_tracked`, PyTorch's counters, which nothing here reads.
    pub allow_unused: Vec<String>,
    /// Whether tensors of another shape keep their fresh values instead of being an error, as
    /// `ignore_mismatched_sizes` of transformers. Default `false`.
    pub ignore_mismatched: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            allow_missing: Vec::new(),
            allow_unused: vec!["*num_batches_tracked".into()],
            ignore_mismatched: false,
        }
    }
}

/// Copies a file's tensors into the parameters and buffers of a model, by name.
///
/// Build the model first: its names and shapes are what is wanted. Values are cast to each Var's
/// dtype. Nothing is written unless all of the file fits, except for what the options allow, and
/// every tensor has been read. Differs from PyTorch's `load_state_dict`, which has copied a part
/// when it raises.
///
/// Errors: [`Error::Refused`] names what does not fit; [`Error::OtherModel`] if less than half of
/// the model is in the file.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::Params;
/// use dl_transfer::{Checkpoint, KeyMap, LoadOptions, load_into, save_safetensors};
/// let path = std::env::temp_dir().join(format!("load-{}.safetensors", std::process::id()));
/// let weight = Tensor::new(&[[0.5f32, 2.]], &Device::Cpu)?;
/// save_safetensors(&path, [("module.fc.weight", &weight)], &[])?;
///
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().pp("fc").get((1, 2), "weight")?;
/// let map = KeyMap::new(&[("module.*", Some("*"))])?;
/// let report = load_into(&params, &Checkpoint::open(&path)?, &map, &LoadOptions::default())?;
/// assert_eq!(report.to_string(), "1 tensor loaded");
/// let loaded = params.get("fc.weight").map(|var| var.to_vec2::<f32>()).transpose()?;
/// assert_eq!(loaded, Some(vec![vec![0.5, 2.]]));
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_into(
    params: &Params,
    file: &Checkpoint,
    map: &KeyMap,
    options: &LoadOptions,
) -> Result<LoadReport, Error> {
    let wanted: BTreeMap<String, Var> = params.all().into_iter().collect();
    if wanted.is_empty() {
        let path = file.path().to_path_buf();
        return Err(Error::EmptyParams { path });
    }
    let (sources, dropped) = sources(file, map)?;
    let report = compare(&wanted, file, &sources, options, dropped);
    judge(file, &wanted, &sources, &report, options)?;
    write(params, &stage(&wanted, file, &sources, &report)?)?;
    tracing::info!(file = %file.path().display(), "{report}");
    Ok(report)
}

/// Our name → the file's name, and the file's names that the map drops.
type Sources = BTreeMap<String, String>;

fn sources(file: &Checkpoint, map: &KeyMap) -> Result<(Sources, Vec<String>), Error> {
    let (mut sources, mut dropped) = (Sources::new(), Vec::new());
    for name in file.names() {
        let Some(target) = map.target(name) else {
            dropped.push(name.to_string());
            continue;
        };
        if let Some(first) = sources.insert(target.clone(), name.to_string()) {
            return Err(Error::DuplicateTarget {
                path: file.path().to_path_buf(),
                first,
                second: name.to_string(),
                target,
            });
        }
    }
    Ok((sources, dropped))
}

fn compare(
    wanted: &BTreeMap<String, Var>,
    file: &Checkpoint,
    sources: &Sources,
    options: &LoadOptions,
    dropped: Vec<String>,
) -> LoadReport {
    let mut report = LoadReport {
        dropped,
        ..Default::default()
    };
    for (name, var) in wanted {
        let info = sources.get(name).and_then(|source| file.info(source));
        match info {
            Some(info) if &info.shape == var.shape() => report.loaded.push(name.clone()),
            Some(info) => report.mismatched.push(Mismatch {
                name: name.clone(),
                wanted: var.dims().to_vec(),
                found: info.shape.into_dims(),
            }),
            None if allowed(name, &options.allow_missing) => report.fresh.push(name.clone()),
            None => report.missing.push(Missing {
                name: name.clone(),
                nearest: None,
            }),
        }
    }
    for (target, source) in sources {
        if !wanted.contains_key(target) {
            match allowed(target, &options.allow_unused) {
                true => report.dropped.push(source.clone()),
                false => report.unused.push(source.clone()),
            }
        }
    }
    report.dropped.sort();
    report.unused.sort();
    name_nearest(&mut report, wanted, sources);
    report
}

fn allowed(name: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| fits(pattern, name))
}

/// Only names of the file that the model has no use for are suggested.
fn name_nearest(report: &mut LoadReport, wanted: &BTreeMap<String, Var>, sources: &Sources) {
    for missing in report.missing.iter_mut().take(NEAREST_FOR) {
        let spare = sources.keys().filter(|name| !wanted.contains_key(*name));
        missing.nearest = nearest_name(&missing.name, spare.map(String::as_str));
    }
}

/// Accepts the load, or says in one sentence why not.
fn judge(
    file: &Checkpoint,
    wanted: &BTreeMap<String, Var>,
    sources: &Sources,
    report: &LoadReport,
    options: &LoadOptions,
) -> Result<(), Error> {
    let passing = options.ignore_mismatched;
    let ignored = if passing { report.mismatched.len() } else { 0 };
    let needed = wanted.len() - report.fresh.len() - ignored;
    // Also when everything may be missing: a file that gives nothing is not what was meant.
    if report.loaded.len() * 2 < needed || report.loaded.is_empty() && ignored == 0 {
        return Err(other_model(file, wanted, sources, report));
    }
    if report.missing.is_empty()
        && report.unused.is_empty()
        && (passing || report.mismatched.is_empty())
    {
        return Ok(());
    }
    let mut report = report.clone();
    if passing {
        report.mismatched.clear();
    }
    Err(Error::Refused {
        path: file.path().to_path_buf(),
        report: Box::new(report),
    })
}

fn other_model(
    file: &Checkpoint,
    wanted: &BTreeMap<String, Var>,
    sources: &Sources,
    report: &LoadReport,
) -> Error {
    let wanted: BTreeSet<&str> = wanted.keys().map(String::as_str).collect();
    let found: BTreeSet<&str> = sources.keys().map(String::as_str).collect();
    let only = |a: &BTreeSet<&str>, b| a.difference(b).map(|name| name.to_string()).collect();
    let comparison = Comparison {
        matched: report.loaded.len(),
        wanted: only(&wanted, &found),
        mismatched: report.mismatched.clone(),
        found: only(&found, &wanted),
        hint: prefix_hint(&wanted, &found),
    };
    Error::OtherModel {
        path: file.path().to_path_buf(),
        comparison: Box::new(comparison),
    }
}

/// Reads, moves and casts every tensor, so that nothing is left to fail when they are written.
fn stage(
    wanted: &BTreeMap<String, Var>,
    file: &Checkpoint,
    sources: &Sources,
    report: &LoadReport,
) -> Result<Vec<(String, Tensor)>, Error> {
    let mut staged = Vec::with_capacity(report.loaded.len());
    for name in &report.loaded {
        if let (Some(var), Some(source)) = (wanted.get(name), sources.get(name)) {
            let tensor = file.tensor(source, var.device())?.to_dtype(var.dtype())?;
            staged.push((name.clone(), tensor));
        }
    }
    Ok(staged)
}

fn write(params: &Params, staged: &[(String, Tensor)]) -> Result<(), Error> {
    let mut staged = staged.iter();
    Ok(staged.try_for_each(|(name, tensor)| params.set(name, tensor))?)
}
