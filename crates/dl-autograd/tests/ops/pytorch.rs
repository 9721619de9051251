//! Every case against the values and gradients that `tools/reference/ops.py` got from PyTorch.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var, safetensors};
use dl_autograd::composed;

use crate::case::Case;
use crate::every_case;

/// Cases whose numbers PyTorch cannot give, each with the reason.
const OURS_ALONE: [(&str, &str); 7] = [
    (
        "attention with dropout",
        "the mask comes from our generator",
    ),
    ("dropout", "the mask comes from our generator"),
    ("dropout_channels", "the mask comes from our generator"),
    (
        "dropout_channels of transposed signals",
        "the mask comes from our generator",
    ),
    ("drop_path", "the mask comes from our generator"),
    ("alpha_dropout", "the mask comes from our generator"),
    ("gaussian_noise", "the noise comes from our generator"),
];

fn fixtures() -> HashMap<String, Tensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/ops");
    let files = std::fs::read_dir(folder).unwrap();
    files
        .flat_map(|file| safetensors::load(file.unwrap().path(), &Device::Cpu).unwrap())
        .collect()
}

struct Reference {
    inputs: Vec<Tensor>,
    output: Tensor,
    cotangent: Tensor,
    grads: Vec<Tensor>,
}

fn reference(fixtures: &HashMap<String, Tensor>, case: &Case) -> Reference {
    let get = |key: &str| {
        let key = format!("{}/{key}", case.0);
        fixtures
            .get(&key)
            .unwrap_or_else(|| panic!("no fixture `{key}`"))
            .clone()
    };
    let all = |kind: &str| -> Vec<Tensor> {
        let keys = (0..case.1.len()).map(|i| format!("{kind}.{i}"));
        keys.map(|key| get(&key)).collect()
    };
    Reference {
        inputs: all("input"),
        output: get("output"),
        cotangent: get("cotangent"),
        grads: all("grad"),
    }
}

fn to_vec(t: &Tensor) -> Vec<f64> {
    let t = t.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    t.to_vec1().unwrap()
}

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let theirs = to_vec(theirs);
    let scale = theirs.iter().fold(1f64, |m, x| m.max(x.abs()));
    for (i, (a, b)) in to_vec(ours).iter().zip(&theirs).enumerate() {
        let close = (a - b).abs() <= tolerance * scale;
        assert!(close, "{what}, element {i}: {a}, PyTorch has {b}");
    }
}

fn compare(case: &Case, reference: &Reference, dtype: DType, tolerance: f64) {
    let vars: Vec<Var> = reference
        .inputs
        .iter()
        .map(|x| Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap())
        .collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = case.2(&tensors).unwrap();
    assert_close(
        &format!("{} in {dtype:?}", case.0),
        &y,
        &reference.output,
        tolerance,
    );
    let weighted = (&y * reference.cotangent.to_dtype(dtype).unwrap()).unwrap();
    let grads = weighted.sum_all().unwrap().backward().unwrap();
    for (i, (var, expected)) in vars.iter().zip(&reference.grads).enumerate() {
        let what = format!("{} in {dtype:?}, gradient {i}", case.0);
        assert_close(&what, grads.get(var).unwrap(), expected, tolerance);
    }
}

/// f64 leaves 1e-16 of each operation and f32 6e-8: sums of a few hundred terms, divisions by small
/// deviations and the other order of PyTorch's sums cost a factor of up to a hundred.
#[test]
fn every_op_agrees_with_pytorch_in_value_and_gradient() {
    let fixtures = fixtures();
    let skipped: BTreeMap<_, _> = OURS_ALONE.into_iter().collect();
    for case in every_case().iter().filter(|c| !skipped.contains_key(c.0)) {
        let reference = reference(&fixtures, case);
        compare(case, &reference, DType::F64, 1e-10);
        compare(case, &reference, DType::F32, 1e-5);
        composed(|| compare(case, &reference, DType::F64, 1e-10));
    }
}

#[test]
fn every_fixture_and_every_exception_has_its_case_and_every_name_is_used_once() {
    let mut names = BTreeSet::new();
    for case in every_case() {
        assert!(names.insert(case.0), "two cases are named `{}`", case.0);
    }
    for key in fixtures().keys() {
        let name = key.rsplit_once('/').unwrap().0;
        assert!(names.contains(name), "no case is named `{name}`");
        let alone = OURS_ALONE.iter().find(|(alone, _)| *alone == name);
        assert!(alone.is_none(), "PyTorch gives numbers for `{name}`");
    }
    for (name, _) in OURS_ALONE {
        assert!(names.contains(name), "no case is named `{name}`");
    }
}
