//! Averages of parameters.

use candle_core::DType;
use dl_optim::{Ema, Optimizer, Sgd};

use crate::cases::{Params, assert_close, fixture, flat, gradients, params, values};

fn train(params: &Params, sgd: &mut Optimizer, ema: &mut Ema, steps: std::ops::Range<usize>) {
    for step in steps {
        sgd.step(&gradients(params, step)).unwrap();
        ema.update().unwrap();
    }
}

fn setup(dtype: DType) -> (Params, Optimizer, Ema) {
    let params = params(&fixture().about.shapes, dtype);
    let sgd = Optimizer::new(params.clone(), Sgd::default()).unwrap();
    let ema = Ema::new(params.clone(), 0.75).unwrap();
    (params, sgd, ema)
}

/// The recursion written as a sum: weights 0.75^(n−k) · 0.25, and 0.75^(n−1) for the first.
#[test]
fn the_average_is_the_weighted_sum_of_all_parameters_so_far() {
    // f32 rounds once per step; bf16 parameters are exact inputs of an f32 average.
    for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6), (DType::BF16, 1e-6)] {
        let (params, mut sgd, mut ema) = setup(dtype);
        let mut want = vec![0.0; flat(&params).len()];
        for step in 1..=5 {
            train(&params, &mut sgd, &mut ema, step..step + 1);
            let weight = if step == 1 { 1.0 } else { 0.25 };
            let weight = weight * 0.75f64.powi(5 - step as i32);
            for (want, theta) in want.iter_mut().zip(flat(&params)) {
                *want += weight * theta;
            }
        }
        let got: Vec<f64> = ema.state().unwrap().values().flat_map(values).collect();
        assert_close(&got, &want, tolerance, &format!("{dtype:?}"));
    }
}

#[test]
fn parameters_are_put_back_bit_for_bit_even_if_the_work_fails() {
    let (params, mut sgd, mut ema) = setup(DType::F32);
    train(&params, &mut sgd, &mut ema, 1..6);
    let own = flat(&params);
    let seen: Result<Vec<f64>, String> = ema.with_averages(|| Err("no data".to_string())).unwrap();
    assert!(seen.is_err());
    let averaged = ema.with_averages(|| flat(&params)).unwrap();
    assert_ne!(averaged, own);
    assert_eq!(flat(&params), own);
}

#[test]
fn an_average_resumed_from_its_state_equals_the_uninterrupted_one() {
    let (params, mut sgd, mut ema) = setup(DType::F32);
    train(&params, &mut sgd, &mut ema, 1..4);
    let (state, updates) = (ema.state().unwrap(), ema.updates());
    let mut resumed = Ema::new(params.clone(), 0.75).unwrap();
    resumed.load_state(&state, updates).unwrap();
    for step in 4..6 {
        train(&params, &mut sgd, &mut ema, step..step + 1);
        resumed.update().unwrap();
    }
    let [a, b] = [ema, resumed].map(|ema| ema.state().unwrap());
    assert!(
        a.keys().eq(b.keys())
            && a.values()
                .zip(b.values())
                .all(|(a, b)| values(a) == values(b))
    );
}

#[test]
fn an_average_that_is_missing_is_named() {
    let (_, _, mut ema) = setup(DType::F32);
    let mut state = ema.state().unwrap();
    state.remove("gain");
    let error = ema.load_state(&state, 1).unwrap_err();
    assert_eq!(error.to_string(), "the state has no `average` for `gain`");
}
