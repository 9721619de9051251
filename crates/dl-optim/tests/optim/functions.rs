//! The test functions, and that optimizers find their minima.

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_optim::test_functions::{LogisticRegression, planes, quadratic};
use dl_optim::{Adam, AdamW, LrRange, Optimizer, RmsProp, Rule, Sgd};

use crate::cases::{assert_close, values};

fn gradient(f: impl Fn(&Tensor) -> Result<Tensor>, at: &[f64]) -> Vec<f64> {
    let x = Var::new(at, &Device::Cpu).unwrap();
    let grads = f(&x).unwrap().backward().unwrap();
    values(grads.get(&x).unwrap())
}

fn value(f: impl Fn(&Tensor) -> Result<Tensor>, at: &[f64]) -> f64 {
    let x = Tensor::new(at, &Device::Cpu).unwrap();
    f(&x).unwrap().to_scalar::<f64>().unwrap()
}

#[test]
fn every_function_is_zero_and_flat_at_its_minimum_and_its_gradient_is_right_elsewhere() {
    for plane in planes() {
        assert!(
            value(plane.value, &plane.minimum).abs() < 1e-12,
            "{}",
            plane.name
        );
        assert_close(
            &gradient(plane.value, &plane.minimum),
            &[0.0; 2],
            1e-12,
            plane.name,
        );
        let h = 1e-6;
        let along = |k: usize| {
            let at = |by: f64| {
                let mut at = plane.start;
                at[k] += by;
                value(plane.value, &at)
            };
            (at(h) - at(-h)) / (2.0 * h)
        };
        assert_close(
            &gradient(plane.value, &plane.start),
            &[along(0), along(1)],
            1e-6,
            plane.name,
        );
        let inside = |k: usize| {
            let (low, high) = plane.window[k];
            low < plane.start[k] && plane.start[k] < high
        };
        assert!(inside(0) && inside(1), "{}", plane.name);
    }
}

fn minimized(
    rule: impl Into<Box<dyn Rule>>,
    f: &dyn Fn(&Tensor) -> Result<Tensor>,
    n: usize,
) -> f64 {
    let x = Var::zeros(n, DType::F64, &Device::Cpu).unwrap();
    x.set(&(x.zeros_like().unwrap() + 1.0).unwrap()).unwrap();
    let mut optimizer = Optimizer::new([("x".to_string(), x.clone())], rule).unwrap();
    for step in 0..2000 {
        // Adaptive rules keep jumping by their rate, so it has to fall.
        optimizer.set_lr(0.05 * (1.0 - step as f64 / 2000.0));
        optimizer.backward_step(&f(&x).unwrap()).unwrap();
    }
    f(&x).unwrap().to_scalar::<f64>().unwrap()
}

#[test]
fn rules_reach_the_minimum_of_an_ill_conditioned_bowl() {
    let bowl = |x: &Tensor| quadratic(x, 30.0);
    let momentum = Sgd {
        momentum: 0.9,
        ..Sgd::default()
    };
    let rules: [Box<dyn Rule>; 4] = [
        momentum.into(),
        Adam::default().into(),
        RmsProp::default().into(),
        AdamW {
            weight_decay: 0.0,
            ..AdamW::default()
        }
        .into(),
    ];
    for rule in rules {
        let name = rule.basics().name;
        let left = minimized(rule, &bowl, 5);
        assert!(left < 1e-6, "{name}: {left}");
    }
}

#[test]
fn logistic_regression_has_one_minimum_that_different_rules_agree_on() {
    let problem = LogisticRegression::new(50, 4, &Device::Cpu).unwrap();
    let loss = |w: &Tensor| problem.loss(w);
    let momentum = Sgd {
        momentum: 0.9,
        ..Sgd::default()
    };
    let [a, b] = [
        minimized(momentum, &loss, 4),
        minimized(Adam::default(), &loss, 4),
    ];
    // The slowest direction has a curvature of 10⁻³ and more.
    assert!((a - b).abs() < 1e-4 && a < 0.65, "{a} {b}");
}

/// A quadratic with curvature 4 is stable below a rate of 0.5.
#[test]
fn the_range_test_finds_a_rate_below_the_stable_one_and_restores_everything() {
    let x = Var::new(&[1.0_f64, -1.0], &Device::Cpu).unwrap();
    let adam = Sgd {
        momentum: 0.5,
        lr: 0.01,
        ..Sgd::default()
    };
    let mut sgd = Optimizer::new([("x".to_string(), x.clone())], adam).unwrap();
    let loss = || x.sqr()?.sum_all()? * 2.0;
    sgd.backward_step(&loss().unwrap()).unwrap();
    let (before, state) = (values(&x), sgd.state().unwrap());
    let range = LrRange {
        smoothing: 0.5,
        ..LrRange::default()
    };
    let curve = sgd.find_lr(&range, loss).unwrap();
    let (fast, careful) = (
        curve.suggestion().unwrap(),
        curve.tenth_of_lowest().unwrap(),
    );
    assert!(
        fast > 1e-3 && fast < 0.75 && careful < 0.75,
        "{fast} {careful}"
    );
    assert!(curve.diverged && curve.points.len() < 100);
    assert!(curve.points.windows(2).all(|pair| pair[0].lr < pair[1].lr));
    assert_eq!((values(&x), sgd.lr()), (before, 0.01));
    let now = sgd.state().unwrap();
    assert_eq!(now.header, state.header);
    for (key, tensor) in &state.tensors {
        assert_eq!(values(tensor), values(&now.tensors[key]), "{key}");
    }
    let bad = LrRange { end: 1e-8, ..range };
    let error = sgd.find_lr(&bad, || x.sum_all()).unwrap_err().to_string();
    assert_eq!(error, "lr_range: `end` must be > start, got 0.00000001");
}

#[test]
fn a_loss_that_is_no_number_ends_the_range_test() {
    let mut calls = 0;
    let curve = LrRange::default().run(|_| {
        calls += 1;
        Ok::<_, dl_optim::Error>(if calls == 8 { f64::NAN } else { 1.0 })
    });
    let curve = curve.unwrap();
    assert!(curve.diverged && curve.points.len() == 7 && curve.suggestion().is_none());
}
