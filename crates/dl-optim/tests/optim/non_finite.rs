//! Gradients that are not finite, and the scale that follows them.

use candle_core::{DType, Device, Tensor};
use dl_optim::{Adam, Clip, LossScaler, NonFinite, NormType, Optimizer, Sgd};
use serde::Deserialize;

use crate::cases::{Params, fixture, flat, gradients, params, path};

fn setup() -> (Params, Optimizer) {
    let params = params(&fixture().about.shapes, DType::F32);
    let adam = Optimizer::new(params.clone(), Adam::default()).unwrap();
    (params, adam)
}

fn bad(params: &Params, value: f32) -> candle_core::backprop::GradStore {
    let mut grads = gradients(params, 1);
    for name in ["weight", "gain"] {
        let grad = grads.get(&params[name]).unwrap();
        let grad = (grad.zeros_like().unwrap() + f64::from(value)).unwrap();
        grads.insert(&params[name], grad);
    }
    grads
}

#[test]
fn an_error_names_the_parameters_and_nothing_moves() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for clip in [
            Clip::Value(1.0),
            Clip::Norm(1.0),
            Clip::NormOf(NormType::L1, 1.0),
        ] {
            let (params, adam) = setup();
            let mut adam = adam.non_finite(NonFinite::Error).clip(clip).unwrap();
            let before = flat(&params);
            let error = adam.step(&bad(&params, value)).unwrap_err().to_string();
            assert_eq!(error, "the gradient is not finite for gain, weight");
            assert_eq!((flat(&params), adam.steps()), (before, 0));
        }
    }
}

/// f64: the sum of the squares is infinite, the gradients are not.
#[test]
fn a_norm_that_overflows_is_not_taken_for_a_gradient_that_does() {
    let params = params(&fixture().about.shapes, DType::F64);
    let mut grads = gradients(&params, 1);
    let huge = Tensor::new(1e200, &Device::Cpu).unwrap();
    grads.insert(&params["gain"], huge);
    let sgd = Optimizer::new(params, Sgd::default()).unwrap();
    let mut sgd = sgd
        .non_finite(NonFinite::Error)
        .clip(Clip::Norm(1.0))
        .unwrap();
    sgd.step(&grads).unwrap();
}

/// A run with a bad step in it ends as the run without that step, slots and step counts included.
#[test]
fn a_skipped_step_leaves_no_trace_but_its_count() {
    let ((skipping, adam), (plain, mut without)) = (setup(), setup());
    let mut adam = adam.non_finite(NonFinite::Skip);
    for step in 1..6 {
        if step == 3 {
            adam.step(&bad(&skipping, f32::NAN)).unwrap();
        }
        adam.step(&gradients(&skipping, step)).unwrap();
        without.step(&gradients(&plain, step)).unwrap();
    }
    assert_eq!(flat(&skipping), flat(&plain));
    assert_eq!((adam.steps(), adam.skipped_steps()), (5, 1));
    let mut state = adam.state().unwrap();
    without.load_state(&state).unwrap();
    assert_eq!(without.skipped_steps(), 1);
    // States written before there was a count have none.
    let mut header = serde_json::to_value(&state.header).unwrap();
    for field in ["skipped", "low_precision"] {
        assert!(header.as_object_mut().unwrap().remove(field).is_some());
    }
    state.header = serde_json::from_value(header).unwrap();
    without.load_state(&state).unwrap();
    assert_eq!(without.skipped_steps(), 0);
}

#[derive(Deserialize)]
struct Driver {
    loss_scaling: Scaling,
}

#[derive(Deserialize)]
struct Scaling {
    overflows: Vec<bool>,
    cases: Vec<Scaled>,
}

#[derive(Deserialize)]
struct Scaled {
    options: std::collections::BTreeMap<String, f64>,
    scales: Vec<f64>,
}

#[test]
fn the_loss_scale_follows_torchs_and_resumes() {
    let text = std::fs::read_to_string(path("driver.json")).unwrap();
    let Driver { loss_scaling } = serde_json::from_str(&text).unwrap();
    assert_eq!(loss_scaling.cases.len(), 3);
    for Scaled { options, scales } in loss_scaling.cases {
        let option = |name: &str, default: f64| options.get(name).copied().unwrap_or(default);
        let mut scaler = LossScaler::new(
            option("init_scale", 65536.0),
            option("growth_factor", 2.0),
            option("backoff_factor", 0.5),
            option("growth_interval", 2000.0) as usize,
        )
        .unwrap();
        let (params, mut adam) = setup();
        for (i, (&overflow, want)) in loss_scaling.overflows.iter().zip(scales).enumerate() {
            let grads = match overflow {
                true => bad(&params, f32::INFINITY),
                false => gradients(&params, i),
            };
            assert_eq!(scaler.step(&mut adam, &grads).unwrap(), !overflow);
            assert_eq!(scaler.scale, want, "{options:?} {i}");
            let saved = serde_json::to_string(&scaler).unwrap();
            scaler = serde_json::from_str(&saved).unwrap();
        }
        assert_eq!((adam.steps(), adam.skipped_steps()), (36, 4));
    }
    assert!(LossScaler::new(0.0, 2.0, 0.5, 1).is_err());
    assert!(LossScaler::new(1.0, 1.0, 0.5, 1).is_err());
    assert!(LossScaler::new(1.0, 2.0, 1.0, 1).is_err());
    assert!(LossScaler::new(1.0, 2.0, 0.5, 0).is_err());
}

/// One element anywhere, in lanes and behind them, dense and transposed, among the largest numbers.
#[test]
fn a_single_element_that_is_not_finite_is_found_wherever_it_is() {
    let var = |dtype| candle_core::Var::zeros((5, 11), dtype, &Device::Cpu).unwrap();
    let passes = |values: Vec<f32>, dtype: DType, transposed: bool| {
        let var = var(dtype);
        let adam = Optimizer::new([("w".to_string(), var.clone())], Adam::default()).unwrap();
        let shape = if transposed { (11, 5) } else { (5, 11) };
        let gradient = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        let gradient = gradient.to_dtype(dtype).unwrap();
        let mut grads = candle_core::backprop::GradStore::default();
        let transpose = |t: Tensor| if transposed { t.t().unwrap() } else { t };
        grads.insert(&var, transpose(gradient));
        adam.non_finite(NonFinite::Error).step(&grads).is_ok()
    };
    for dtype in [DType::F32, DType::BF16] {
        for transposed in [false, true] {
            assert!(passes(vec![-3e38; 55], dtype, transposed));
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for at in 0..55 {
                    let mut values = vec![3e38; 55];
                    values[at] = broken;
                    assert!(!passes(values, dtype, transposed), "{broken} at {at}");
                }
            }
        }
    }
}
