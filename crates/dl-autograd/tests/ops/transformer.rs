//! Layer and RMS normalisation, softmax, embedding, smooth activations.

use candle_core::{DType, Device, Result, Tensor};
use dl_autograd::{
    embedding, gelu, gelu_tanh, layer_norm, linear, linear_gelu, log_softmax, rms_norm, scale,
    sigmoid, silu, softmax, tanh, transpose,
};

use crate::case::{Case, case};

/// Row lengths around the 16 lanes of a sum, rows around the 32 of a task.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("layer_norm", &[&[2, 3, 5], &[5], &[5]], |t| {
            layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-5)
        }),
        case("layer_norm of long rows", &[&[3, 37], &[37], &[37]], |t| {
            layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 1e-3)
        }),
        case("layer_norm of many rows", &[&[67, 4], &[4], &[4]], |t| {
            layer_norm(&t[0], Some(&t[1]), Some(&t[2]), 0.1)
        }),
        case(
            "layer_norm of a transposed input",
            &[&[16, 3], &[16], &[16]],
            |t| layer_norm(&transpose(&t[0], 0, 1)?, Some(&t[1]), Some(&t[2]), 1e-5),
        ),
        case("rms_norm", &[&[2, 3, 5], &[5]], |t| {
            rms_norm(&t[0], Some(&t[1]), 1e-5)
        }),
        case("rms_norm of long rows", &[&[35, 33], &[33]], |t| {
            rms_norm(&t[0], Some(&t[1]), 0.1)
        }),
        case("softmax", &[&[3, 7]], |t| softmax(&t[0], 1)),
        case("softmax over the middle", &[&[2, 5, 3]], |t| {
            softmax(&t[0], 1)
        }),
        case("softmax of a vector", &[&[7]], |t| softmax(&t[0], 0)),
        case("log_softmax", &[&[3, 7]], |t| log_softmax(&t[0], 1)),
        case("log_softmax over the first", &[&[4, 3]], |t| {
            log_softmax(&t[0], 0)
        }),
    ];
    // Three times as wide as a normal input: the tails have other digits than the middle.
    for (name, f) in ACTIVATIONS {
        cases.push(case(name, &[&[5, 7]], move |t| f(&scale(&t[0], 3.)?)));
    }
    // Ids that repeat, and some that are missing.
    cases.push(case("embedding", &[&[6, 3]], |t| {
        embedding(&t[0], &ids(), None)
    }));
    cases.push(case("embedding of one row of ids", &[&[6, 3]], |t| {
        embedding(&t[0], &Tensor::new(&[0u32, 4, 0, 5], &Device::Cpu)?, None)
    }));
    cases
}

type Activation = fn(&Tensor) -> Result<Tensor>;

const ACTIVATIONS: [(&str, Activation); 5] = [
    ("sigmoid", sigmoid),
    ("tanh", tanh),
    ("silu", silu),
    ("gelu", gelu),
    ("gelu_tanh", gelu_tanh),
];

#[test]
fn activations_of_huge_numbers_are_finite_and_let_a_nan_through() {
    let x = Tensor::new(&[1e4f32, -1e4, f32::NAN], &Device::Cpu).unwrap();
    for (name, f) in ACTIVATIONS {
        for y in [f(&x).unwrap(), dl_autograd::composed(|| f(&x)).unwrap()] {
            let y = y.to_vec1::<f32>().unwrap();
            assert!(
                y[0].is_finite() && y[1].is_finite() && y[2].is_nan(),
                "{name}: {y:?}"
            );
        }
    }
}

/// In the place of the product and in memory of its own.
#[test]
fn a_dense_layer_with_gelu_has_the_bits_of_both() {
    let number = |len: usize| {
        let all = Tensor::arange(0u32, len as u32, &Device::Cpu).unwrap();
        let all = all.to_dtype(DType::F64).unwrap();
        (all * 0.7).unwrap().sin().unwrap()
    };
    for dtype in [DType::F64, DType::F32, DType::BF16] {
        let of = |shape: &[usize]| {
            let t = number(shape.iter().product()).reshape(shape).unwrap();
            t.to_dtype(dtype).unwrap()
        };
        let (x, w, b) = (of(&[5, 3, 4]), of(&[37, 4]), of(&[37]));
        let both = gelu(&linear(&x, &w, Some(&b)).unwrap()).unwrap();
        let tracked = candle_core::Var::from_tensor(&x).unwrap();
        for x in [&x, tracked.as_tensor()] {
            let y = linear_gelu(x, &w, Some(&b)).unwrap();
            let bits = |t: &Tensor| {
                let t = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
                t.to_vec1::<f64>().unwrap()
            };
            assert_eq!(y.dims(), [5, 3, 37]);
            assert_eq!(bits(&y), bits(&both), "{dtype:?}");
        }
    }
}

fn ids() -> Tensor {
    Tensor::new(&[[1u32, 4, 1], [0, 5, 4]], &Device::Cpu).unwrap()
}

#[test]
fn the_padding_row_gets_no_gradient() {
    let table = candle_core::Var::ones((6, 2), DType::F32, &Device::Cpu).unwrap();
    let run = || {
        let y = embedding(&table, &ids(), Some(4)).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        grads.get(&table).unwrap().to_vec2::<f32>().unwrap()
    };
    let wanted = [[1f32; 2], [2.; 2], [0.; 2], [0.; 2], [0.; 2], [1.; 2]];
    assert_eq!(run(), wanted);
    assert_eq!(dl_autograd::composed(run), wanted);
}

#[test]
fn an_id_outside_of_the_table_is_named() {
    let table = Tensor::zeros((6, 2), DType::F32, &Device::Cpu).unwrap();
    for (ids, name) in [([0i64, 6], "6"), ([-1, 0], "-1")] {
        let ids = Tensor::new(&ids, &Device::Cpu).unwrap();
        let error = embedding(&table, &ids, None).unwrap_err().to_string();
        assert!(error.contains("6 rows") && error.contains(name), "{error}");
    }
    let float = Tensor::new(&[1f32], &Device::Cpu).unwrap();
    assert!(embedding(&table, &float, None).is_err());
    let id = Tensor::new(&[1u32], &Device::Cpu).unwrap();
    assert!(embedding(&table, &id, Some(6)).is_err());
}

#[test]
fn softmax_of_huge_and_of_missing_numbers() {
    let x = Tensor::new(
        &[[1e4f32, 0.], [f32::NEG_INFINITY, 1.], [f32::NAN, 1.]],
        &Device::Cpu,
    );
    let y = softmax(&x.unwrap(), 1).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(y[..2], [[1., 0.], [0., 1.]]);
    assert!(y[2].iter().all(|y| y.is_nan()));
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let t = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let error = layer_norm(&t(&[2, 3]), Some(&t(&[3])), Some(&t(&[4])), 1e-5).unwrap_err();
    assert!(
        error.to_string().contains("rows of [3] got bias [4]"),
        "{error}"
    );
    assert!(rms_norm(&t(&[]), Some(&t(&[1])), 1e-5).is_err());
    let error = softmax(&t(&[2, 3]), 2).unwrap_err().to_string();
    assert!(error.contains("dimension 2"), "{error}");
}
