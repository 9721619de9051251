//! Products in half precision within a scope: which operations they are, and their numbers.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var, safetensors};
use dl_autograd::{
    AttentionOptions, Autocast, Causal, Conv1dConfig, Conv2dConfig, ConvTranspose2dConfig, Tape,
    backward, checkpoint, conv_transpose2d, conv1d, conv2d, gelu, layer_norm, linear, matmul,
    scaled_dot_product_attention, softmax, sum,
};

use crate::case::{Case, case, inputs};
use crate::{attention, cases, convolution, recurrent, with_dtypes};

/// Whether a case is made of products.
fn is_product(case: &Case) -> bool {
    let families = [attention::cases(), convolution::cases(), recurrent::cases()];
    let family = families.iter().flatten().any(|other| other.0 == case.0);
    let basic = ["linear", "matmul", "conv", "depthwise"];
    let views = ["narrow", "rope"];
    let starts = |all: &[&str]| all.iter().any(|start| case.0.starts_with(start));
    (family || is_several(case.0) || starts(&basic)) && !starts(&views)
}

/// Two operations: what lies between is rounded too if the inputs are of half precision.
fn is_several(name: &str) -> bool {
    let several = ["an op used twice", "linear_gelu"];
    several.contains(&name) || name.starts_with("batch_norm_conv2d")
}

fn values(case: &Case) -> Vec<Tensor> {
    let vars = inputs(case, DType::F32);
    vars.iter().map(|v| v.as_detached_tensor()).collect()
}

/// The case on inputs that are rounded first, with its result in f32.
fn on_rounded(Case(name, shapes, op): Case, half: DType) -> Case {
    let rounded = move |x: &[Tensor]| -> Result<Tensor> {
        let x = x.iter().map(|x| x.to_dtype(half));
        op(&x.collect::<Result<Vec<_>>>()?)?.to_dtype(DType::F32)
    };
    Case(name, shapes, Box::new(rounded))
}

/// Every operation runs inside the scope and has results and gradients in f32. Those of products are
/// what rounded operands give, all others have the bits that they have without the scope.
#[test]
fn products_round_their_operands_and_nothing_else_does() {
    for (half, epsilon) in [(DType::BF16, 2f64.powi(-7)), (DType::F16, 2f64.powi(-10))] {
        for case in cases() {
            let (name, product, x) = (case.0, is_product(&case), values(&case));
            let plain = with_dtypes(&case, &x);
            let inside = {
                let _scope = Autocast::new(half).unwrap();
                with_dtypes(&case, &x)
            };
            let all_f32 = inside.iter().all(|(dtype, _)| *dtype == DType::F32);
            assert!(all_f32, "{name} in {half:?}");
            assert_eq!(inside != plain, product, "{name} in {half:?}");
            if product && !is_several(name) {
                let rounded = with_dtypes(&on_rounded(case, half), &x);
                assert_eq!(inside[0], rounded[0], "{name} in {half:?}");
                for ((_, ours), (_, theirs)) in inside.iter().zip(&rounded) {
                    // An operand that is used again adds up its gradients before or after one rounding.
                    let scale = theirs.iter().fold(1f64, |m, x| m.max(x.abs()));
                    for (a, b) in ours.iter().zip(theirs) {
                        assert!((a - b).abs() <= 2. * epsilon * scale, "{name}: {a} and {b}");
                    }
                }
            }
        }
    }
}

#[test]
fn f64_is_left_alone_and_scopes_nest() {
    let product = case("", &[&[3, 4], &[4, 2]], |x| matmul(&x[0], &x[1]));
    let run = |dtype| {
        let vars = inputs(&product, dtype);
        let x: Vec<_> = vars.iter().map(|v| v.as_detached_tensor()).collect();
        with_dtypes(&product, &x)
    };
    let (single, double) = (run(DType::F32), run(DType::F64));
    let _bf16 = Autocast::new(DType::BF16).unwrap();
    assert_eq!(run(DType::F64), double);
    let rough = run(DType::F32);
    {
        let _f16 = Autocast::new(DType::F16).unwrap();
        let fine = run(DType::F32);
        assert!(fine != rough && fine != single);
        let _off = Autocast::off();
        assert_eq!(run(DType::F32), single);
    }
    assert_eq!(run(DType::F32), rough);
    let error = Autocast::new(DType::F64).unwrap_err().to_string();
    assert!(
        error.starts_with("autocast takes F16 or BF16, got F64"),
        "{error}"
    );
}

/// A block with a product, a norm and an activation.
fn block(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    gelu(&layer_norm(&linear(x, w, None)?, None, None, 1e-5)?)
}

fn block_gradients(within_scope: bool, again: bool) -> Vec<Vec<f32>> {
    let shapes = case("", &[&[5, 6], &[6, 6]], |x| Ok(x[0].clone()));
    let vars = inputs(&shapes, DType::F32);
    let _tape = Tape::new();
    let scope = Autocast::new(DType::BF16).unwrap();
    let (x, w) = (vars[0].as_tensor(), vars[1].as_tensor().clone());
    let y = match again {
        true => checkpoint(&[x], &vars[1..], move |x| block(&x[0], &w)),
        false => block(x, &w),
    };
    let loss = sum(&block(&y.unwrap(), vars[1].as_tensor()).unwrap()).unwrap();
    if !within_scope {
        drop(scope);
    }
    let grads = backward(&loss).unwrap();
    let flat = |v: &Var| {
        grads
            .get(v)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
    };
    vars.iter().map(|v| flat(v).unwrap()).collect()
}

#[test]
fn a_backward_inside_the_scope_and_a_segment_computed_again_have_the_same_bits() {
    let outside = block_gradients(false, false);
    assert_eq!(block_gradients(true, false), outside);
    assert_eq!(block_gradients(false, true), outside);
    assert_eq!(block_gradients(true, true), outside);
}

type Op = fn(&[Tensor]) -> Result<Tensor>;

/// The names are those of `tools/reference/autocast.py`.
const AGAINST_PYTORCH: [(&str, Op); 7] = [
    ("linear", |x| linear(&x[0], &x[1], Some(&x[2]))),
    ("matmul", |x| matmul(&x[0], &x[1])),
    ("conv1d", |x| {
        let config = Conv1dConfig {
            padding: (1, 1),
            ..Default::default()
        };
        conv1d(&x[0], &x[1], Some(&x[2]), &config)
    }),
    ("conv2d", |x| {
        let config = Conv2dConfig {
            padding: 1.into(),
            ..Default::default()
        };
        conv2d(&x[0], &x[1], Some(&x[2]), &config)
    }),
    ("conv_transpose2d", |x| {
        let config = ConvTranspose2dConfig {
            stride: (2, 2),
            ..Default::default()
        };
        conv_transpose2d(&x[0], &x[1], Some(&x[2]), &config)
    }),
    ("attention", |x| {
        let options = AttentionOptions {
            causal: Causal::TopLeft,
            ..Default::default()
        };
        scaled_dot_product_attention(&x[0], &x[1], &x[2], &options)
    }),
    ("classifier", |x| {
        let y = gelu(&layer_norm(&linear(&x[0], &x[1], None)?, None, None, 1e-5)?)?;
        softmax(&linear(&y, &x[2], Some(&x[3]))?, 1)
    }),
];

/// Both round the same operands and add up in f32; results are rounded once or, inside PyTorch's
/// attention and between the layers of its classifier, a few times: half an ε = 2⁻⁸ each.
#[test]
fn values_and_gradients_are_those_of_pytorchs_autocast() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/autocast.safetensors");
    let fixtures = safetensors::load(path, &Device::Cpu).unwrap();
    let to_vec = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for (name, op) in AGAINST_PYTORCH {
        let get = |key: String| fixtures.get(&format!("{name}/{key}"));
        let vars = (0..).map_while(|i| get(format!("input.{i}")));
        let vars: Vec<_> = vars.map(|x| Var::from_tensor(x).unwrap()).collect();
        let x: Vec<_> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let _scope = Autocast::new(DType::BF16).unwrap();
        let y = op(&x).unwrap();
        let cotangent = get("cotangent".to_string()).unwrap();
        let grads = (&y * cotangent).unwrap().sum_all().unwrap().backward();
        let grads = grads.unwrap();
        let mut pairs = vec![(y, get("output".to_string()).unwrap())];
        for (i, var) in vars.iter().enumerate() {
            let theirs = get(format!("grad.{i}")).unwrap();
            pairs.push((grads.get(var).unwrap().clone(), theirs));
        }
        for (ours, theirs) in pairs {
            let (ours, theirs) = (to_vec(&ours), to_vec(theirs));
            let scale = theirs.iter().fold(0f32, |m, x| m.max(x.abs()));
            for (a, b) in ours.iter().zip(&theirs) {
                assert!(
                    (a - b).abs() <= scale / 64.,
                    "{name}: {a} and {b} of {scale}"
                );
            }
        }
    }
}
