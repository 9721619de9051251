//! Every op against central differences, its composed form and PyTorch's rules, from one table.
#![allow(clippy::unwrap_used)]

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{
    Activation, Conv2dConfig, Padding2d, Purpose, Rng, Tape, add, backward, batch_norm,
    batch_norm_with, composed, conv2d, cross_entropy, dropout, global_avg_pool, gradcheck, linear,
    relu6, sum,
};

/// Central differences with a step of 1e-5 are good to about 1e-9 for values near 1; sums of a few
/// hundred terms lose one digit more.
const TOLERANCE: f64 = 1e-7;

type Op = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// A name, the shapes of its inputs, and the op.
struct Case(&'static str, Vec<Vec<usize>>, Op);

fn case(
    name: &'static str,
    shapes: &[&[usize]],
    op: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
) -> Case {
    Case(
        name,
        shapes.iter().map(|s| s.to_vec()).collect(),
        Box::new(op),
    )
}

fn conv(name: &'static str, x: [usize; 4], w: [usize; 4], config: Conv2dConfig) -> Case {
    case(name, &[&x, &w], move |t| conv2d(&t[0], &t[1], &config))
}

fn padding(top: usize, bottom: usize, left: usize, right: usize) -> Padding2d {
    Padding2d {
        top,
        bottom,
        left,
        right,
    }
}

/// Shapes are odd, rectangular and batched, because wrong gradients hide behind ones and squares.
fn cases() -> Vec<Case> {
    let base = Conv2dConfig::default();
    let mut cases = vec![
        conv("conv2d pointwise", [2, 3, 5, 4], [4, 3, 1, 1], base),
        // 17·17 pixels are enough columns that each image is multiplied where it lies.
        conv(
            "conv2d pointwise, large plane",
            [2, 2, 17, 17],
            [3, 2, 1, 1],
            base,
        ),
        conv(
            "conv2d pointwise, stride 2",
            [3, 2, 5, 4],
            [4, 2, 1, 1],
            Conv2dConfig {
                stride: (2, 2),
                ..base
            },
        ),
        conv(
            "conv2d 3×3, stride 2, odd padding",
            [3, 2, 7, 6],
            [4, 2, 3, 3],
            Conv2dConfig {
                stride: (2, 2),
                padding: padding(0, 1, 1, 0),
                ..base
            },
        ),
        conv(
            "conv2d rectangular, dilated, strided",
            [2, 2, 9, 8],
            [3, 2, 3, 2],
            Conv2dConfig {
                stride: (1, 2),
                padding: padding(2, 0, 0, 3),
                dilation: (2, 3),
                groups: 1,
            },
        ),
        conv(
            "conv2d grouped",
            [2, 4, 5, 5],
            [6, 2, 3, 3],
            Conv2dConfig {
                padding: 1.into(),
                groups: 2,
                ..base
            },
        ),
        conv(
            "conv2d depthwise with a multiplier",
            [2, 2, 4, 5],
            [4, 1, 3, 3],
            Conv2dConfig {
                padding: 1.into(),
                groups: 2,
                ..base
            },
        ),
        conv(
            "conv2d padding wider than the kernel",
            [1, 1, 2, 2],
            [1, 1, 2, 2],
            Conv2dConfig {
                padding: padding(3, 2, 4, 3),
                ..base
            },
        ),
    ];
    for (name, kernel, stride, dilation, pad) in [
        ("depthwise 3×3", (3, 3), (1, 1), (1, 1), 1.into()),
        (
            "depthwise 5×5 stride 2, SAME",
            (5, 5),
            (2, 2),
            (1, 1),
            padding(1, 2, 2, 2),
        ),
        (
            "depthwise 3×3 stride (2, 3)",
            (3, 3),
            (2, 3),
            (1, 1),
            padding(0, 1, 1, 1),
        ),
        (
            "depthwise 2×3 dilated",
            (2, 3),
            (1, 2),
            (3, 2),
            padding(1, 0, 0, 2),
        ),
        ("depthwise 1×1", (1, 1), (1, 1), (1, 1), 0.into()),
        ("depthwise 4×7", (4, 7), (1, 1), (1, 1), 3.into()),
    ] {
        let config = Conv2dConfig {
            stride,
            padding: pad,
            dilation,
            groups: 3,
        };
        cases.push(conv(name, [2, 3, 9, 7], [3, 1, kernel.0, kernel.1], config));
    }
    for activation in [Activation::Identity, Activation::Relu, Activation::Relu6] {
        cases.push(case("batch_norm", &[&[3, 4, 5, 2], &[4], &[4]], move |t| {
            Ok(batch_norm(&t[0], &t[1], &t[2], 1e-3, activation)?.0)
        }));
        cases.push(case(
            "batch_norm_with",
            &[&[3, 4, 17], &[4], &[4]],
            move |t| {
                let mean =
                    Tensor::new(&[0.1f64, -0.2, 0.3, 0.], &Device::Cpu)?.to_dtype(t[0].dtype())?;
                let variance =
                    Tensor::new(&[1f64, 0.5, 2., 0.1], &Device::Cpu)?.to_dtype(t[0].dtype())?;
                batch_norm_with(&t[0], &t[1], &t[2], &mean, &variance, 1e-3, activation)
            },
        ));
        cases.push(case("activation", &[&[3, 5]], move |t| {
            activation.forward(&(&t[0] * 4.)?)
        }));
    }
    cases.extend([
        case("linear", &[&[2, 3, 5], &[4, 5], &[4]], |t| {
            linear(&t[0], &t[1], Some(&t[2]))
        }),
        case("linear without bias", &[&[3, 5], &[4, 5]], |t| {
            linear(&t[0], &t[1], None)
        }),
        case("linear of a transposed input", &[&[5, 3], &[4, 5]], |t| {
            linear(&t[0].t()?, &t[1], None)
        }),
        case("global_avg_pool", &[&[2, 3, 4, 5]], |t| {
            global_avg_pool(&t[0])
        }),
        case("dropout", &[&[7, 11]], |t| {
            dropout(&t[0], 0.3, Rng::new(1, Purpose::Dropout, 2))
        }),
        case("cross_entropy", &[&[4, 5]], |t| {
            cross_entropy(&(&t[0] * 5.)?, &targets(), 0.)
        }),
        case("cross_entropy smoothed", &[&[4, 5]], |t| {
            cross_entropy(&t[0], &targets(), 0.1)
        }),
        case("add", &[&[3, 5], &[3, 5]], |t| add(&t[0], &t[1])),
        case("add of a tensor to itself", &[&[3, 5]], |t| {
            add(&t[0], &t[0])
        }),
        case("sum", &[&[3, 5]], |t| sum(&t[0])),
        case("an op used twice", &[&[2, 3, 5, 4], &[3, 3, 1, 1]], |t| {
            let y = conv2d(&t[0], &t[1], &Conv2dConfig::default())?;
            relu6(&(conv2d(&y, &t[1], &Conv2dConfig::default())? + y)?)
        }),
    ]);
    cases
}

fn targets() -> Tensor {
    Tensor::new(&[0u32, 4, 2, 2], &Device::Cpu).unwrap()
}

fn inputs(case: &Case, dtype: DType) -> Vec<Var> {
    let make = |(i, shape): (usize, &Vec<usize>)| {
        let mut values = vec![0f32; shape.iter().product()];
        Rng::new(5, Purpose::Other(1), i as u64).fill_normal(&mut values);
        let tensor = Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap();
        Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
    };
    case.1.iter().enumerate().map(make).collect()
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
    for case in cases() {
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

#[test]
fn every_op_gives_the_same_bits_for_one_two_and_four_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut all = vec![];
            for mut case in cases() {
                // A batch of 37 fills several tasks unevenly.
                if case.1[0].len() == 4 {
                    case.1[0][0] = 37;
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

#[test]
fn a_large_linear_gives_the_same_bits_for_one_two_and_three_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let case = case("linear", &[&[301, 777], &[205, 777], &[205]], |t| {
                linear(&t[0], &t[1], Some(&t[2]))
            });
            value_and_gradients(&case, &inputs(&case, DType::F32))
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn no_gradient_is_stored_for_an_untracked_operand() {
    for case in cases() {
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
    let loss = cross_entropy(&logits, &target, 0.)
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    assert!(loss[0].is_nan());
}

#[test]
fn cross_entropy_of_huge_logits_is_finite_and_exact() {
    let logits = Tensor::new(&[[1e4f32, 0.], [0., 1e4]], &Device::Cpu).unwrap();
    let targets = Tensor::new(&[0u32, 0], &Device::Cpu).unwrap();
    let loss = cross_entropy(&logits, &targets, 0.).unwrap();
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
    assert!(conv2d(&t(&[1, 3, 4, 4]), &t(&[2, 2, 1, 1]), &config).is_err());
    assert!(conv2d(&t(&[1, 3, 4]), &t(&[2, 3, 1, 1]), &config).is_err());
    assert!(conv2d(&t(&[1, 3, 4, 4]), &t(&[2, 3, 5, 1]), &config).is_err());
    assert!(conv2d(&t(&[1, 3, 4, 4]), &t(&[2, 3, 1, 1]), &none).is_err());
    assert!(linear(&t(&[2, 3]), &t(&[4, 5]), None).is_err());
    assert!(batch_norm(&t(&[1, 3, 1]), &t(&[3]), &t(&[3]), 0., Activation::Relu).is_err());
    assert!(batch_norm(&t(&[2, 3, 1]), &t(&[2]), &t(&[3]), 0., Activation::Relu).is_err());
    assert!(global_avg_pool(&t(&[1, 2, 0, 3])).is_err());
    assert!(dropout(&t(&[1]), 1.5, Rng::new(0, Purpose::Dropout, 0)).is_err());
    let class = Tensor::new(&[2u32], &Device::Cpu).unwrap();
    let error = cross_entropy(&t(&[1, 2]), &class, 0.)
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
        assert_eq!(conv2d(&x, &w, &config).unwrap().dims(), [0, 2, 2, 2]);
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
    for case in cases() {
        let vars = inputs(&case, DType::F32);
        let [ours, candles] = by_tape_and_by_candle(&case, &vars);
        for var in &vars {
            let flat = |grads: &GradStore| {
                let grad = grads.get(var).unwrap().flatten_all().unwrap();
                grad.to_vec1::<f32>().unwrap()
            };
            assert_eq!(flat(&ours), flat(&candles), "{}", case.0);
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
