//! A PyTorch optimizer's `.pth` continued by ours.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use dl_optim::{Adam, Optimizer, Sgd};
use dl_transfer::Checkpoint;

/// `torch.save({"epoch": 3, "optimizer": sgd.state_dict()})` of `tools/reference/optim.py`, which
/// numbers the parameters in this order.
#[test]
fn the_slots_of_a_saved_torch_optimizer_arrive_under_their_parameters() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dl-optim/tests/fixtures");
    let file = Checkpoint::open_entry(folder.join("torch_state.pth"), "optimizer").unwrap();
    let tensors = file.optimizer_state(&Device::Cpu).unwrap();
    let order = ["weight", "gain", "conv", "bias"];
    let shapes: [&[usize]; 4] = [&[4, 5], &[], &[2, 3, 2], &[5]];
    let params = order.iter().zip(shapes).map(|(name, shape)| {
        let var = Var::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        (name.to_string(), var)
    });
    let rule = Sgd {
        momentum: 0.9,
        ..Sgd::default()
    };
    let mut sgd = Optimizer::new(params, rule).unwrap();
    sgd.load_torch_state(&tensors, &order).unwrap();
    let state = sgd.state().unwrap();
    for (number, name) in order.iter().enumerate() {
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let saved = flat(&tensors[&format!("state.{number}.momentum_buffer")]);
        assert!(saved.iter().any(|x| *x != 0.0), "{name}");
        assert_eq!(
            flat(&state.tensors[&format!("{name}.momentum_buffer")]),
            saved
        );
    }
}

/// The speaker encoder of the Resemblyzer package, if `tools/data/fetch.sh` has fetched it.
fn published() -> Option<PathBuf> {
    let cache = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/candle-train"));
    let folder = std::env::var_os("DL_DATA").map(PathBuf::from).or(cache)?;
    let path = folder.join("out/pypi/resemblyzer/pretrained.pt");
    path.exists().then_some(path)
}

/// What `tools/reference/resemblyzer.py` wrote: per parameter, in PyTorch's order, its name and its first
/// numbers before and after one more step whose gradient is the parameter.
#[derive(serde::Deserialize)]
struct Fixture {
    steps: usize,
    parameters: Vec<(String, Vec<f32>, Vec<f32>)>,
}

/// An Adam of a million and a half steps, written by PyTorch 1.0, with Python's identities for numbers
/// and plain integers for steps.
#[test]
fn a_published_training_run_goes_on_as_torch_would_go_on() {
    let Some(path) = published() else {
        // Past the harness's capture, so that a skipped check is seen.
        let skipped = "SKIPPED a_published_training_run: run tools/data/fetch.sh first";
        writeln!(std::io::stderr(), "{skipped}").unwrap();
        return;
    };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/resemblyzer.json");
    let fixture: Fixture = serde_json::from_slice(&std::fs::read(fixture).unwrap()).unwrap();
    let weights = Checkpoint::open_entry(&path, "model_state").unwrap();
    let state = Checkpoint::open_entry(&path, "optimizer_state").unwrap();
    let state = state.optimizer_state(&Device::Cpu).unwrap();
    let order: Vec<_> = fixture.parameters.iter().map(|(name, ..)| name).collect();
    let read = |name: &String| Var::from_tensor(&weights.tensor(name, &Device::Cpu).unwrap());
    let params: Vec<_> = order
        .iter()
        .map(|&name| (name.clone(), read(name).unwrap()))
        .collect();
    let rule = Adam {
        lr: 1e-4,
        ..Adam::default()
    };
    let mut adam = Optimizer::new(params.clone(), rule).unwrap();
    adam.load_torch_state(&state, &order).unwrap();
    assert_eq!(adam.steps(), fixture.steps);
    let mut grads = GradStore::default();
    for (_, var) in &params {
        grads.insert(var, var.as_detached_tensor().copy().unwrap());
    }
    adam.step(&grads).unwrap();
    for ((name, before, after), (_, var)) in fixture.parameters.iter().zip(&params) {
        let now = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for ((now, after), before) in now.iter().zip(after).zip(before) {
            // One rounding of a parameter of this size; a step is a thousand times that and more.
            let tolerance = f32::EPSILON * after.abs().max(1e-2);
            assert!((now - after).abs() <= tolerance, "{name}: {now} {after}");
            assert!(before != after, "{name} did not move");
        }
    }
}

#[test]
fn what_is_no_optimizer_state_is_refused_by_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dl-optim/tests/fixtures");
    let file = Checkpoint::open(folder.join("torch_state.safetensors")).unwrap();
    let error = file.optimizer_state(&Device::Cpu).unwrap_err().to_string();
    let end = "torch_state.safetensors is not the state of an optimizer: it has no tensor `state.NUMBER.slot`";
    assert!(error.ends_with(end), "{error}");
}
