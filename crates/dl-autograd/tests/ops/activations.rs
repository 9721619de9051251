//! Activations of several pieces, gated units, the learned slope.

use candle_core::{DType, Device, Result, Tensor};
use dl_autograd::{
    celu, composed, elu, geglu, glu, hard_sigmoid, hard_swish, hard_tanh, leaky_relu, log_sigmoid,
    mish, prelu, reglu, scale, selu, softplus, softsign, swiglu, transpose,
};

use crate::case::{Case, case};

/// Inputs are normal; tripled where the pieces lie further out.
pub fn cases() -> Vec<Case> {
    let wide = |t: &Tensor| scale(t, 3.);
    vec![
        case("leaky_relu", &[&[3, 7]], |t| leaky_relu(&t[0], 0.01)),
        case("leaky_relu of a transposed input", &[&[3, 5]], |t| {
            leaky_relu(&transpose(&t[0], 0, 1)?, -0.5)
        }),
        case("elu", &[&[3, 7]], |t| elu(&t[0], 1.)),
        case("elu with alpha", &[&[3, 7]], |t| elu(&t[0], 0.3)),
        case("selu", &[&[3, 7]], |t| selu(&t[0])),
        case("celu", &[&[3, 7]], |t| celu(&t[0], 1.)),
        case("celu with alpha", &[&[3, 7]], |t| celu(&t[0], 2.5)),
        case("softplus", &[&[3, 7]], |t| softplus(&t[0], 1., 20.)),
        case("softplus with threshold", &[&[5, 7]], |t| {
            softplus(&t[0], 2., 1.5)
        }),
        case("log_sigmoid", &[&[3, 7]], |t| log_sigmoid(&t[0])),
        case("mish", &[&[3, 7]], |t| mish(&t[0])),
        case("hard_swish", &[&[5, 7]], move |t| hard_swish(&wide(&t[0])?)),
        case("hard_sigmoid", &[&[5, 7]], move |t| {
            hard_sigmoid(&wide(&t[0])?)
        }),
        case("hard_tanh", &[&[5, 7]], |t| hard_tanh(&t[0], -0.5, 1.)),
        case("softsign", &[&[3, 7]], |t| softsign(&t[0])),
        case("glu", &[&[2, 6, 3]], |t| glu(&t[0], 1)),
        case("glu of the last", &[&[3, 8]], |t| glu(&t[0], 1)),
        case("swiglu", &[&[3, 8]], |t| swiglu(&t[0], 1)),
        case("geglu", &[&[3, 8]], |t| geglu(&t[0], 1)),
        case("reglu", &[&[3, 8]], |t| reglu(&t[0], 1)),
        case("prelu of one slope", &[&[3, 7], &[1]], |t| {
            prelu(&t[0], &t[1])
        }),
        case("prelu of channels", &[&[2, 3, 2, 5], &[3]], |t| {
            prelu(&t[0], &t[1])
        }),
        case("prelu of columns", &[&[4, 3], &[3]], |t| {
            prelu(&t[0], &t[1])
        }),
    ]
}

type Op = fn(&Tensor) -> Result<Tensor>;

const ALL: [(&str, Op); 12] = [
    ("leaky_relu", |x| leaky_relu(x, 0.01)),
    ("elu", |x| elu(x, 0.5)),
    ("celu", |x| celu(x, 2.)),
    ("softplus", |x| softplus(x, 1., 20.)),
    ("mish", mish),
    ("hard_swish", hard_swish),
    ("hard_sigmoid", hard_sigmoid),
    ("hard_tanh", |x| hard_tanh(x, -1., 1.)),
    ("softsign", softsign),
    ("selu", selu),
    ("log_sigmoid", log_sigmoid),
    ("celu of a negative alpha", |x| celu(x, -300.)),
];

fn slope_at(f: Op, x: f64) -> f64 {
    let x = candle_core::Var::new(&[x], &Device::Cpu).unwrap();
    let grads = f(&x).unwrap().sum_all().unwrap().backward().unwrap();
    grads.get(&x).unwrap().to_vec1::<f64>().unwrap()[0]
}

#[test]
fn far_out_neither_values_nor_gradients_overflow() {
    for (name, f) in ALL {
        for x in [-1e4, 1e4] {
            let y = f(&Tensor::new(&[x], &Device::Cpu).unwrap()).unwrap();
            let y = y.to_vec1::<f64>().unwrap()[0];
            assert!(y.is_finite() && slope_at(f, x).is_finite(), "{name} at {x}");
            let slope = composed(|| slope_at(f, x));
            assert!(slope.is_finite(), "{name} at {x}, composed: {slope}");
        }
    }
}

fn value_and_slope(f: Op, x: &Tensor) -> Vec<f64> {
    let x = candle_core::Var::from_tensor(x).unwrap();
    let y = f(&x).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    let both = Tensor::cat(&[&y.detach(), grads.get(&x).unwrap()], 0).unwrap();
    both.to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The kernels have a way of their own to the functions of f32; those of f64 are the standard library's.
#[test]
fn in_f32_they_are_those_of_f64_from_end_to_end() {
    let x = Tensor::arange(-6400i64, 6401, &Device::Cpu).unwrap();
    let x = (x.to_dtype(DType::F64).unwrap() / 64.).unwrap();
    let narrow = x.to_dtype(DType::F32).unwrap();
    for (name, f) in ALL {
        let pairs = value_and_slope(f, &narrow)
            .into_iter()
            .zip(value_and_slope(f, &x));
        for (i, (y, exact)) in pairs.enumerate() {
            let error = (y - exact).abs();
            // Some units in the last place, and those of the terms where they cancel.
            let fine = error <= 2e-6 * exact.abs() + 3e-7;
            assert!(fine, "{name}, number {i}: {y}, not {exact}");
        }
    }
}

#[test]
fn options_and_shapes_that_make_no_sense_are_named() {
    let x = Tensor::new(&[[1f32, 2., 3.]], &Device::Cpu).unwrap();
    let weight = Tensor::new(&[1f32, 2.], &Device::Cpu).unwrap();
    let errors = [
        (celu(&x, 0.), "celu: alpha must not be 0, got 0"),
        (
            softplus(&x, -1., 20.),
            "softplus: beta must be above 0, got -1",
        ),
        (
            hard_tanh(&x, 1., 1.),
            "hard_tanh: min must be below max, got 1 and 1",
        ),
        (glu(&x, 1), "glu: dimension 1 of x must be even, got 3"),
        (reglu(&x, 2), "reglu: x must have a dimension 2, got [1, 3]"),
        (
            prelu(&x, &weight),
            "prelu: weight must be [1] or [3] for x [1, 3], got [2]",
        ),
    ];
    for (result, wanted) in errors {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{error}");
    }
}
