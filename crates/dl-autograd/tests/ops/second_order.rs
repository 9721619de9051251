//! Second derivatives: of every case that has them, and what is built on them.

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{
    Activation, Reduction, Tape, add, backward, batch_norm, conv2d, cross_entropy, flatten_from,
    gelu, grad, grad_with_graph, gradgradcheck, hessian_vector_product, layer_norm, linear, mul,
    relu, reshape, rms_norm, scale, scaled_dot_product_attention, sum, swiglu, transpose,
};

use crate::case::{Case, case, inputs};
use crate::cases;

/// As for first derivatives, with the rounding of one more backward.
const TOLERANCE: f64 = 1e-6;

fn has_second_order(case: &Case) -> bool {
    let vars = inputs(case, DType::F64);
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let _tape = Tape::new();
    let y = sum(&case.2(&tensors).unwrap()).unwrap();
    match grad_with_graph(&y, &tensors.iter().collect::<Vec<_>>()) {
        Ok(_) => true,
        Err(error) => {
            let message = error.to_string();
            let expected = ["no differentiable backward", "one of candle's own"];
            assert!(
                expected.iter().any(|e| message.contains(e)),
                "{}: {message}",
                case.0
            );
            false
        }
    }
}

/// The cases without a second order, by the start of their names, and what they lack.
const WITHOUT: [(&str, &str); 4] = [
    ("lstm", "a differentiable backward"),
    ("gru", "a differentiable backward"),
    ("an op used twice", "a tape without operations of candle's"),
    ("keys in columns", "a tape without operations of candle's"),
];

#[test]
fn every_second_derivative_agrees_with_central_differences() {
    for case in cases() {
        if has_second_order(&case) {
            let result = gradgradcheck(&inputs(&case, DType::F64), &case.2, TOLERANCE);
            assert!(result.is_ok(), "{}: {}", case.0, result.unwrap_err());
        } else {
            let excused = WITHOUT.iter().any(|(op, _)| case.0.starts_with(op));
            assert!(excused, "{} has no second order", case.0);
        }
    }
}

/// Convolution, norm, activation, dense layer, cross-entropy: what a gradient penalty goes through.
fn convolutional(t: &[Tensor]) -> Result<Tensor> {
    let y = conv2d(&t[0], &t[1], None, &Default::default())?;
    let (y, _) = batch_norm(&y, &t[2], &t[3], 1e-2, Activation::Relu)?;
    let logits = linear(&flatten_from(&y, 1)?, &t[4], None)?;
    let classes = Tensor::new(&[2u32, 0, 1], &Device::Cpu)?;
    cross_entropy(&logits, &classes, &Default::default(), Reduction::Mean)
}

/// A block of a transformer under a loss of distributions.
fn transformer(t: &[Tensor]) -> Result<Tensor> {
    let (b, n, dim) = t[0].dims3()?;
    let x = layer_norm(&t[0], Some(&t[1]), None, 1e-2)?;
    let heads = transpose(
        &reshape(&linear(&x, &t[2], None)?, (b, n, 2, dim / 2))?,
        1,
        2,
    )?;
    let y = scaled_dot_product_attention(&heads, &heads, &heads, &Default::default())?;
    let y = add(&t[0], &reshape(&transpose(&y, 1, 2)?, (b, n, dim))?)?;
    let logits = swiglu(&gelu(&rms_norm(&y, None, 1e-2)?)?, 2)?;
    let logits = reshape(&logits, (b * n, ()))?;
    let targets = Tensor::new(&[[0.3f64, 0.7]], &Device::Cpu)?.broadcast_as(logits.shape())?;
    cross_entropy(&logits, &targets, &Default::default(), Reduction::Mean)
}

#[test]
fn second_derivatives_of_whole_networks_agree_with_central_differences() {
    type Network = fn(&[Tensor]) -> Result<Tensor>;
    let convolutional: (Network, &[&[usize]]) = (
        convolutional,
        &[&[3, 2, 4, 4], &[2, 2, 3, 3], &[2], &[2], &[3, 8]],
    );
    let transformer: (Network, &[&[usize]]) = (transformer, &[&[2, 3, 4], &[4], &[4, 4]]);
    for (network, shapes) in [convolutional, transformer] {
        let case = case("", shapes, network);
        gradgradcheck(&inputs(&case, DType::F64), &case.2, TOLERANCE).unwrap();
    }
}

fn var(values: &[f64]) -> Var {
    Var::new(values, &Device::Cpu).unwrap()
}

/// The penalty (‖∂D/∂x‖ − 1)² of a critic D(x) = w·x has the closed gradient 2(‖w‖ − 1)·w/‖w‖.
#[test]
fn a_gradient_penalty_trains_the_critic() {
    let w = Var::new(&[[3f64, 4.]], &Device::Cpu).unwrap();
    let x = Var::new(&[[1f64, 2.]], &Device::Cpu).unwrap();
    let _tape = Tape::new();
    let score = linear(&x, &w, None).unwrap();
    let g = grad_with_graph(&score, &[&x]).unwrap().remove(0).unwrap();
    let norm = mul(&g, &g).unwrap().sum_all().unwrap().sqrt().unwrap();
    let penalty = (norm - 1.).unwrap().sqr().unwrap();
    let grads = backward(&penalty).unwrap();
    let dw = grads.get(&w).unwrap().to_vec2::<f64>().unwrap();
    assert!((dw[0][0] - 8. * 0.6).abs() < 1e-12 && (dw[0][1] - 8. * 0.8).abs() < 1e-12);
}

#[test]
fn the_hessian_vector_product_of_a_quadratic_is_its_matrix_times_the_vector() {
    let a = Tensor::new(&[[2f64, 1.], [1., 5.]], &Device::Cpu).unwrap();
    let f = |x: &[Tensor]| -> Result<Tensor> {
        let x = dl_autograd::reshape(&x[0], (1, 2))?;
        scale(&sum(&mul(&x, &linear(&x, &a, None)?)?)?, 0.5)
    };
    let v = Tensor::new(&[1f64, -2.], &Device::Cpu).unwrap();
    let hv = hessian_vector_product(f, &[var(&[0.3, 0.7])], &[v]).unwrap();
    assert_eq!(hv[0].to_vec1::<f64>().unwrap(), [0., -9.]);
}

#[test]
fn the_gradient_in_the_middle_of_a_graph_is_the_sum_over_its_uses() {
    let x = var(&[2., -1.]);
    let _tape = Tape::new();
    let middle = relu(&x).unwrap();
    let y = dl_autograd::add(
        &scale(&middle, 3.).unwrap(),
        &mul(&middle, &middle).unwrap(),
    );
    let g = grad(&y.unwrap(), &[&middle, &x]).unwrap();
    let values = |i: usize| g[i].as_ref().unwrap().to_vec1::<f64>().unwrap();
    assert_eq!(values(0), [7., 3.]);
    assert_eq!(values(1), [7., 0.]);
}

#[test]
fn an_input_that_is_not_used_has_no_gradient() {
    let (x, other) = (var(&[2.]), var(&[3.]));
    let _tape = Tape::new();
    let y = scale(&x, 2.).unwrap();
    assert!(grad(&y, &[&other]).unwrap()[0].is_none());
}

#[test]
fn an_operation_of_candle_in_the_way_is_an_error_and_not_a_lost_gradient() {
    let x = var(&[2.]);
    let _tape = Tape::new();
    let y = relu(&x.exp().unwrap()).unwrap();
    let error = grad_with_graph(&y, &[&x]).unwrap_err().to_string();
    assert!(error.contains("candle"), "{error}");
    let g = grad(&y, &[&x]).unwrap();
    assert!((g[0].as_ref().unwrap().to_vec1::<f64>().unwrap()[0] - 2f64.exp()).abs() < 1e-12);
}
