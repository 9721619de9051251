//! Lookahead, SAM, SWA, centralised gradients, momentum from outside, candle-nn's trait.

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::Optimizer as _;
use dl_optim::{
    Adam, Error, Lookahead, Optimizer, Rule, Sam, Sgd, Swa, centralize_gradients, test_functions,
};

use crate::cases::{Params, assert_close, fixture, flat, gradients, params, values};

fn setup(dtype: DType) -> (Params, Optimizer) {
    let params = params(&fixture().about.shapes, dtype);
    let adam = Optimizer::new(params.clone(), Adam::default()).unwrap();
    (params, adam)
}

/// The algorithm of the paper on plain numbers, beside a second optimizer that takes the same steps.
#[test]
fn lookahead_is_the_papers_loop_and_resumes() {
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let (params, mut adam) = setup(dtype);
        let mut lookahead = Lookahead::new(params.clone(), 3, 0.25).unwrap();
        let mut slow = flat(&params);
        for step in 1..=9 {
            adam.step(&gradients(&params, step)).unwrap();
            let fast = flat(&params);
            assert_eq!(lookahead.update().unwrap(), step % 3 == 0);
            if step % 3 != 0 {
                assert_eq!(flat(&params), fast);
                continue;
            }
            for (slow, fast) in slow.iter_mut().zip(fast) {
                *slow += 0.25 * (fast - *slow);
            }
            let got: Vec<f64> = lookahead
                .state()
                .unwrap()
                .values()
                .flat_map(values)
                .collect();
            // f32 rounds twice a sync.
            let tolerance = if dtype == DType::F64 { 1e-15 } else { 1e-6 };
            assert_close(&got, &slow, tolerance, &format!("{dtype:?} {step}"));
            // bf16 has eight bits.
            let tolerance = if dtype == DType::BF16 {
                4e-3
            } else {
                tolerance
            };
            assert_close(
                &flat(&params),
                &slow,
                tolerance,
                &format!("{dtype:?} {step}"),
            );
            let state = lookahead.state().unwrap();
            lookahead = Lookahead::new(params.clone(), 3, 0.25).unwrap();
            lookahead.load_state(&state, step).unwrap();
        }
    }
}

/// ½ Σ a x²: the gradient at θ + ε is a (θ + ε), so the step is known in closed form.
#[test]
fn sam_steps_by_the_gradient_at_the_worst_place_nearby() {
    for adaptive in [false, true] {
        let x = Var::new(&[1.0_f64, -2.0, 0.5], &Device::Cpu).unwrap();
        let a = Tensor::new(&[1.0_f64, 3.0, 10.0], &Device::Cpu).unwrap();
        let sgd = Sgd {
            lr: 0.125,
            ..Sgd::default()
        };
        let mut sgd = Optimizer::new([("x".to_string(), x.clone())], sgd).unwrap();
        let mut seen = Vec::new();
        let sam = Sam { rho: 0.5, adaptive };
        let loss = sam
            .step(&mut sgd, || {
                seen.push(values(&x));
                let loss = ((x.sqr()? * &a)?.sum_all()? * 0.5)?;
                Ok((loss.to_scalar::<f64>()?, loss.backward()?))
            })
            .unwrap();
        let (theta, a) = ([1.0, -2.0, 0.5], [1.0, 3.0, 10.0]);
        assert_eq!(loss, 0.5 * (1.0 + 12.0 + 2.5));
        let t = |i: usize| if adaptive { f64::abs(theta[i]) } else { 1.0 };
        let g = |i: usize| a[i] * theta[i];
        let norm = (0..3).map(|i| (t(i) * g(i)).powi(2)).sum::<f64>().sqrt();
        let worst: Vec<f64> = (0..3)
            .map(|i| theta[i] + 0.5 * t(i) * t(i) * g(i) / norm)
            .collect();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], theta);
        assert_close(&seen[1], &worst, 1e-11, "place");
        let want: Vec<f64> = (0..3).map(|i| theta[i] - 0.125 * a[i] * worst[i]).collect();
        assert_close(&values(&x), &want, 1e-11, "step");
    }
}

#[test]
fn sam_puts_the_parameters_back_if_the_second_gradient_fails() {
    let (params, mut adam) = setup(DType::F32);
    let (before, mut calls) = (flat(&params), 0);
    let failed: Result<(), Error> = Sam::default().step(&mut adam, || {
        calls += 1;
        match calls {
            1 => Ok(((), gradients(&params, 1))),
            _ => {
                assert_ne!(flat(&params), before);
                Err(Error::NoParameters)
            }
        }
    });
    assert!(matches!(failed, Err(Error::NoParameters)));
    assert_eq!((flat(&params), adam.steps()), (before, 0));
}

#[test]
fn swa_is_the_plain_mean_and_resumes() {
    let (params, mut adam) = setup(DType::F32);
    let mut swa = Swa::new(params.clone()).unwrap();
    let mut sum = vec![0.0; flat(&params).len()];
    for step in 1..=6 {
        adam.step(&gradients(&params, step)).unwrap();
        swa.update().unwrap();
        for (sum, theta) in sum.iter_mut().zip(flat(&params)) {
            *sum += theta;
        }
        let state = (swa.state().unwrap(), swa.updates());
        swa = Swa::new(params.clone()).unwrap();
        swa.load_state(&state.0, state.1).unwrap();
    }
    let mean: Vec<_> = sum.iter().map(|sum| sum / 6.0).collect();
    let own = flat(&params);
    let averaged = swa.with_averages(|| flat(&params)).unwrap();
    // One f32 rounding an update.
    assert_close(&averaged, &mean, 1e-6, "mean");
    assert_eq!(flat(&params), own);
}

#[test]
fn centralised_gradients_sum_to_zero_in_every_unit_and_vectors_stay() {
    let ((inside, adam), (before, mut plain)) = (setup(DType::F64), setup(DType::F64));
    let mut grads = gradients(&before, 1);
    centralize_gradients(&mut grads, &before).unwrap();
    for (name, var) in &before {
        let (got, whole) = (grads.get(var).unwrap(), gradients(&before, 1));
        if var.rank() <= 1 {
            assert_eq!(values(got), values(whole.get(var).unwrap()), "{name}");
            continue;
        }
        let len = var.elem_count() / var.dims()[0];
        for (unit, old) in values(got)
            .chunks(len)
            .zip(values(whole.get(var).unwrap()).chunks(len))
        {
            let mean = old.iter().sum::<f64>() / len as f64;
            let want: Vec<_> = old.iter().map(|x| x - mean).collect();
            assert_close(unit, &want, 1e-14, name);
        }
    }
    plain.step(&grads).unwrap();
    adam.centralize_gradients()
        .step(&gradients(&inside, 1))
        .unwrap();
    assert_eq!(flat(&inside), flat(&before));
}

/// A momentum that is set at every step against rules made with it: SGD's does not depend on what
/// came before.
#[test]
fn a_momentum_set_from_outside_is_that_of_the_rule() {
    let momenta = [0.9, 0.5, 0.7];
    let params = params(&fixture().about.shapes, DType::F64);
    let sgd = |momentum| Sgd {
        momentum,
        lr: 0.1,
        ..Sgd::default()
    };
    let mut optimizer = Optimizer::new(params.clone(), sgd(0.1)).unwrap();
    let mut want = flat(&params);
    let mut velocity = vec![0.0; want.len()];
    for (step, momentum) in momenta.into_iter().enumerate() {
        let grads = gradients(&params, step);
        let g: Vec<f64> = params
            .values()
            .flat_map(|var| values(grads.get(var).unwrap()))
            .collect();
        for i in 0..g.len() {
            velocity[i] = momentum * velocity[i] + g[i];
            want[i] -= 0.1 * velocity[i];
        }
        optimizer.set_momentum(momentum).unwrap();
        optimizer.step(&grads).unwrap();
    }
    assert_close(&flat(&params), &want, 1e-14, "sgd");
    let error = optimizer.set_momentum(0.0).unwrap_err().to_string();
    assert_eq!(
        error,
        "sgd: `momentum` must be 0 or not 0 as when it began, got 0"
    );
    let mut adagrad = Optimizer::new(params, dl_optim::Adagrad::default()).unwrap();
    let error = adagrad.set_momentum(0.5).unwrap_err().to_string();
    assert_eq!(error, "adagrad has no momentum");
}

#[test]
fn a_candle_nn_program_gets_the_steps_that_ours_takes() {
    let [theirs, ours] = [0, 1].map(|_| params(&fixture().about.shapes, DType::F32));
    let rule: Box<dyn Rule> = Adam::default().into();
    let mut vars: Vec<Var> = theirs.values().cloned().collect();
    vars.push(Var::zeros(3, DType::U32, &Device::Cpu).unwrap()); // left out, as candle-nn does
    let mut generic = <Optimizer as candle_nn::Optimizer>::new(vars, rule).unwrap();
    let mut adam = Optimizer::new(ours.clone(), Adam::default()).unwrap();
    for step in 1..4 {
        generic.set_learning_rate(0.1 / step as f64);
        adam.set_lr(0.1 / step as f64);
        candle_nn::Optimizer::step(&mut generic, &gradients(&theirs, step)).unwrap();
        adam.step(&gradients(&ours, step)).unwrap();
        assert_eq!(generic.learning_rate(), adam.lr());
    }
    assert_eq!(flat(&theirs), flat(&ours));
    // A loss that misses most of them, as candle-nn allows.
    let loss = test_functions::sphere(&theirs["bias"]).unwrap();
    candle_nn::Optimizer::backward_step(&mut generic, &loss).unwrap();
    assert_ne!(values(&theirs["bias"]), values(&ours["bias"]));
    assert_eq!(values(&theirs["weight"]), values(&ours["weight"]));
}
