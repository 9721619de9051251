//! One step from several batches.

use candle_core::{DType, Device, Tensor, Var};
use dl_optim::{Accumulator, Adam, Clip, LossScaler, Optimizer, Sgd};

use crate::cases::{assert_close, fixture, flat, gradients, params, values};

/// A linear model; the gradient is that of the mean loss over the rows.
fn loss(w: &Var, rows: std::ops::Range<usize>) -> Tensor {
    let x = Tensor::arange(0f64, 40.0, &Device::Cpu).unwrap();
    let x = (x.sin().unwrap()).reshape((10, 4)).unwrap();
    let x = x
        .narrow(0, rows.start, rows.len())
        .unwrap()
        .to_dtype(w.dtype())
        .unwrap();
    let y = x.sum_keepdim(1).unwrap();
    let z = x.matmul(&w.unsqueeze(1).unwrap()).unwrap();
    (z - y).unwrap().sqr().unwrap().mean_all().unwrap()
}

fn model(dtype: DType) -> (Var, Optimizer) {
    let w = Var::zeros(4, dtype, &Device::Cpu).unwrap();
    let params = [("w".to_string(), w.clone())];
    let adam = Adam {
        lr: 0.1,
        ..Adam::default()
    };
    let adam = Optimizer::new(params, adam).unwrap();
    (w, adam.clip(Clip::Norm(0.5)).unwrap())
}

/// Ten samples as 10, as 4 + 4 + 2 and as 3 + 3 + 3 + 1: the last batch is smaller, the windows have
/// different numbers of batches, and the norm that is clipped is that of the mean.
#[test]
fn accumulated_batches_step_as_one_large_batch_does_even_if_the_last_is_smaller() {
    let steps = |size: usize| {
        let (w, mut adam) = model(DType::F64);
        let mut accumulator = Accumulator::new(&adam);
        for _ in 0..5 {
            for start in (0..10).step_by(size) {
                let rows = start..(start + size).min(10);
                let grads = loss(&w, rows.clone()).backward().unwrap();
                accumulator.add(&grads, rows.len()).unwrap();
            }
            assert_eq!(accumulator.samples(), 10);
            assert_eq!(accumulator.batches(), 10usize.div_ceil(size));
            accumulator.step(&mut adam).unwrap();
            assert_eq!((accumulator.samples(), accumulator.batches()), (0, 0));
        }
        values(&w)
    };
    let (w, mut adam) = model(DType::F64);
    for _ in 0..5 {
        adam.backward_step(&loss(&w, 0..10)).unwrap();
    }
    for size in [10, 4, 3, 1] {
        // Sums in another order: a few roundings.
        assert_close(
            &steps(size),
            &values(&w),
            1e-13,
            &format!("batches of {size}"),
        );
    }
}

/// 1 + 256 times 2⁻⁹: in bf16 itself the sum would stay 1.
#[test]
fn bf16_gradients_are_added_up_in_f32() {
    let w = Var::zeros(1, DType::BF16, &Device::Cpu).unwrap();
    let sgd = Sgd {
        lr: 1.0,
        ..Sgd::default()
    };
    let mut sgd = Optimizer::new([("w".to_string(), w.clone())], sgd).unwrap();
    let mut accumulator = Accumulator::new(&sgd);
    for i in 0..257 {
        let g = if i == 0 { 1.0 } else { 1.0 / 512.0 };
        accumulator
            .add(
                &(&*w * g).unwrap().sum_all().unwrap().backward().unwrap(),
                1,
            )
            .unwrap();
    }
    let (sums, by) = accumulator.sums().unwrap();
    sgd.step_scaled(&sums, by * 257.0).unwrap();
    assert_eq!(values(&w), [-1.5]);
}

#[test]
fn an_infinite_gradient_of_the_last_window_does_not_reach_the_next() {
    let params = params(&fixture().about.shapes, DType::F32);
    let sgd = Optimizer::new(params.clone(), Sgd::default()).unwrap();
    let mut accumulator = Accumulator::new(&sgd);
    let mut bad = gradients(&params, 1);
    bad.insert(
        &params["gain"],
        Tensor::new(f32::INFINITY, &Device::Cpu).unwrap(),
    );
    accumulator.add(&bad, 1).unwrap();
    accumulator.clear();
    assert_eq!(
        accumulator.sums().unwrap_err().to_string(),
        "accumulator: `samples` must be > 0, got 0"
    );
    accumulator.add(&gradients(&params, 2), 1).unwrap();
    let (sums, _) = accumulator.sums().unwrap();
    let gain = values(sums.get(&params["gain"]).unwrap());
    assert_eq!(
        gain,
        values(gradients(&params, 2).get(&params["gain"]).unwrap())
    );
}

#[test]
fn a_parameter_without_a_gradient_in_the_whole_window_is_still_named() {
    let params = params(&fixture().about.shapes, DType::F32);
    let mut sgd = Optimizer::new(params.clone(), Sgd::default()).unwrap();
    let mut accumulator = Accumulator::new(&sgd);
    accumulator.add(&gradients(&params, 1), 1).unwrap();
    accumulator.step(&mut sgd).unwrap();
    let mut grads = gradients(&params, 2);
    grads.remove(&params["bias"]);
    accumulator.add(&grads, 1).unwrap();
    let before = flat(&params);
    let error = accumulator.step(&mut sgd).unwrap_err().to_string();
    assert_eq!(error, "no gradient for bias");
    assert_eq!(flat(&params), before);
}

/// The gradient, 2⁻²⁷, is 0 in f16; times 2¹⁴ it is not.
#[test]
fn a_scaled_loss_keeps_gradients_that_f16_would_lose() {
    let moved = |scaled: bool| {
        let w = Var::ones(1, DType::F16, &Device::Cpu).unwrap();
        let sgd = Sgd {
            lr: 2f64.powi(25),
            ..Sgd::default()
        };
        let mut sgd = Optimizer::new([("w".to_string(), w.clone())], sgd).unwrap();
        let loss = ((w.sum_all().unwrap() * 2f64.powi(-13)).unwrap() * 2f64.powi(-14)).unwrap();
        if scaled {
            let mut scaler = LossScaler::new(2f64.powi(14), 2.0, 0.5, 100).unwrap();
            let grads = scaler.scaled(&loss).unwrap().backward().unwrap();
            assert!(scaler.step(&mut sgd, &grads).unwrap());
        } else {
            sgd.backward_step(&loss).unwrap();
        }
        values(&w)[0]
    };
    assert_eq!((moved(false), moved(true)), (1.0, 0.75));
}
