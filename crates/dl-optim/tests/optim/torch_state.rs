//! States of PyTorch's optimizers.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use dl_optim::{Optimizer, Rule, rule_named};
use serde_json::json;

use crate::cases::{assert_close, fixture, flat, gradients, params, path, values};

/// What `resumed` of the script does: PyTorch was given the parameters in reverse.
const ORDER: [&str; 4] = ["weight", "gain", "conv", "bias"];

fn rule(name: &str) -> Box<dyn Rule> {
    let mut options = json!({"lr": 0.01});
    let more = match name {
        "adam" => json!({"amsgrad": true}),
        "rmsprop" => json!({"momentum": 0.5, "centered": true}),
        "sgd" => json!({"momentum": 0.9}),
        _ => json!({}),
    };
    let options_map = options.as_object_mut().unwrap();
    options_map.extend(more.as_object().unwrap().clone());
    rule_named(name, options).unwrap()
}

fn tensors() -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path("torch_state.safetensors"), &Device::Cpu).unwrap()
}

fn state(tensors: &HashMap<String, Tensor>, name: &str) -> BTreeMap<String, Tensor> {
    let of = |(key, tensor): (&String, &Tensor)| {
        let key = key.strip_prefix(&format!("{name}/"))?;
        key.starts_with("state.")
            .then(|| (key.to_string(), tensor.clone()))
    };
    tensors.iter().filter_map(of).collect()
}

/// PyTorch takes five steps, we take the next five; where PyTorch's own end is in the fixture.
#[test]
fn a_run_that_torch_began_ends_where_torch_would_have_ended() {
    let tensors = tensors();
    for name in ["adam", "adamw", "adagrad", "rmsprop", "sgd"] {
        let params = params(&fixture().about.shapes, DType::F32);
        let kept = tensors[&format!("{name}/kept")].to_vec2::<f32>().unwrap();
        let mut at = 0;
        for var in params.values() {
            let part = kept[0][at..at + var.elem_count()].to_vec();
            at += part.len();
            var.set(&Tensor::from_vec(part, var.shape(), &Device::Cpu).unwrap())
                .unwrap();
        }
        let mut optimizer = Optimizer::new(params.clone(), rule(name)).unwrap();
        let torch = state(&tensors, name);
        assert!(!torch.is_empty());
        optimizer.load_torch_state(&torch, &ORDER).unwrap();
        assert_eq!(optimizer.steps(), if name == "sgd" { 1 } else { 5 });
        // Out again, before another step: what came in.
        let out = optimizer.torch_state(&ORDER).unwrap();
        assert!(
            out.keys().eq(torch.keys()),
            "{name} {:?} {:?}",
            out.keys(),
            torch.keys()
        );
        for (key, tensor) in &out {
            assert_eq!(values(tensor), values(&torch[key]), "{name} {key}");
            assert_eq!(tensor.dims(), torch[key].dims(), "{name} {key}");
        }
        for step in 6..=10 {
            optimizer.step(&gradients(&params, step)).unwrap();
        }
        let want: Vec<f64> = kept[1].iter().map(|x| f64::from(*x)).collect();
        // Five f32 steps of a few roundings.
        assert_close(&flat(&params), &want, 2e-6, name);
    }
}

#[test]
fn a_saved_torch_state_reads_back() {
    let params = params(&fixture().about.shapes, DType::F32);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("torch.safetensors");
    let mut adam = Optimizer::new(params.clone(), rule("adamw")).unwrap();
    adam.step(&gradients(&params, 1)).unwrap();
    adam.save_torch_state(&file, &ORDER).unwrap();
    let read = candle_core::safetensors::load(&file, &Device::Cpu).unwrap();
    let read: BTreeMap<_, _> = read.into_iter().collect();
    let mut again = Optimizer::new(params, rule("adamw")).unwrap();
    again.load_torch_state(&read, &ORDER).unwrap();
    let [a, b] = [adam, again].map(|optimizer| optimizer.state().unwrap());
    assert!(
        a.tensors
            .iter()
            .all(|(key, tensor)| values(tensor) == values(&b.tensors[key]))
    );
    assert_eq!((a.tensors.len(), a.header), (b.tensors.len(), b.header));
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_changed() {
    let params = params(&fixture().about.shapes, DType::F32);
    let mut adam = Optimizer::new(params, rule("adamw")).unwrap();
    let whole = state(&tensors(), "adamw");
    let mut refused = |state: &BTreeMap<String, Tensor>, order: &[&str], text: &str| {
        let error = adam.load_torch_state(state, order).unwrap_err().to_string();
        assert_eq!(error, text);
        assert_eq!(adam.steps(), 0);
    };
    refused(&whole, &ORDER[..3], "the state has no `number` for `bias`");
    let mut less = whole.clone();
    less.remove("state.0.exp_avg");
    refused(&less, &ORDER, "the state has no `exp_avg` for `weight`");
    less.remove("state.0.step");
    refused(&less, &ORDER, "the state has no `step` for `weight`");
    let mut more = whole.clone();
    more.insert("state.4.step".to_string(), whole["state.0.step"].clone());
    let text = "the state has `step` for `number 4`, which this optimizer does not keep";
    refused(&more, &ORDER, text);
    let swapped = ["gain", "weight", "conv", "bias"];
    let text = "`exp_avg` of `gain` must be F32 [], got F32 [4, 5]";
    refused(&whole, &swapped, text);
    let weights = BTreeMap::from([("fc.weight".to_string(), whole["state.0.step"].clone())]);
    refused(&weights, &ORDER, "the state has no `state` for `bias`");
}
