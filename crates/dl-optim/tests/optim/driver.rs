//! What the driver refuses, and what it leaves alone when it does.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use dl_optim::{Error, Optimizer, Sgd, clip_grad_value};

use crate::cases::{Params, fixture, flat, gradients, params};

fn named(names: &[&str]) -> Params {
    let shapes = names
        .iter()
        .map(|name| (name.to_string(), vec![2, 2]))
        .collect();
    params(&shapes, DType::F32)
}

#[test]
fn missing_gradients_are_named_and_nothing_moves() {
    let params = named(&["a", "b", "c"]);
    let mut grads = gradients(&params, 1);
    grads.remove(&params["a"]);
    grads.remove(&params["c"]);
    let before = flat(&params);
    let mut sgd = Optimizer::new(params.clone(), Sgd::default()).unwrap();
    assert_eq!(
        sgd.step(&grads).unwrap_err().to_string(),
        "no gradient for a, c"
    );
    assert_eq!((flat(&params), sgd.steps()), (before.clone(), 0));
    let mut sgd = sgd.allow_missing_gradients();
    sgd.step(&grads).unwrap();
    let after = flat(&params);
    // Four elements each: only those of `b` move.
    assert!(after[..4] == before[..4] && after[8..] == before[8..]);
    assert_ne!(after[4..8], before[4..8]);
}

#[test]
fn a_gradient_that_does_not_fit_is_refused_by_name() {
    let params = named(&["a"]);
    for (shape, dtype) in [((2, 3), DType::F32), ((2, 2), DType::F64)] {
        let mut grads = GradStore::default();
        grads.insert(
            &params["a"],
            Tensor::zeros(shape, dtype, &Device::Cpu).unwrap(),
        );
        let error = Optimizer::new(params.clone(), Sgd::default())
            .unwrap()
            .step(&grads);
        assert!(matches!(error, Err(Error::GradientMismatch { name, .. }) if name == "a"));
    }
}

#[test]
fn names_and_variables_that_come_twice_are_refused() {
    let var = Var::zeros(2, DType::F32, &Device::Cpu).unwrap();
    let pair = |a: &str, b: &str| [(a.to_string(), var.clone()), (b.to_string(), var.clone())];
    let error = Optimizer::new(pair("a", "a"), Sgd::default()).unwrap_err();
    assert_eq!(error.to_string(), "the parameter name `a` came twice");
    let error = Optimizer::new(pair("wte", "lm_head"), Sgd::default()).unwrap_err();
    let text = "`lm_head` and `wte` are the same variable; pass it once";
    assert_eq!(error.to_string(), text);
    assert!(matches!(
        Optimizer::new([], Sgd::default()),
        Err(Error::NoParameters)
    ));
}

#[test]
fn integers_are_no_parameters() {
    let var = Var::zeros(2, DType::U32, &Device::Cpu).unwrap();
    let error = Optimizer::new([("ids".to_string(), var)], Sgd::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`ids` must be f64, f32, f16 or bf16, got U32"
    );
}

#[test]
fn the_order_of_the_parameters_does_not_matter() {
    let params = named(&["b", "a", "c"]);
    let backwards: Vec<_> = params.clone().into_iter().rev().collect();
    let sgd = Optimizer::new(backwards, Sgd::default()).unwrap();
    assert_eq!(
        sgd.parameters().map(|(name, _)| name).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
}

#[test]
fn a_rate_that_is_not_finite_is_refused_before_anything_moves() {
    let params = named(&["a"]);
    let before = flat(&params);
    let mut sgd = Optimizer::new(params.clone(), Sgd::default()).unwrap();
    sgd.set_lr(f64::NAN);
    assert!(sgd.step(&gradients(&params, 1)).is_err());
    assert_eq!(flat(&params), before);
}

/// A power of two, so that scaling is exact: eight batches summed, one step on their mean.
#[test]
fn a_scaled_step_is_a_step_on_the_scaled_gradient() {
    let [scaled, plain] = [true, false].map(|scale| {
        let params = params(&fixture().about.shapes, DType::F32);
        let rule = Sgd {
            momentum: 0.9,
            weight_decay: 0.1,
            ..Sgd::default()
        };
        let mut sgd = Optimizer::new(params.clone(), rule).unwrap();
        let mut grads = gradients(&params, 1);
        if scale {
            for var in params.values() {
                let grad = (grads.get(var).unwrap() * 8.0).unwrap();
                grads.insert(var, grad);
            }
        }
        sgd.step_scaled(&grads, if scale { 0.125 } else { 1.0 })
            .unwrap();
        flat(&params)
    });
    assert_eq!(scaled, plain);
}

#[test]
fn a_gradient_that_is_not_a_number_reaches_the_parameter_and_its_neighbours_do_not_change_for_it() {
    let params = named(&["a"]);
    let mut grads = GradStore::default();
    let values = Tensor::new(&[[f32::NAN, 1.0], [0.0, -1.0]], &Device::Cpu).unwrap();
    grads.insert(&params["a"], values);
    clip_grad_value(&mut grads, &params, 10.0).unwrap();
    Optimizer::new(params.clone(), Sgd::default())
        .unwrap()
        .step(&grads)
        .unwrap();
    let nan: Vec<_> = flat(&params).iter().map(|x| x.is_nan()).collect();
    assert_eq!(nan, [true, false, false, false]);
}
