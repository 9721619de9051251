//! Against torch.

use candle_core::DType;
use dl_optim::Path;

use crate::cases::{first_difference, fixture, flat, gradients, optimizer, params, values};

/// Follows torch for 100 steps and compares parameters on the way and slots at the end.
fn follows_torch(dtype: DType, name: &str, path: Path, tolerance: f64) {
    let fixture = fixture();
    let mut differences = Vec::new();
    let mut compare = |got: &[f64], want: &[f64], tolerance: f64, what: String| {
        let found = first_difference(got, want, tolerance);
        differences.extend(found.map(|found| format!("{what}{found}")));
    };
    for case in &fixture.about.cases {
        let label = format!("{}/{name}", case.label);
        let kept = fixture.tensors[&label].to_dtype(DType::F64).unwrap();
        let mut kept = kept.to_vec2::<f64>().unwrap().into_iter();
        let tolerance = case.tolerances.get(name).copied().unwrap_or(tolerance);
        let params = params(&case.shapes, dtype);
        let mut optimizer = optimizer(&params, case.rule()).path(path);
        for step in 1..=100 {
            optimizer.train().unwrap();
            let grads = gradients(&params, step);
            match case.label.ends_with("_hessian") && step % 10 == 1 {
                true => optimizer.step_with_curvature(&grads, &gradients(&params, 7 * step)),
                false => optimizer.step(&grads),
            }
            .unwrap();
            if case.label.ends_with("_eval") {
                optimizer.eval().unwrap();
            }
            if fixture.about.kept.contains(&step) {
                let want = kept.next().unwrap();
                compare(&flat(&params), &want, tolerance, format!("{label} {step}"));
            }
        }
        let state = optimizer.state().unwrap();
        let mut found = params.len(); // every `step`
        for slot in &case.slots {
            let keys = params.keys().map(|param| format!("{param}.{slot}"));
            let held: Vec<_> = keys.filter_map(|key| state.tensors.get(&key)).collect();
            found += held.len();
            let got: Vec<f64> = held.into_iter().flat_map(values).collect();
            let want = values(&fixture.tensors[&format!("{label}/{slot}")]);
            compare(&got, &want, tolerance, format!("{label} {slot}"));
        }
        let left = |key: &&String| case.unchecked.iter().any(|slot| key.ends_with(slot));
        found += state.tensors.keys().filter(left).count();
        assert_eq!(state.tensors.len(), found, "{label}");
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Unless the fixture's script says otherwise, and why:
/// 1e-12: a hundred steps of a handful of roundings of 1e-16 each, on values of order 1.
#[test]
fn fused_f64_follows_torch() {
    follows_torch(DType::F64, "f64", Path::Fused, 1e-12);
}

#[test]
fn composed_f64_follows_torch() {
    follows_torch(DType::F64, "f64", Path::Composed, 1e-12);
}

/// 1e-6: a hundred steps that round differently in the last bit, 6e-8, about one time in five.
#[test]
fn fused_f32_follows_torch() {
    follows_torch(DType::F32, "f32", Path::Fused, 1e-6);
}

#[test]
fn composed_f32_follows_torch() {
    follows_torch(DType::F32, "f32", Path::Composed, 1e-6);
}
