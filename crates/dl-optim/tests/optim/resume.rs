//! Save, load, go on.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var};
use dl_optim::{Adam, AdamW, Error, Group, Optimizer, OptimizerState, Path, Sgd, StateHeader};
use tempfile::TempDir;

use crate::cases::{Params, fixture, flat, gradients, optimizer, params};

fn file() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    (folder, path)
}

fn copies(params: &Params) -> Params {
    let copy = |(name, var): (&String, &Var)| {
        (
            name.clone(),
            Var::from_tensor(&var.as_detached_tensor().copy().unwrap()).unwrap(),
        )
    };
    params.iter().map(copy).collect()
}

/// Seven steps at once, against three, a file, and four by another optimizer on other Vars.
fn resumes(dtype: DType, path: Path) {
    let fixture = fixture();
    for case in &fixture.about.cases {
        let (_folder, file) = file();
        let params = params(&case.shapes, dtype);
        let mut whole = optimizer(&params, case.rule()).path(path);
        let mut resumed = None;
        for step in 1..=7 {
            whole.set_lr(0.1 / step as f64);
            whole.step(&gradients(&params, step)).unwrap();
            if step == 3 {
                whole.save(&file).unwrap();
                resumed = Some(copies(&params));
            }
        }
        let resumed = resumed.unwrap();
        let mut rest = optimizer(&resumed, case.rule()).path(path);
        rest.load(&file).unwrap();
        assert_eq!((rest.steps(), rest.lr()), (3, 0.1 / 3.0), "{}", case.label);
        for step in 4..=7 {
            rest.set_lr(0.1 / step as f64);
            rest.step(&gradients(&resumed, step)).unwrap();
        }
        assert_eq!(flat(&params), flat(&resumed), "{}", case.label);
        assert_eq!(whole.state().unwrap().header, rest.state().unwrap().header);
    }
}

#[test]
fn every_rule_resumed_from_a_file_equals_the_uninterrupted_run_bit_for_bit() {
    for dtype in [DType::F32, DType::F64] {
        for path in [Path::Fused, Path::Composed] {
            resumes(dtype, path);
        }
    }
    resumes(DType::BF16, Path::Fused);
}

#[test]
fn a_state_is_a_copy_that_later_steps_do_not_change() {
    let params = params(&fixture().about.shapes, DType::F32);
    let mut adam = Optimizer::new(params.clone(), Adam::default()).unwrap();
    adam.step(&gradients(&params, 1)).unwrap();
    let (state, theta) = (adam.state().unwrap(), copies(&params));
    adam.step(&gradients(&params, 2)).unwrap();
    let once = flat(&params);
    adam.load_state(&state).unwrap();
    for (name, var) in &params {
        var.set(&theta[name]).unwrap();
    }
    adam.step(&gradients(&params, 2)).unwrap();
    assert_eq!(flat(&params), once);
}

#[test]
fn groups_and_parameters_without_a_gradient_survive_a_file() {
    let (_folder, file) = file();
    let params = params(&fixture().about.shapes, DType::F64);
    let make = |params: &Params| {
        let optimizer = Optimizer::new(params.clone(), AdamW::default()).unwrap();
        let sgd = Sgd {
            lr: 0.01,
            momentum: 0.9,
            ..Sgd::default()
        };
        let optimizer = optimizer
            .group(Group::matching("conv").unwrap().rule(sgd))
            .unwrap();
        optimizer
            .no_decay_on_bias_and_norm()
            .allow_missing_gradients()
    };
    let without_gain = |params: &Params, step| {
        let mut grads = gradients(params, step);
        grads.remove(&params["gain"]);
        grads
    };
    let mut first = make(&params);
    first.step(&without_gain(&params, 1)).unwrap();
    first.save(&file).unwrap();
    let copies = copies(&params);
    let mut second = make(&copies);
    second.load(&file).unwrap();
    for step in 2..5 {
        first.step(&gradients(&params, step)).unwrap();
        second.step(&gradients(&copies, step)).unwrap();
    }
    assert_eq!(flat(&params), flat(&copies));
    // Its bias correction counts its own steps, as in torch.
    let state = second.state().unwrap();
    let steps = ["gain.step", "weight.step"].map(|key| &state.tensors[key]);
    assert_eq!(steps.map(|step| step.to_scalar::<i64>().unwrap()), [3, 4]);
    let rules: Vec<_> = state
        .header
        .groups
        .iter()
        .map(|group| group.rule.as_str())
        .collect();
    assert_eq!(rules, ["adamw", "sgd", "adamw"]);
}

fn adam_state() -> (Params, OptimizerState) {
    let params = params(&fixture().about.shapes, DType::F32);
    let mut adam = Optimizer::new(params.clone(), Adam::default()).unwrap();
    adam.step(&gradients(&params, 1)).unwrap();
    (params, adam.state().unwrap())
}

/// Loads a state that was changed into an Adam, and checks that the refusal left no trace.
fn refusal(change: impl FnOnce(&mut OptimizerState)) -> String {
    let (params, mut state) = adam_state();
    change(&mut state);
    let mut adam = Optimizer::new(params, Adam::default()).unwrap();
    let error = adam.load_state(&state).unwrap_err();
    assert_eq!(adam.steps(), 0);
    assert_eq!(adam.state().unwrap().tensors.len(), 4);
    error.to_string()
}

#[test]
fn a_state_that_does_not_fit_says_which_parameter_and_why() {
    let zeros = |dtype| Tensor::zeros((4, 6), dtype, &Device::Cpu).unwrap();
    let put = |name: &'static str, tensor: Tensor| {
        move |state: &mut OptimizerState| drop(state.tensors.insert(name.to_string(), tensor))
    };
    assert_eq!(
        refusal(|state| drop(state.tensors.remove("conv.exp_avg"))),
        "the state has no `exp_avg` for `conv`"
    );
    assert_eq!(
        refusal(put("weight.exp_avg_sq", zeros(DType::F32))),
        "`exp_avg_sq` of `weight` must be F32 [4, 5], got F32 [4, 6]"
    );
    assert_eq!(
        refusal(put("old.weight.exp_avg", zeros(DType::F32))),
        "the state has `exp_avg` for `old.weight`, which this optimizer does not keep"
    );
    assert_eq!(
        refusal(put("bias.step", Tensor::new(-1i64, &Device::Cpu).unwrap())),
        "`step` of `bias` must be >= 0, got -1"
    );
    assert_eq!(
        refusal(|state| state.header.groups[0].rule = "rmsprop".to_string()),
        "`bias` is updated by adam, but its state was written by rmsprop"
    );
}

#[test]
fn amsgrad_refuses_a_state_without_its_maximum() {
    let (params, state) = adam_state();
    let rule = Adam {
        amsgrad: true,
        ..Adam::default()
    };
    let error = Optimizer::new(params, rule)
        .unwrap()
        .load_state(&state)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the state has no `max_exp_avg_sq` for `bias`"
    );
}

#[test]
fn damaged_and_foreign_files_are_refused_by_name() {
    let (_folder, file) = file();
    let (params, state) = adam_state();
    state.save(&file).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let mut adam = Optimizer::new(params, Adam::default()).unwrap();
    // Cut anywhere: in the length, in the header, in the data.
    for len in [0, 5, 40, whole.len() - 1] {
        std::fs::write(&file, &whole[..len]).unwrap();
        let error = adam.load(&file).unwrap_err();
        assert!(matches!(error, Error::NotAState { .. }), "{len}: {error}");
    }
    candle_core::safetensors::save(&state.tensors.into_iter().collect(), &file).unwrap();
    let error = adam.load(&file).unwrap_err().to_string();
    assert!(error.ends_with("it has no `optimizer` metadata"), "{error}");
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(adam.load(&file), Err(Error::File { .. })));
}

/// The header as version 0.1's first files had it.
#[test]
fn a_header_without_what_was_added_later_still_reads() {
    let (_, state) = adam_state();
    let mut older = serde_json::to_value(&state.header).unwrap();
    for added in ["skipped", "evaluating", "low_precision"] {
        older.as_object_mut().unwrap().remove(added).unwrap();
    }
    let read: StateHeader = serde_json::from_value(older).unwrap();
    assert_eq!(read, state.header);
}
