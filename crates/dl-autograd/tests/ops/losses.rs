//! Losses of classes and of pairs of elements.

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{
    BinaryCrossEntropyOptions, CrossEntropyOptions, NllOptions, PointwiseLoss, Reduction, Tape,
    backward, binary_cross_entropy_with_logits, composed, cross_entropy, grad_with_graph,
    log_softmax, nll_loss, pointwise_loss, scale, sigmoid, softmax, sum, transpose,
};

use crate::case::{Case, case};

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Mean, Reduction::Sum];

fn weights(like: &Tensor) -> Result<Tensor> {
    Tensor::new(&[0.5f64, 2., 1., 0.25, 3.], &Device::Cpu)?.to_dtype(like.dtype())
}

/// Classes that jump about, those of every fourth place ignored by −1.
fn classes(shape: &[usize], ignored: bool) -> Result<Tensor> {
    let class = |i: i64| match ignored && i % 4 == 1 {
        true => -1,
        false => (i * 7 + 3) % 5,
    };
    let count = shape.iter().product::<usize>() as i64;
    Tensor::from_vec((0..count).map(class).collect(), shape, &Device::Cpu)
}

fn options(like: &Tensor, weighted: bool, smoothing: f64) -> Result<CrossEntropyOptions> {
    Ok(CrossEntropyOptions {
        weight: weighted.then(|| weights(like)).transpose()?,
        ignore_index: -1,
        label_smoothing: smoothing,
    })
}

fn of_classes(names: [&'static str; 3], weighted: bool, smoothing: f64) -> Vec<Case> {
    let make = |(name, reduction)| {
        case(name, &[&[7, 5]], move |t| {
            let options = options(&t[0], weighted, smoothing)?;
            cross_entropy(&t[0], &classes(&[7], true)?, &options, reduction)
        })
    };
    names.into_iter().zip(REDUCTIONS).map(make).collect()
}

fn of_distributions(names: [&'static str; 3], weighted: bool, smoothing: f64) -> Vec<Case> {
    let make = |(name, reduction)| {
        case(name, &[&[7, 5], &[7, 5]], move |t| {
            let options = options(&t[0], weighted, smoothing)?;
            cross_entropy(&t[0], &softmax(&t[1], 1)?, &options, reduction)
        })
    };
    names.into_iter().zip(REDUCTIONS).map(make).collect()
}

fn nll(names: [&'static str; 3], weighted: bool) -> Vec<Case> {
    let make = |(name, reduction)| {
        case(name, &[&[3, 5, 4]], move |t| {
            let options = NllOptions {
                weight: weighted.then(|| weights(&t[0])).transpose()?,
                ignore_index: -1,
            };
            let log_p = log_softmax(&t[0], 1)?;
            nll_loss(&log_p, &classes(&[3, 4], true)?, &options, reduction)
        })
    };
    names.into_iter().zip(REDUCTIONS).map(make).collect()
}

/// With one of the two weights alone.
fn binary_with(name: &'static str, of_losses: bool) -> Case {
    case(name, &[&[4, 5], &[4, 5]], move |t| {
        let weight = Some(weights(&t[0])?);
        let options = match of_losses {
            true => BinaryCrossEntropyOptions {
                weight,
                pos_weight: None,
            },
            false => BinaryCrossEntropyOptions {
                weight: None,
                pos_weight: weight,
            },
        };
        binary_cross_entropy_with_logits(&t[0], &sigmoid(&t[1])?, &options, Reduction::Mean)
    })
}

fn binary(names: [&'static str; 3], weighted: bool) -> Vec<Case> {
    let make = |(name, reduction)| {
        case(name, &[&[3, 4, 5], &[3, 4, 5]], move |t| {
            let rows = Tensor::new(&[[1f64], [2.], [0.], [0.5]], &Device::Cpu)?;
            let options = BinaryCrossEntropyOptions {
                weight: weighted.then(|| rows.to_dtype(t[0].dtype())).transpose()?,
                pos_weight: weighted.then(|| weights(&t[0])).transpose()?,
            };
            let x = scale(&t[0], 4.)?;
            binary_cross_entropy_with_logits(&x, &sigmoid(&t[1])?, &options, reduction)
        })
    };
    names.into_iter().zip(REDUCTIONS).map(make).collect()
}

/// `prepare` takes the second input to where the loss takes targets.
fn pairs(
    name: &'static str,
    loss: PointwiseLoss,
    reduction: Reduction,
    prepare: fn(&Tensor) -> Result<Tensor>,
) -> Case {
    case(name, &[&[7, 11], &[7, 11]], move |t| {
        pointwise_loss(&t[0], &prepare(&t[1])?, loss, reduction)
    })
}

fn same(t: &Tensor) -> Result<Tensor> {
    Ok(t.clone())
}

fn ones(t: &[Tensor], loss: PointwiseLoss) -> Result<Tensor> {
    let signs = (0..77).map(|i| if i % 3 == 0 { 1. } else { -1. });
    let signs: Vec<f64> = signs.collect();
    let signs = Tensor::from_vec(signs, (7, 11), &Device::Cpu)?.to_dtype(t[0].dtype())?;
    pointwise_loss(&t[0], &signs, loss, Reduction::Mean)
}

pub fn cases() -> Vec<Case> {
    use PointwiseLoss as L;
    let mut cases = vec![
        binary_with("binary_cross_entropy with weights of losses", true),
        binary_with("binary_cross_entropy with weights of positives", false),
        case("cross_entropy of one sample", &[&[5]], |t| {
            let class = Tensor::new(3u8, &Device::Cpu)?;
            cross_entropy(&t[0], &class, &Default::default(), Reduction::Mean)
        }),
        case("cross_entropy of pixels, smoothed", &[&[3, 5, 2, 3]], |t| {
            let batch = t[0].dim(0)?;
            let options = options(&t[0], true, 0.2)?;
            let targets = classes(&[batch, 2, 3], true)?;
            cross_entropy(&t[0], &targets, &options, Reduction::None)
        }),
        case(
            "cross_entropy of pixels and distributions",
            &[&[3, 5, 4], &[3, 5, 4]],
            |t| {
                let options = options(&t[0], true, 0.2)?;
                cross_entropy(&t[0], &softmax(&t[1], 1)?, &options, Reduction::Mean)
            },
        ),
        case("cross_entropy of transposed logits", &[&[5, 7]], |t| {
            let z = transpose(&scale(&t[0], 5.)?, 0, 1)?;
            cross_entropy(
                &z,
                &classes(&[7], false)?,
                &Default::default(),
                Reduction::Sum,
            )
        }),
        // More classes than a vector register has lanes.
        case(
            "cross_entropy of many classes",
            &[&[2, 37], &[2, 37]],
            |t| {
                cross_entropy(
                    &t[0],
                    &softmax(&t[1], 1)?,
                    &Default::default(),
                    Reduction::None,
                )
            },
        ),
        pairs("mse", L::Squared, Reduction::None, same),
        pairs("mse mean", L::Squared, Reduction::Mean, same),
        pairs("l1", L::Absolute, Reduction::Mean, same),
        pairs(
            "smooth_l1",
            L::SmoothL1 { beta: 0.7 },
            Reduction::None,
            same,
        ),
        pairs(
            "smooth_l1 mean",
            L::SmoothL1 { beta: 0. },
            Reduction::Mean,
            same,
        ),
        pairs("huber", L::Huber { delta: 1.3 }, Reduction::Sum, same),
        pairs("kl_div", L::KlDiv, Reduction::BatchMean, |t| softmax(t, 1)),
        pairs(
            "kl_div of logarithms",
            L::KlDivOfLog,
            Reduction::Mean,
            |t| log_softmax(t, 1),
        ),
        pairs(
            "poisson_nll",
            L::PoissonNll {
                log_input: true,
                full: true,
                eps: 1e-8,
            },
            Reduction::Mean,
            |t| scale(&sigmoid(t)?, 3.),
        ),
        case("poisson_nll of rates", &[&[7, 11], &[7, 11]], |t| {
            let loss = L::PoissonNll {
                log_input: false,
                full: false,
                eps: 1e-8,
            };
            let (x, t) = (sigmoid(&t[0])?, sigmoid(&t[1])?);
            pointwise_loss(&x, &t, loss, Reduction::None)
        }),
        pairs(
            "gaussian_nll",
            L::GaussianNll {
                full: true,
                eps: 1e-6,
            },
            Reduction::Mean,
            sigmoid,
        ),
        pairs(
            "gaussian_nll without the constant",
            L::GaussianNll {
                full: false,
                eps: 1e-6,
            },
            Reduction::None,
            sigmoid,
        ),
        pairs(
            "poisson_nll without Stirling's term",
            L::PoissonNll {
                log_input: true,
                full: false,
                eps: 1e-8,
            },
            Reduction::Sum,
            |t| scale(&sigmoid(t)?, 3.),
        ),
        case("poisson_nll of rates, full", &[&[7, 11], &[7, 11]], |t| {
            let loss = L::PoissonNll {
                log_input: false,
                full: true,
                eps: 0.1,
            };
            let (x, t) = (sigmoid(&t[0])?, scale(&sigmoid(&t[1])?, 3.)?);
            pointwise_loss(&x, &t, loss, Reduction::Mean)
        }),
        case("hinge_embedding", &[&[7, 11]], |t| {
            ones(t, L::HingeEmbedding { margin: 0.8 })
        }),
        case("margin_ranking", &[&[7, 11]], |t| {
            ones(t, L::MarginRanking { margin: 0.5 })
        }),
        pairs(
            "focal",
            L::Focal {
                alpha: Some(0.25),
                gamma: 2.,
            },
            Reduction::Mean,
            sigmoid,
        ),
        pairs(
            "focal without weight",
            L::Focal {
                alpha: None,
                gamma: 1.5,
            },
            Reduction::None,
            sigmoid,
        ),
    ];
    cases.extend(of_classes(
        [
            "cross_entropy weighted, none",
            "cross_entropy weighted, mean",
            "cross_entropy weighted, sum",
        ],
        true,
        0.,
    ));
    cases.extend(of_classes(
        [
            "cross_entropy weighted and smoothed, none",
            "cross_entropy weighted and smoothed, mean",
            "cross_entropy weighted and smoothed, sum",
        ],
        true,
        0.3,
    ));
    cases.extend(of_classes(
        [
            "cross_entropy smoothed, some ignored, none",
            "cross_entropy smoothed, some ignored, mean",
            "cross_entropy smoothed, some ignored, sum",
        ],
        false,
        0.3,
    ));
    cases.extend(of_distributions(
        [
            "cross_entropy of distributions, none",
            "cross_entropy of distributions, mean",
            "cross_entropy of distributions, sum",
        ],
        false,
        0.,
    ));
    cases.extend(of_distributions(
        [
            "cross_entropy of distributions, weighted and smoothed, none",
            "cross_entropy of distributions, weighted and smoothed, mean",
            "cross_entropy of distributions, weighted and smoothed, sum",
        ],
        true,
        0.3,
    ));
    cases.extend(nll(
        ["nll_loss, none", "nll_loss, mean", "nll_loss, sum"],
        false,
    ));
    cases.extend(nll(
        [
            "nll_loss weighted, none",
            "nll_loss weighted, mean",
            "nll_loss weighted, sum",
        ],
        true,
    ));
    cases.extend(binary(
        [
            "binary_cross_entropy, none",
            "binary_cross_entropy, mean",
            "binary_cross_entropy, sum",
        ],
        false,
    ));
    cases.extend(binary(
        [
            "binary_cross_entropy weighted, none",
            "binary_cross_entropy weighted, mean",
            "binary_cross_entropy weighted, sum",
        ],
        true,
    ));
    cases
}

fn logits<const N: usize>(values: &[[f32; 3]; N]) -> Var {
    Var::new(values, &Device::Cpu).unwrap()
}

fn value_and_gradient(x: &Var, loss: Result<Tensor>) -> (f32, Vec<f32>) {
    let loss = loss.unwrap();
    let grad = loss.backward().unwrap().get(x).unwrap().clone();
    let grad = grad.flatten_all().unwrap().to_vec1().unwrap();
    (loss.to_scalar().unwrap(), grad)
}

/// Both ways of an op.
fn both<R>(f: impl Fn() -> R) -> [R; 2] {
    [f(), composed(&f)]
}

#[test]
fn the_mean_of_nothing_is_nan_and_its_gradient_is_not() {
    let z = logits(&[[1., 2., 3.], [f32::NEG_INFINITY, 0., 0.]]);
    let ignored = Tensor::new(&[-100i64, -100], &Device::Cpu).unwrap();
    for (value, grad) in both(|| {
        let loss = cross_entropy(&z, &ignored, &Default::default(), Reduction::Mean);
        value_and_gradient(&z, loss)
    }) {
        assert!(value.is_nan());
        assert_eq!(grad, [0.; 6]);
    }
    let loss = nll_loss(&z, &ignored, &Default::default(), Reduction::Mean);
    let (value, grad) = value_and_gradient(&z, loss);
    assert!(value.is_nan());
    assert_eq!(grad, [0.; 6]);
}

#[test]
fn the_mean_of_an_empty_batch_is_nan_and_its_sum_is_zero() {
    let z = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
    let none = Tensor::zeros(0, DType::U32, &Device::Cpu).unwrap();
    let soft = z.clone();
    let run = |reduction| {
        let options = CrossEntropyOptions::default();
        let losses = [
            cross_entropy(&z, &none, &options, reduction),
            cross_entropy(&z, &soft, &options, reduction),
            nll_loss(&z, &none, &Default::default(), reduction),
            binary_cross_entropy_with_logits(&z, &soft, &Default::default(), reduction),
        ];
        losses.map(|l| l.unwrap().to_scalar::<f32>().unwrap())
    };
    assert!(run(Reduction::Mean).iter().all(|l| l.is_nan()));
    assert_eq!(run(Reduction::Sum), [0.; 4]);
}

/// A class that a mask has put at −∞ takes no part, and its gradient is 0.
#[test]
fn a_logit_of_minus_infinity_is_a_class_that_cannot_be() {
    let z = logits(&[[0., f32::NEG_INFINITY, 0.]]);
    let class = Tensor::new(&[2u32], &Device::Cpu).unwrap();
    for (value, grad) in both(|| {
        let loss = cross_entropy(&z, &class, &Default::default(), Reduction::Mean);
        value_and_gradient(&z, loss)
    }) {
        assert!((value - 2f32.ln()).abs() < 1e-6, "{value}");
        assert_eq!(grad, [0.5, 0., -0.5]);
    }
}

/// The probabilities of logits near 1e4 lose nothing: the maximum is taken away before the sum.
#[test]
fn the_gradient_of_huge_logits_is_as_exact_as_that_of_small_ones() {
    let (small, huge) = (
        logits(&[[0., 1., 2.]]),
        logits(&[[1e4, 1e4 + 1., 1e4 + 2.]]),
    );
    let class = Tensor::new(&[0u32], &Device::Cpu).unwrap();
    let run = |z: &Var| {
        let loss = cross_entropy(z, &class, &Default::default(), Reduction::Sum);
        value_and_gradient(z, loss)
    };
    assert_eq!(run(&small), run(&huge));
}

/// `x + log(1 + e⁻ˣ)` of x = −20 would be 0 in f32.
#[test]
fn a_small_binary_loss_keeps_its_digits() {
    let x = Var::new(&[-20f32, 20., -200., 200.], &Device::Cpu).unwrap();
    let t = Tensor::new(&[0f32, 1., 1., 0.], &Device::Cpu).unwrap();
    for losses in both(|| {
        binary_cross_entropy_with_logits(&x, &t, &Default::default(), Reduction::None).unwrap()
    }) {
        let losses = losses.to_vec1::<f32>().unwrap();
        assert_eq!(&losses[2..], [200., 200.]);
    }
    let losses =
        binary_cross_entropy_with_logits(&x, &t, &Default::default(), Reduction::None).unwrap();
    let small = losses.to_vec1::<f32>().unwrap()[0];
    assert!((small / 2.061_153_6e-9 - 1.).abs() < 1e-6, "{small}");
    let grads = losses.sum_all().unwrap().backward().unwrap();
    let slope = grads.get(&x).unwrap().to_vec1::<f32>().unwrap()[0];
    assert!((slope / 2.061_153_6e-9 - 1.).abs() < 1e-6, "{slope}");
}

#[test]
fn integers_of_every_type_are_classes() {
    let z = logits(&[[1., 2., 3.], [0., 1., 0.]]);
    let wide = Tensor::new(&[2i64, 1], &Device::Cpu).unwrap();
    let run = |targets: &Tensor| {
        let loss = cross_entropy(&z, targets, &Default::default(), Reduction::Mean);
        loss.unwrap().to_scalar::<f32>().unwrap()
    };
    for dtype in [DType::U8, DType::U32, DType::I32] {
        assert_eq!(run(&wide.to_dtype(dtype).unwrap()), run(&wide));
    }
}

#[test]
fn half_precision_losses_come_back_in_half_precision() {
    let z = logits(&[[1., 2., 3.], [0., 1., 0.]]);
    let class = Tensor::new(&[2u32, 1], &Device::Cpu).unwrap();
    let run = |dtype| {
        let _tape = Tape::new();
        let x = Var::from_tensor(&z.to_dtype(dtype).unwrap()).unwrap();
        let loss = cross_entropy(&x, &class, &Default::default(), Reduction::Mean).unwrap();
        assert_eq!(loss.dtype(), dtype);
        let again = grad_with_graph(&sum(&loss).unwrap(), &[x.as_tensor()]).unwrap();
        assert_eq!(again[0].as_ref().unwrap().dtype(), dtype);
        let grads = backward(&loss).unwrap();
        let grad = grads.get(&x).unwrap().to_dtype(DType::F64).unwrap();
        grad.flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    let exact = run(DType::F32);
    for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 1e-2)] {
        for (a, b) in run(dtype).iter().zip(&exact) {
            assert!((a - b).abs() < tolerance, "{dtype:?}: {a} and {b}");
        }
    }
}

fn message(result: Result<Tensor>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_wrong_target_is_named_with_its_place() {
    let z = Tensor::zeros((2, 3, 2), DType::F32, &Device::Cpu).unwrap();
    let run = |targets: &[[i64; 2]; 2]| {
        let targets = Tensor::new(targets, &Device::Cpu).unwrap();
        let options = CrossEntropyOptions::default();
        [
            message(cross_entropy(&z, &targets, &options, Reduction::Mean)),
            message(nll_loss(&z, &targets, &Default::default(), Reduction::Mean)),
        ]
    };
    for error in run(&[[0, 1], [3, 0]]) {
        assert!(
            error.contains("[1, 0]") && error.contains("class 3"),
            "{error}"
        );
        assert!(error.contains("3 classes"), "{error}");
    }
    for error in run(&[[0, -1], [0, 0]]) {
        assert!(
            error.contains("[0, 1]") && error.contains("class -1"),
            "{error}"
        );
    }
}

#[test]
fn operands_that_do_not_fit_are_errors_that_say_so() {
    let t = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let (z, class) = (t(&[2, 3], DType::F32), t(&[2], DType::U32));
    let options = CrossEntropyOptions::default();
    let run = |targets: &Tensor, options: &CrossEntropyOptions| {
        message(cross_entropy(&z, targets, options, Reduction::Mean))
    };
    assert!(run(&t(&[3], DType::U32), &options).contains("[2]"));
    assert!(run(&t(&[2], DType::F32), &options).contains("distributions"));
    assert!(run(&t(&[2, 3], DType::F64), &options).contains("F64"));
    let ignoring = CrossEntropyOptions {
        ignore_index: 0,
        ..Default::default()
    };
    assert!(run(&z, &ignoring).contains("ignore_index"));
    let smooth = CrossEntropyOptions {
        label_smoothing: 1.5,
        ..Default::default()
    };
    assert!(run(&class, &smooth).contains("1.5"));
    let short = CrossEntropyOptions {
        weight: Some(t(&[2], DType::F32)),
        ..Default::default()
    };
    assert!(run(&class, &short).contains("3 classes"));
    let tracked = CrossEntropyOptions {
        weight: Some(Var::ones(3, DType::F32, &Device::Cpu).unwrap().into_inner()),
        ..Default::default()
    };
    assert!(run(&class, &tracked).contains("detach"));
    let scalar = cross_entropy(&t(&[], DType::F32), &class, &options, Reduction::Mean);
    assert!(message(scalar).contains("classes"));
    let wide = BinaryCrossEntropyOptions {
        pos_weight: Some(t(&[2], DType::F32)),
        ..Default::default()
    };
    let binary = binary_cross_entropy_with_logits(&z, &z, &wide, Reduction::Mean);
    assert!(message(binary).contains("pos_weight"));
    let huber = PointwiseLoss::Huber { delta: 0. };
    assert!(message(pointwise_loss(&z, &z, huber, Reduction::Mean)).contains("delta"));
    let other = t(&[3, 2], DType::F32);
    let mse = pointwise_loss(&z, &other, PointwiseLoss::Squared, Reduction::Mean);
    assert!(message(mse).contains("[3, 2]"));
}
