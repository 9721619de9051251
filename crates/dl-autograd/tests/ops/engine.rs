//! Checkpointed segments, hooks, running without a graph, and whether the checks find faults.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{
    Purpose, RngScope, Tape, backward, backward_from, checkpoint, dropout, gradcheck,
    gradgradcheck, linear, mul, next_rng, no_grad, on_grad, relu, sum,
};

use crate::case::inputs;
use crate::every_case;

fn weights(count: usize, shape: (usize, usize)) -> Vec<Var> {
    let make = |i: usize| {
        let mut values = vec![0f32; shape.0 * shape.1];
        dl_autograd::Rng::new(9, Purpose::Init, i as u64).fill_normal(&mut values);
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    (0..count).map(make).collect()
}

fn segment(weights: &[Tensor], x: &Tensor) -> Result<Tensor> {
    let mut x = x.clone();
    for w in weights {
        x = dropout(
            &relu(&linear(&x, w, None)?)?,
            0.3,
            next_rng(Purpose::Dropout),
        )?;
    }
    Ok(x)
}

fn tensors(vars: &[Var]) -> Vec<Tensor> {
    vars.iter().map(|v| v.as_tensor().clone()).collect()
}

fn bits(grads: &GradStore, vars: &[Var]) -> Vec<Vec<f32>> {
    let flat = |v: &Var| {
        grads
            .get(v)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    };
    vars.iter().map(flat).collect()
}

/// Five weights need more inputs than candle's custom ops have; dropout shows that the streams are
/// drawn again; a layer before and one behind show that the segment is part of a graph.
fn checkpointed(as_segment: bool, on_tape: bool) -> (f32, Vec<Vec<f32>>) {
    let (vars, x) = (weights(7, (6, 6)), &weights(8, (5, 6))[7]);
    let ws = tensors(&vars);
    let _scope = RngScope::new(3, 1);
    let _tape = Tape::new();
    let x = linear(x, &ws[0], None).unwrap();
    let inner = ws[1..6].to_vec();
    let y = match as_segment {
        true => checkpoint(&[&x], &vars[1..6], move |x| segment(&inner, &x[0])).unwrap(),
        false => segment(&inner, &x).unwrap(),
    };
    let after = dropout(&y, 0.5, next_rng(Purpose::Dropout)).unwrap();
    let loss = sum(&linear(&after, &ws[6], None).unwrap()).unwrap();
    let grads = match on_tape {
        true => backward(&loss).unwrap(),
        false => loss.backward().unwrap(),
    };
    (loss.to_scalar().unwrap(), bits(&grads, &vars))
}

#[test]
fn a_checkpointed_segment_gives_the_bits_of_the_plain_one() {
    for on_tape in [true, false] {
        assert_eq!(checkpointed(true, on_tape), checkpointed(false, on_tape));
    }
}

#[test]
fn a_var_that_the_checkpoint_was_not_told_of_is_an_error() {
    let vars = weights(2, (6, 6));
    let ws = tensors(&vars);
    let x = weights(1, (5, 6)).remove(0);
    let y = checkpoint(&[&x], &vars[..1], move |x| segment(&ws, &x[0])).unwrap();
    let error = sum(&y).unwrap().backward().unwrap_err().to_string();
    assert!(error.contains("not in `vars`"), "{error}");
}

#[test]
fn a_hook_sees_the_whole_gradient_and_may_replace_it() {
    let x = Var::new(&[1f32, 2.], &Device::Cpu).unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(vec![]));
    let log = seen.clone();
    let hooked = on_grad(&x, move |g| {
        log.lock().unwrap().push(g.to_vec1::<f32>()?);
        Ok(Some((g * 10.)?))
    });
    let hooked = hooked.unwrap();
    // Used twice: the hook runs once, with the sum.
    let loss = dl_autograd::add(&hooked, &hooked)
        .unwrap()
        .sum_all()
        .unwrap();
    let grads = loss.backward().unwrap();
    assert_eq!(*seen.lock().unwrap(), [[2f32, 2.]]);
    assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>().unwrap(), [20., 20.]);
    let bad = on_grad(&x, |_| Tensor::new(&[1f32], &Device::Cpu).map(Some)).unwrap();
    assert!(bad.sum_all().unwrap().backward().is_err());
}

#[test]
fn nothing_is_tracked_without_grad_and_the_values_are_the_same() {
    for case in every_case() {
        let xs = tensors(&inputs(&case, DType::F32));
        let plain = case.2(&xs).unwrap();
        let free = no_grad(|| case.2(&xs)).unwrap();
        let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(flat(&plain), flat(&free), "{}", case.0);
    }
    let x = Var::new(&[1f32], &Device::Cpu).unwrap();
    assert!(!no_grad(|| relu(&x)).unwrap().track_op());
    assert!(relu(&x).unwrap().track_op());
}

/// The gradient of one element of the second input is off by a thousandth.
fn nearly_right(t: &[Tensor]) -> Result<Tensor> {
    let off = on_grad(&t[1], |g| {
        let more = Tensor::new(&[1f64, 1., 1.001], g.device())?;
        (g * more).map(Some)
    });
    mul(&t[0], &off?)
}

#[test]
fn gradcheck_says_which_element_of_which_input_differs_and_leaves_all_as_it_was() {
    let vars = [[1f64, 2., 3.], [4., 5., 6.]].map(|x| Var::new(&x, &Device::Cpu).unwrap());
    gradcheck(&vars, |t| mul(&t[0], &t[1]), 1e-9).unwrap();
    let error = gradcheck(&vars, nearly_right, 1e-6)
        .unwrap_err()
        .to_string();
    // The weight of the element is ((2·7 + 3) mod 11)/11 − 0.4 = 0.14545…, x there is 3.
    let found = error.contains("input 1, element 2: gradient 0.436");
    assert!(
        found && error.contains("central difference 0.436"),
        "{error}"
    );
    assert_eq!(vars[1].to_vec1::<f64>().unwrap(), [4., 5., 6.]);
    gradcheck(&vars, nearly_right, 2e-3).unwrap();
}

#[test]
fn gradcheck_finds_a_gradient_that_is_lost_or_no_number() {
    let vars = [[1f64, 2.], [3., 4.]].map(|x| Var::new(&x, &Device::Cpu).unwrap());
    let check = |f: fn(&[Tensor]) -> Result<Tensor>| gradcheck(&vars, f, 1e-6);
    let lost = check(|t| mul(&t[0], &t[1].detach()))
        .unwrap_err()
        .to_string();
    assert!(
        lost.contains("input 1 of shape [2] gets no gradient"),
        "{lost}"
    );
    let nan = check(|t| on_grad(&mul(&t[0], &t[1])?, |g| (g * f64::NAN).map(Some)));
    let nan = nan.unwrap_err().to_string();
    assert!(nan.contains("input 0, element 0: gradient NaN"), "{nan}");
    let narrow = Var::new(&[1f32], &Device::Cpu).unwrap();
    let error = gradcheck(&[narrow], |t| relu(&t[0]), 1.)
        .unwrap_err()
        .to_string();
    assert!(error.contains("f64") && error.contains("F32"), "{error}");
}

/// `x·c` with `c = 2x` cut out of the graph: the gradient 2x has none itself.
#[test]
fn gradgradcheck_finds_a_second_derivative_that_is_lost() {
    let x = Var::new(&[1.5f64, -2.], &Device::Cpu).unwrap();
    let f = |t: &[Tensor]| mul(&t[0], &dl_autograd::scale(&t[0].detach(), 2.)?);
    let error = gradgradcheck(&[x], f, 1e-6).unwrap_err().to_string();
    assert!(error.contains("input 0, element 0: gradient 0"), "{error}");
}

#[test]
fn gradients_from_weights_are_those_of_the_weighted_sum() {
    let (vars, x) = (weights(2, (6, 6)), &weights(3, (5, 6))[2]);
    let ws = tensors(&vars);
    let output = || relu(&linear(&relu(&linear(x, &ws[0], None)?)?, &ws[1], None)?);
    // Powers of two, so that no order of factors rounds.
    let dy = Tensor::full(0.125f32, (5, 6), &Device::Cpu).unwrap();
    let wanted = || sum(&mul(&output()?, &dy)?)?.backward();
    let wanted = bits(&wanted().unwrap(), &vars);
    let tape = Tape::new();
    let grads = backward_from(&output().unwrap(), &dy).unwrap();
    assert_eq!(bits(&grads, &vars), wanted, "on a tape");
    drop(tape);
    let grads = backward_from(&output().unwrap(), &dy).unwrap();
    assert_eq!(bits(&grads, &vars), wanted, "by candle's walk");
}

#[test]
fn weights_of_another_shape_or_type_are_refused() {
    let y = Var::ones((2, 3), DType::F32, &Device::Cpu).unwrap();
    let refused = |dy: Tensor| backward_from(&y, &dy).unwrap_err().to_string();
    let shape = refused(Tensor::ones((3, 2), DType::F32, &Device::Cpu).unwrap());
    assert!(shape.contains("dy") && shape.contains("[3, 2]"), "{shape}");
    let dtype = refused(Tensor::ones((2, 3), DType::F64, &Device::Cpu).unwrap());
    assert!(dtype.contains("F64"), "{dtype}");
}
