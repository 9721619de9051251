//! Clipping.

use candle_core::{DType, Device, Tensor};
use dl_optim::{Adam, Clip, Optimizer, Path, clip_grad_norm, clip_grad_value, global_norm};

use crate::cases::{assert_close, fixture, flat, gradients, params};

/// Clipping inside the step against clipping the gradients first: the same factor multiplies the
/// same numbers, so the bits agree.
#[test]
fn clipping_in_the_step_equals_clipping_the_gradients_first() {
    for clip in [Clip::Norm(0.5), Clip::Norm(1e9), Clip::Value(0.25)] {
        let (inside, before) = (
            params(&fixture().about.shapes, DType::F32),
            params(&fixture().about.shapes, DType::F32),
        );
        for path in [Path::Fused, Path::Composed] {
            let optimizer = Optimizer::new(inside.clone(), Adam::default()).unwrap();
            let mut clipping = optimizer.path(path).clip(clip).unwrap();
            let mut plain = Optimizer::new(before.clone(), Adam::default())
                .unwrap()
                .path(path);
            for step in 1..4 {
                clipping.step(&gradients(&inside, step)).unwrap();
                let mut grads = gradients(&before, step);
                let norm = match clip {
                    Clip::Norm(limit) => Some(clip_grad_norm(&mut grads, &before, limit).unwrap()),
                    Clip::Value(limit) => {
                        clip_grad_value(&mut grads, &before, limit).unwrap();
                        None
                    }
                };
                assert_eq!(clipping.grad_norm(), norm);
                plain.step(&grads).unwrap();
            }
            assert_eq!(flat(&inside), flat(&before), "{clip:?} {path:?}");
        }
    }
}

#[test]
fn a_large_norm_comes_down_to_the_limit_and_a_small_one_stays() {
    let params = params(&fixture().about.shapes, DType::F64);
    let norm = |limit| {
        let mut grads = gradients(&params, 1);
        let before = clip_grad_norm(&mut grads, &params, limit).unwrap();
        (
            before,
            global_norm(params.values().filter_map(|var| grads.get(var))).unwrap(),
        )
    };
    let (before, after) = norm(1.0);
    // 1e-6 is added to the norm before the division.
    assert_close(&[after], &[before / (before + 1e-6)], 1e-14, "clipped");
    assert_eq!(norm(before * 2.0), (before, before));
}

/// 2¹³ elements of 2¹⁰ squared are 2³³: an f32 sum would stop growing at 2²⁴ of the small ones.
#[test]
fn small_gradients_count_beside_large_ones() {
    let large = Tensor::full(1024f32, 1 << 13, &Device::Cpu).unwrap();
    let small = Tensor::full(1f32, 1 << 20, &Device::Cpu).unwrap();
    let want = (2f64.powi(33) + 2f64.powi(20)).sqrt();
    assert_eq!(global_norm([&large, &small]).unwrap(), want);
    let together = Tensor::cat(&[large, small], 0).unwrap();
    assert_eq!(global_norm([&together]).unwrap(), want);
}

#[test]
fn a_norm_that_is_not_a_number_spreads_to_every_gradient() {
    let params = params(&fixture().about.shapes, DType::F32);
    let mut grads = gradients(&params, 1);
    grads.insert(
        &params["gain"],
        Tensor::new(f32::NAN, &Device::Cpu).unwrap(),
    );
    assert!(clip_grad_norm(&mut grads, &params, 1.0).unwrap().is_nan());
    let bias = grads
        .get(&params["bias"])
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    assert!(bias.iter().all(|x| x.is_nan()));
}

#[test]
fn limits_must_be_positive() {
    let params = params(&fixture().about.shapes, DType::F32);
    let optimizer = Optimizer::new(params, Adam::default()).unwrap();
    let error = optimizer.clip(Clip::Norm(0.0)).unwrap_err();
    assert_eq!(error.to_string(), "clip: `norm` must be > 0, got 0");
}
