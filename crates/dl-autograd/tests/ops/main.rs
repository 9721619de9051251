//! Every op against central differences, its composed form and PyTorch, from one table.
//!
//! A family of ops is a file with `cases()`; the properties here hold for every case of every family.
#![allow(clippy::unwrap_used, clippy::panic)]

mod activations;
mod attention;
mod autocast;
mod bad_calls;
mod basics;
mod batch_norm_conv2d;
mod case;
mod conventions;
mod convolution;
mod coverage;
mod engine;
mod errors;
mod indexing;
mod losses;
mod noise;
mod normalisation;
mod padding;
mod pooling;
mod pytorch;
mod random_shapes;
mod recurrent;
mod resampling;
mod scale_channels;
mod second_order;
mod strides;
mod transformer;
mod without_elements;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use case::{Case, case, inputs};
use dl_autograd::{
    Activation, Conv2dConfig, Purpose, Reduction, Rng, Tape, add, backward, batch_norm, composed,
    conv2d, cross_entropy, dropout, global_avg_pool, gradcheck, linear, matmul, relu6, sum,
};

/// Central differences with a step of 1e-5 are good to about 1e-9 for values near 1; sums of a few
/// hundred terms lose one digit more.
const TOLERANCE: f64 = 1e-7;

/// Where a gradient is the derivative.
fn cases() -> Vec<Case> {
    let families: [fn() -> Vec<Case>; _] = [
        activations::cases,
        attention::cases,
        basics::cases,
        batch_norm_conv2d::cases,
        convolution::cases,
        indexing::cases,
        losses::cases,
        transformer::cases,
        noise::cases,
        normalisation::cases,
        padding::cases,
        pooling::cases,
        recurrent::cases,
        resampling::cases,
        scale_channels::cases,
    ];
    families.into_iter().flat_map(|family| family()).collect()
}

/// Also those whose gradient no difference gives.
fn every_case() -> Vec<Case> {
    [cases(), conventions::cases()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn every_op_agrees_with_central_differences() {
    for case in cases() {
        let result = gradcheck(&inputs(&case, DType::F64), &case.2, TOLERANCE);
        assert!(result.is_ok(), "{}: {}", case.0, result.unwrap_err());
    }
}

#[test]
fn every_composed_form_agrees_with_central_differences() {
    for case in cases() {
        let result = composed(|| gradcheck(&inputs(&case, DType::F64), &case.2, TOLERANCE));
        assert!(result.is_ok(), "{}: {}", case.0, result.unwrap_err());
    }
}

fn value_and_gradients(case: &Case, vars: &[Var]) -> Vec<Vec<f64>> {
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = case.2(&tensors).unwrap();
    let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let flat = |t: &Tensor| {
        let t = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        t.to_vec1::<f64>().unwrap()
    };
    let mut all = vec![flat(&y)];
    all.extend(vars.iter().map(|v| flat(grads.get(v).unwrap())));
    all
}

/// f32 keeps 24 bits; sums of up to 600 products lose at most six of them.
#[test]
fn every_kernel_agrees_with_its_composed_form_in_f32() {
    for case in every_case() {
        let vars = inputs(&case, DType::F32);
        let ours = value_and_gradients(&case, &vars);
        let theirs = composed(|| value_and_gradients(&case, &vars));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let scale = theirs.iter().fold(1f64, |m, x| m.max(x.abs()));
            for (a, b) in ours.iter().zip(theirs) {
                assert!((a - b).abs() <= 4e-6 * scale, "{}: {a} and {b}", case.0);
            }
        }
    }
}

/// The result and the gradients of `Σ r ⊙ y`, r irregular, with their types.
fn with_dtypes(case: &Case, inputs: &[Tensor]) -> Vec<(DType, Vec<f64>)> {
    let vars: Vec<Var> = inputs
        .iter()
        .map(|x| Var::from_tensor(x).unwrap())
        .collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = case.2(&tensors).unwrap();
    // Eighths, which every type has.
    let r = (0..y.elem_count()).map(|i| ((i * 7 + 3) % 11) as f64 / 8. - 0.5);
    let r = Tensor::from_vec(r.collect::<Vec<f64>>(), y.shape(), &Device::Cpu).unwrap();
    let loss = (&y * r.to_dtype(y.dtype()).unwrap()).unwrap().sum_all();
    let grads = loss.unwrap().backward().unwrap();
    let mut all = vec![y];
    all.extend(vars.iter().map(|v| grads.get(v).unwrap().clone()));
    let flat = |t: &Tensor| t.flatten_all()?.to_dtype(DType::F64)?.to_vec1();
    all.iter().map(|t| (t.dtype(), flat(t).unwrap())).collect()
}

/// Half-precision operands are computed in f32, so on the same, rounded inputs only the roundings
/// of results are left: half an ε for each that a number passes, and no case chains more than four.
#[test]
fn half_precision_differs_from_f64_by_the_rounding_of_results() {
    for (half, epsilon) in [(DType::BF16, 2f64.powi(-7)), (DType::F16, 2f64.powi(-10))] {
        for case in cases() {
            let to = |dtype| move |x: &Tensor| x.to_dtype(dtype).unwrap();
            let vars = inputs(&case, half);
            let narrow: Vec<Tensor> = vars.iter().map(|v| v.as_detached_tensor()).collect();
            let wide: Vec<Tensor> = narrow.iter().map(to(DType::F64)).collect();
            let (ours, truth) = (with_dtypes(&case, &narrow), with_dtypes(&case, &wide));
            for ((dtype, ours), (_, truth)) in ours.iter().zip(&truth) {
                assert_eq!(*dtype, half, "{}", case.0);
                let scale = truth.iter().fold(1f64, |m, x| m.max(x.abs()));
                for (a, b) in ours.iter().zip(truth) {
                    let close = (a - b).abs() <= 2. * epsilon * scale;
                    assert!(close, "{} in {half:?}: {a} and {b}", case.0);
                }
            }
        }
    }
}

#[test]
fn every_op_gives_the_same_bits_for_one_two_and_four_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut all = vec![];
            for mut case in every_case() {
                // A batch of 37 fills several tasks unevenly.
                let images = case.1[0].clone();
                let alike = case.1.iter_mut().filter(|shape| **shape == images);
                if images.len() == 4 {
                    alike.for_each(|shape| shape[0] = 37);
                }
                all.push((
                    case.0,
                    value_and_gradients(&case, &inputs(&case, DType::F32)),
                ));
            }
            all
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(4));
}

/// Large enough to be cut into tasks, with sizes that no tile divides.
#[test]
fn large_products_give_the_same_bits_for_one_two_and_three_threads() {
    let large = || {
        [
            case("linear", &[&[301, 777], &[205, 777], &[205]], |t| {
                linear(&t[0], &t[1], Some(&t[2]))
            }),
            case("matmul", &[&[1, 301, 777], &[1, 777, 205]], |t| {
                matmul(&t[0], &t[1])
            }),
            case("matmul of a batch", &[&[7, 101, 77], &[7, 77, 105]], |t| {
                matmul(&t[0], &t[1])
            }),
        ]
    };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let bits = |case: &Case| value_and_gradients(case, &inputs(case, DType::F32));
        pool.install(|| large().iter().map(bits).collect::<Vec<_>>())
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn no_gradient_is_stored_for_an_untracked_operand() {
    for case in every_case() {
        for trained in 0..case.1.len() {
            let vars = inputs(&case, DType::F32);
            let mut tensors: Vec<Tensor> = vars.iter().map(|v| v.as_detached_tensor()).collect();
            tensors[trained] = vars[trained].as_tensor().clone();
            let y = case.2(&tensors).unwrap().sum_all().unwrap();
            let grads = y.backward().unwrap();
            assert!(
                grads.get(&vars[trained]).is_some(),
                "{} lost input {trained}",
                case.0
            );
            for (i, tensor) in tensors.iter().enumerate() {
                assert_eq!(
                    grads.get(tensor).is_some(),
                    i == trained,
                    "{}, input {i}",
                    case.0
                );
            }
        }
    }
}

#[test]
fn a_nan_is_never_swallowed() {
    for activation in [Activation::Relu, Activation::Relu6] {
        let x = Tensor::new(&[f32::NAN, 1.], &Device::Cpu).unwrap();
        for y in [activation.forward(&x), composed(|| activation.forward(&x))] {
            assert!(y.unwrap().to_vec1::<f32>().unwrap()[0].is_nan());
        }
    }
    let logits = Tensor::new(&[[f32::NAN, 1.]], &Device::Cpu).unwrap();
    let target = Tensor::new(&[1u32], &Device::Cpu).unwrap();
    let loss = cross_entropy(&logits, &target, &Default::default(), Reduction::None)
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    assert!(loss[0].is_nan());
}

#[test]
fn cross_entropy_of_huge_logits_is_finite_and_exact() {
    let logits = Tensor::new(&[[1e4f32, 0.], [0., 1e4]], &Device::Cpu).unwrap();
    let targets = Tensor::new(&[0u32, 0], &Device::Cpu).unwrap();
    let loss = cross_entropy(&logits, &targets, &Default::default(), Reduction::None).unwrap();
    assert_eq!(loss.to_vec1::<f32>().unwrap(), [0., 1e4]);
}

#[test]
fn shapes_that_do_not_fit_are_errors_and_not_panics() {
    let t = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let config = Conv2dConfig::default();
    let none = Conv2dConfig {
        groups: 0,
        ..config
    };
    assert!(conv2d(&t(&[1, 3, 4, 4]), &t(&[2, 2, 1, 1]), None, &config).is_err());
    assert!(conv2d(&t(&[1, 3, 4]), &t(&[2, 3, 1, 1]), None, &config).is_err());
    assert!(conv2d(&t(&[1, 3, 4, 4]), &t(&[2, 3, 5, 1]), None, &config).is_err());
    assert!(conv2d(&t(&[1, 3, 4, 4]), &t(&[2, 3, 1, 1]), None, &none).is_err());
    assert!(linear(&t(&[2, 3]), &t(&[4, 5]), None).is_err());
    assert!(batch_norm(&t(&[1, 3, 1]), &t(&[3]), &t(&[3]), 0., Activation::Relu).is_err());
    assert!(batch_norm(&t(&[2, 3, 1]), &t(&[2]), &t(&[3]), 0., Activation::Relu).is_err());
    assert!(global_avg_pool(&t(&[1, 2, 0, 3])).is_err());
    assert!(dropout(&t(&[1]), 1.5, Rng::new(0, Purpose::Dropout, 0)).is_err());
    let class = Tensor::new(&[2u32], &Device::Cpu).unwrap();
    let error = cross_entropy(&t(&[1, 2]), &class, &Default::default(), Reduction::None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("class 2") && error.contains("2 classes"),
        "{error}"
    );
}

#[test]
fn an_empty_batch_gives_an_empty_result() {
    let x = Tensor::zeros((0, 2, 4, 4), DType::F32, &Device::Cpu).unwrap();
    for (c, groups) in [(2, 1), (1, 2)] {
        let w = Tensor::zeros((2, c, 3, 3), DType::F32, &Device::Cpu).unwrap();
        let config = Conv2dConfig {
            groups,
            ..Default::default()
        };
        assert_eq!(conv2d(&x, &w, None, &config).unwrap().dims(), [0, 2, 2, 2]);
    }
}

/// The gradients of `sum(f(inputs))` by the tape where it covers the graph, and by candle.
fn by_tape_and_by_candle(case: &Case, vars: &[Var]) -> [GradStore; 2] {
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let _tape = Tape::new();
    let loss = sum(&case.2(&tensors).unwrap()).unwrap();
    [backward(&loss).unwrap(), loss.backward().unwrap()]
}

#[test]
fn the_tape_gives_the_bits_that_candle_gives() {
    for (case, dtype) in every_case()
        .iter()
        .flat_map(|c| [(c, DType::F32), (c, DType::BF16)])
    {
        let vars = inputs(case, dtype);
        let [ours, candles] = by_tape_and_by_candle(case, &vars);
        for var in &vars {
            let flat = |grads: &GradStore| {
                let grad = grads.get(var).unwrap().flatten_all().unwrap();
                assert_eq!(grad.dtype(), dtype, "{}", case.0);
                grad.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap()
            };
            assert_eq!(flat(&ours), flat(&candles), "{} in {dtype:?}", case.0);
        }
    }
}

/// candle stores gradients of untracked operands of its own ops; the tape never does, which shows
/// that it was followed, and that a foreign op sends the whole graph to candle.
#[test]
fn the_tape_is_followed_unless_a_foreign_op_is_in_the_way() {
    let x = Var::new(&[1f32, 2.], &Device::Cpu).unwrap();
    let constant = Tensor::new(&[3f32, 4.], &Device::Cpu).unwrap();
    let _tape = Tape::new();
    let y = add(&relu6(&x).unwrap(), &relu6(&x).unwrap()).unwrap();
    let grads = backward(&sum(&y).unwrap()).unwrap();
    assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>().unwrap(), [2., 2.]);
    let foreign = (relu6(&x).unwrap() * &constant).unwrap();
    let grads = backward(&sum(&relu6(&foreign).unwrap()).unwrap()).unwrap();
    // 2 · 4 is past the upper kink.
    assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>().unwrap(), [3., 0.]);
    assert!(grads.get(&constant).is_some());
}
