//! The list of rules and options, and the parameters and gradients that the fixtures were made with.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use dl_optim::{Optimizer, Rule, rule_named};
use safetensors::SafeTensors;
use serde::Deserialize;

/// What `tools/reference/optim.py` wrote.
pub struct Fixture {
    pub about: About,
    pub tensors: HashMap<String, Tensor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    pub versions: BTreeMap<String, String>,
    pub shapes: BTreeMap<String, Vec<usize>>,
    pub kept: Vec<usize>,
    pub cases: Vec<Case>,
}

/// A rule with options, the slots that torch keeps for it, and how near ours has to come, by type,
/// where that is not the usual.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub label: String,
    pub rule: String,
    pub options: serde_json::Value,
    pub slots: Vec<String>,
    /// Slots of ours that the reference does not have.
    #[serde(default)]
    pub unchecked: Vec<String>,
    #[serde(default)]
    pub tolerances: BTreeMap<String, f64>,
    /// Those of its family.
    #[serde(skip)]
    pub shapes: BTreeMap<String, Vec<usize>>,
}

impl Case {
    pub fn rule(&self) -> Box<dyn Rule> {
        rule_named(&self.rule, self.options.clone()).unwrap()
    }
}

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// All families in one; the shapes are those of the first.
pub fn fixture() -> Fixture {
    let mut files: Vec<_> = std::fs::read_dir(path("rules"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let families = files.iter().map(|file| family(file));
    let join = |mut all: Fixture, one: Fixture| {
        assert_eq!(all.about.kept, one.about.kept);
        all.about.cases.extend(one.about.cases);
        all.tensors.extend(one.tensors);
        all
    };
    families.reduce(join).unwrap()
}

fn family(file: &Path) -> Fixture {
    let bytes = std::fs::read(file).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = &metadata.metadata().as_ref().unwrap()["about"];
    let mut about: About = serde_json::from_str(about).unwrap();
    for case in &mut about.cases {
        case.shapes = about.shapes.clone();
    }
    assert!(about.versions.contains_key("torch"));
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap();
    Fixture { about, tensors }
}

pub type Params = BTreeMap<String, Var>;

fn tensor(values: Vec<f64>, shape: &[usize], dtype: DType) -> Tensor {
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    tensor.to_dtype(dtype).unwrap()
}

/// `start` of the script.
pub fn params(shapes: &BTreeMap<String, Vec<usize>>, dtype: DType) -> Params {
    let var = |(index, (name, shape)): (usize, (&String, &Vec<usize>))| {
        let count: usize = shape.iter().product();
        let values = (0..count).map(|i| ((index * 31 + i * 17) % 23) as f64 - 11.0);
        let values = values.map(|x| x / 8.0).collect();
        (
            name.clone(),
            Var::from_tensor(&tensor(values, shape, dtype)).unwrap(),
        )
    };
    shapes.iter().enumerate().map(var).collect()
}

/// `gradient` of the script: zeros, tiny and large elements, and signs that change.
pub fn gradients(params: &Params, step: usize) -> GradStore {
    let sizes = [1.0, 2f64.powi(-20), 0.0, 16.0, 0.5];
    let mut grads = GradStore::default();
    for (index, var) in params.values().enumerate() {
        let noise = |i: usize| ((step * 131 + index * 71 + i * 37) % 101) as f64 - 50.0;
        let values = (0..var.elem_count()).map(|i| noise(i) / 64.0 * sizes[i % 5]);
        grads.insert(var, tensor(values.collect(), var.dims(), var.dtype()));
    }
    grads
}

pub fn optimizer(params: &Params, rule: Box<dyn Rule>) -> Optimizer {
    Optimizer::new(params.clone(), rule).unwrap()
}

/// All parameters in name order, widened.
pub fn flat(params: &Params) -> Vec<f64> {
    params.values().flat_map(|var| values(var)).collect()
}

pub fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    flat.to_vec1().unwrap()
}

pub fn assert_close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    let first = first_difference(got, want, tolerance);
    assert!(first.is_none(), "{what}{}", first.unwrap_or_default());
}

/// Where two lists of numbers begin to differ, if they do.
pub fn first_difference(got: &[f64], want: &[f64], tolerance: f64) -> Option<String> {
    if got.len() != want.len() {
        return Some(format!(": {} and {} numbers", got.len(), want.len()));
    }
    let mut pairs = got.iter().zip(want).enumerate();
    // Not `>`: what is not a number is not close.
    let close = |got: &f64, want: &f64| (got - want).abs() <= tolerance * want.abs().max(1.0);
    pairs
        .find(|(_, (got, want))| !close(got, want))
        .map(|(i, (got, want))| format!("[{i}]: {got} {want}"))
}
