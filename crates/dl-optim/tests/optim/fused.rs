//! The fused pass against the composed path, strided gradients and threads.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor};
use dl_optim::{Adam, Clip, Path, Rule, global_norm};
use rayon::ThreadPoolBuilder;

use crate::cases::{Case, Params, assert_close, fixture, flat, gradients, optimizer, params};

/// One tensor of several chunks of 32,768 that is no multiple of anything, one of exactly two, and
/// small ones: every way a tensor can be cut. Where sides are decomposed they are short.
fn large(rule: &dyn Rule) -> BTreeMap<String, Vec<usize>> {
    let [uneven, even] = match rule.basics().name {
        "soap" => [vec![33, 41, 75], vec![32, 32, 64]],
        "galore" => [vec![33, 3079], vec![32, 2048]],
        _ => [vec![331, 307], vec![256, 256]],
    };
    let shapes = [
        ("a", uneven),
        ("b", even),
        ("c", vec![7]),
        ("d", vec![0, 3]),
    ];
    let fits = |(_, shape): &(&str, Vec<usize>)| rule.refuses(shape).is_none();
    let fitting = shapes.into_iter().filter(fits);
    fitting
        .map(|(name, shape)| (name.to_string(), shape))
        .collect()
}

/// The same values, but stored column by column, as candle's matmul leaves gradients.
fn transposed(grads: &GradStore, params: &Params) -> GradStore {
    let mut out = GradStore::default();
    for var in params.values() {
        let grad = grads.get(var).unwrap();
        let strided = match grad.rank() {
            2 => grad.t().unwrap().contiguous().unwrap().t().unwrap(),
            _ => grad.clone(),
        };
        out.insert(var, strided);
    }
    out
}

fn after_three_steps(case: &Case, dtype: DType, path: Path, strided: bool) -> Vec<f64> {
    let rule = case.rule();
    let params = params(&large(rule.as_ref()), dtype);
    let mut optimizer = optimizer(&params, rule).path(path);
    for step in 1..=3 {
        let grads = gradients(&params, step);
        let grads = if strided {
            transposed(&grads, &params)
        } else {
            grads
        };
        optimizer.step(&grads).unwrap();
    }
    flat(&params)
}

#[test]
fn every_rule_does_the_same_fused_and_composed() {
    for case in &fixture().about.cases {
        // Three steps of a few roundings each: 1e-7 in f32, 1e-16 in f64.
        for (dtype, tolerance) in [(DType::F32, 5e-7), (DType::F64, 1e-14)] {
            let [fused, composed] = [Path::Fused, Path::Composed]
                .map(|path| after_three_steps(case, dtype, path, false));
            assert_close(&fused, &composed, tolerance, &case.label);
        }
    }
}

#[test]
fn a_transposed_gradient_gives_the_same_bits_as_a_contiguous_one() {
    for case in &fixture().about.cases {
        let [plain, strided] =
            [false, true].map(|strided| after_three_steps(case, DType::F32, Path::Fused, strided));
        assert_eq!(plain, strided, "{}", case.label);
    }
}

#[test]
fn every_rule_gives_the_same_bits_on_one_two_and_four_threads() {
    for case in fixture().about.cases {
        let [one, two, four] = [1, 2, 4].map(|threads| {
            let pool = ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let params = params(&large(case.rule().as_ref()), DType::F32);
                // The norm clips, so its sum reaches every element.
                let optimizer = optimizer(&params, case.rule());
                let mut optimizer = optimizer.clip(Clip::Norm(1.0)).unwrap();
                for step in 1..=3 {
                    optimizer.step(&gradients(&params, step)).unwrap();
                }
                (flat(&params), optimizer.grad_norm().unwrap().to_bits())
            })
        });
        assert!(one == two && one == four, "{}", case.label);
    }
}

/// Contiguous, transposed, and neither: with a gap after every row.
#[test]
fn a_norm_is_the_same_bits_for_any_number_of_threads() {
    let grads = Tensor::arange(0f32, 300_000.0, &Device::Cpu).unwrap();
    let plain = grads
        .affine(1e-3, 0.1)
        .unwrap()
        .reshape((500, 600))
        .unwrap();
    let padded = Tensor::cat(&[&plain, &plain], 1).unwrap();
    let views = [
        plain.clone(),
        plain.t().unwrap(),
        padded.narrow(1, 0, 600).unwrap(),
    ];
    let want = plain
        .to_dtype(DType::F64)
        .unwrap()
        .sqr()
        .unwrap()
        .sum_all()
        .unwrap();
    let want = want.to_scalar::<f64>().unwrap().sqrt();
    for view in views {
        let norms = [1, 2, 4].map(|threads| {
            let pool = ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| global_norm([&view]).unwrap())
        });
        assert!(
            norms
                .iter()
                .all(|norm| norm.to_bits() == norms[0].to_bits())
        );
        // Only the order of an f64 sum differs.
        assert_close(&norms, &[want; 3], 1e-12, "norm");
    }
}

/// Half precision is computed in f32 and rounded once at the end.
#[test]
fn bf16_parameters_follow_the_f32_ones_to_their_precision() {
    let fixture = fixture();
    let case = fixture
        .about
        .cases
        .iter()
        .find(|case| case.label == "adam_l2")
        .unwrap();
    let [half, single] = [DType::BF16, DType::F32].map(|dtype| {
        let params = params(&fixture.about.shapes, dtype);
        let mut optimizer = optimizer(&params, case.rule());
        optimizer.step(&gradients(&params, 1)).unwrap();
        let moments = &optimizer.state().unwrap().tensors["weight.exp_avg"];
        assert_eq!(moments.dtype(), DType::F32);
        flat(&params)
    });
    // bf16 has 8 bits: half of the last one is 2⁻⁹.
    assert_close(&half, &single, 2f64.powi(-8), "bf16");
}

#[test]
fn a_gradient_that_is_the_parameter_itself_is_an_error_and_no_deadlock() {
    let params = params(&[("x".to_string(), vec![3])].into(), DType::F32);
    let mut grads = GradStore::default();
    grads.insert(&params["x"], params["x"].as_detached_tensor());
    let error = optimizer(&params, Box::new(Adam::default()))
        .step(&grads)
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`x`") && text.contains("shares storage"),
        "{text}"
    );
}
