//! Clipping.

use candle_core::{DType, Device, Tensor};
use dl_optim::{
    Adam, Clip, NormType, Optimizer, Path, clip_grad_norm, clip_grad_value, clip_grads, global_norm,
};

use crate::cases::{assert_close, fixture, flat, gradients, params, values};

/// Clipping inside the step against clipping the gradients first: the same factor multiplies the
/// same numbers, so the bits agree.
#[test]
fn clipping_in_the_step_equals_clipping_the_gradients_first() {
    let adaptive = Clip::Adaptive {
        factor: 0.01,
        eps: 1e-3,
    };
    for clip in [
        Clip::Norm(0.5),
        Clip::Norm(1e9),
        Clip::Value(0.25),
        Clip::NormOf(NormType::L1, 3.0),
        Clip::NormOf(NormType::Infinity, 0.5),
        Clip::EachNorm(NormType::L2, 0.5),
        adaptive,
    ] {
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
                    _ => clip_grads(&mut grads, &before, clip).unwrap(),
                };
                assert_eq!(clipping.grad_norm(), norm);
                plain.step(&grads).unwrap();
            }
            assert_eq!(flat(&inside), flat(&before), "{clip:?} {path:?}");
        }
    }
}

/// Each norm by its definition, in a plain loop over the same numbers.
#[test]
fn norms_are_those_of_their_definitions_for_any_strides_and_types() {
    let shape = std::collections::BTreeMap::from([("a".to_string(), vec![331, 307])]);
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let params = params(&shape, dtype);
        let grads = gradients(&params, 1);
        let g = grads.get(&params["a"]).unwrap();
        let flat = values(g);
        let sum = |f: &dyn Fn(f64) -> f64| flat.iter().map(|x| f(*x)).sum::<f64>();
        let largest = flat.iter().fold(0f64, |a, b| a.max(b.abs()));
        let want = [sum(&f64::abs), sum(&|x| x * x).sqrt(), largest];
        for g in [g.clone(), g.t().unwrap().contiguous().unwrap().t().unwrap()] {
            let got = [NormType::L1, NormType::L2, NormType::Infinity].map(|n| n.of([&g]).unwrap());
            assert_close(&got, &want, 1e-12, &format!("{dtype:?}"));
        }
    }
}

/// The formula of the paper, unit by unit: rows of the matrix, filters, the whole bias and gain.
#[test]
fn adaptive_clipping_limits_each_unit_by_its_own_weights() {
    let params = params(&fixture().about.shapes, DType::F64);
    let (factor, eps) = (0.6, 0.5);
    let mut grads = gradients(&params, 1);
    let clip = Clip::Adaptive { factor, eps };
    assert_eq!(clip_grads(&mut grads, &params, clip).unwrap(), None);
    let (whole, mut limited) = (gradients(&params, 1), 0);
    for (name, var) in &params {
        let units = if var.rank() > 1 { var.dims()[0] } else { 1 };
        let (theta, g) = (values(var), values(whole.get(var).unwrap()));
        let got = values(grads.get(var).unwrap());
        let len = theta.len() / units;
        for unit in 0..units {
            let at = unit * len..(unit + 1) * len;
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let share = factor * norm(&theta[at.clone()]).max(eps) / norm(&g[at.clone()]).max(1e-6);
            limited += usize::from(share < 1.0);
            let want: Vec<_> = g[at.clone()].iter().map(|g| g * share.min(1.0)).collect();
            assert_close(&got[at], &want, 1e-14, name);
        }
    }
    // Both branches are taken: 1 + 2 + 1 + 4 units.
    assert!(limited > 0 && limited < 8, "{limited}");
}

#[test]
fn clipping_each_norm_leaves_small_gradients_alone_and_limits_large_ones() {
    let params = params(&fixture().about.shapes, DType::F64);
    let (mut grads, limit) = (gradients(&params, 1), 2.0);
    clip_grads(&mut grads, &params, Clip::EachNorm(NormType::L2, limit)).unwrap();
    let whole = gradients(&params, 1);
    let mut limited = 0;
    for var in params.values() {
        let [before, after] = [&whole, &grads].map(|g| global_norm(g.get(var)).unwrap());
        let want = if before > limit {
            before * limit / (before + 1e-6)
        } else {
            before
        };
        assert_close(&[after], &[want], 1e-14, "norm");
        limited += usize::from(before > limit);
    }
    assert!(limited > 0 && limited < params.len());
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
