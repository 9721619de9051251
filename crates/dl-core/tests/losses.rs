//! Losses against PyTorch (`tools/reference/losses.py`), at their kinks too.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{log_softmax, sigmoid, softmax};
use dl_core::losses::{
    CosineEmbeddingOptions, DiceOptions, GaussianNllOptions, HuberOptions, KlDivOptions,
    MarginRankingOptions, PoissonNllOptions, Reduction, SmoothL1Options, TripletMarginOptions,
    cosine_embedding_loss, cross_entropy, dice_loss, gaussian_nll_loss, hinge_embedding_loss,
    huber_loss, kl_div, l1_loss, margin_ranking_loss, mse_loss, poisson_nll_loss,
    sigmoid_focal_loss, smooth_l1_loss, triplet_margin_loss,
};

type Loss = fn(&[Tensor]) -> Result<Tensor>;

/// 1 for every third row, −1 for the others.
fn signs(like: &Tensor) -> Result<Tensor> {
    let values = (0..24).map(|i| if i % 3 == 0 { 1f64 } else { -1. });
    let values: Vec<f64> = values.collect();
    Tensor::from_vec(values, 24, &Device::Cpu)?.to_dtype(like.dtype())
}

fn losses() -> Vec<(&'static str, Loss)> {
    vec![
        ("mse", |t| mse_loss(&t[0], &t[1], Reduction::Mean)),
        ("l1", |t| l1_loss(&t[0], &t[1], Reduction::Mean)),
        ("smooth_l1", |t| {
            smooth_l1_loss(&t[0], &t[1], Default::default(), Reduction::Mean)
        }),
        ("smooth_l1 without a tip", |t| {
            smooth_l1_loss(&t[0], &t[1], SmoothL1Options { beta: 0. }, Reduction::Mean)
        }),
        ("huber", |t| {
            huber_loss(&t[0], &t[1], HuberOptions { delta: 1.5 }, Reduction::None)
        }),
        ("kl_div", |t| {
            let (x, t) = (log_softmax(&t[0], 1)?, softmax(&t[1], 1)?);
            kl_div(&x, &t, Default::default(), Reduction::BatchMean)
        }),
        ("kl_div of logarithms", |t| {
            let options = KlDivOptions { log_target: true };
            kl_div(&t[0], &t[1], options, Reduction::Sum)
        }),
        ("poisson_nll", |t| {
            let options = PoissonNllOptions {
                full: true,
                ..Default::default()
            };
            poisson_nll_loss(&t[0], &t[1].exp()?, options, Reduction::Mean)
        }),
        ("poisson_nll of rates", |t| {
            let options = PoissonNllOptions {
                log_input: false,
                ..Default::default()
            };
            poisson_nll_loss(&t[0].exp()?, &t[1], options, Reduction::Mean)
        }),
        ("gaussian_nll", |t| {
            let options = GaussianNllOptions {
                full: true,
                eps: 0.5,
            };
            gaussian_nll_loss(&t[0], &t[1], &t[2].exp()?, options, Reduction::Mean)
        }),
        ("gaussian_nll of rows", |t| {
            let variance = t[2].exp()?;
            let options = Default::default();
            gaussian_nll_loss(&t[0], &t[1], &variance, options, Reduction::None)
        }),
        ("hinge_embedding", |t| {
            let columns = signs(&t[0])?.unsqueeze(1)?.broadcast_as(t[0].shape())?;
            hinge_embedding_loss(&t[0], &columns, Default::default(), Reduction::Mean)
        }),
        ("margin_ranking", |t| {
            let options = Default::default();
            margin_ranking_loss(&t[0], &t[1], &signs(&t[0])?, options, Reduction::None)
        }),
        ("margin_ranking with a margin", |t| {
            let options = MarginRankingOptions { margin: 0.5 };
            margin_ranking_loss(&t[0], &t[1], &signs(&t[0])?, options, Reduction::Mean)
        }),
        ("cosine_embedding", |t| {
            let options = CosineEmbeddingOptions { margin: 0.25 };
            cosine_embedding_loss(&t[0], &t[1], &signs(&t[0])?, options, Reduction::None)
        }),
        ("triplet_margin", |t| {
            triplet_margin_loss(&t[0], &t[1], &t[2], Default::default(), Reduction::Mean)
        }),
        ("triplet_margin, swapped, norm 1", |t| {
            let options = TripletMarginOptions {
                margin: 0.5,
                p: 1.,
                swap: true,
                ..Default::default()
            };
            triplet_margin_loss(&t[0], &t[1], &t[2], options, Reduction::Mean)
        }),
        ("triplet_margin, norm 3", |t| {
            let options = TripletMarginOptions {
                p: 3.,
                ..Default::default()
            };
            triplet_margin_loss(&t[0], &t[1], &t[2], options, Reduction::None)
        }),
        ("focal", |t| {
            sigmoid_focal_loss(&t[0], &sigmoid(&t[1])?, Default::default(), Reduction::Mean)
        }),
        ("dice", |t| {
            let (p, t) = (sigmoid(&t[0])?, sigmoid(&t[1])?);
            dice_loss(&p, &t, Default::default(), Reduction::Mean)
        }),
    ]
}

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let flat = |t: &Tensor| {
        let t = t.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
        t.to_vec1::<f64>().unwrap()
    };
    let theirs = flat(theirs);
    let scale = theirs.iter().fold(1f64, |m, x| m.max(x.abs()));
    for (i, (a, b)) in flat(ours).iter().zip(&theirs).enumerate() {
        let close = (a - b).abs() <= tolerance * scale;
        assert!(close, "{what}, element {i}: {a}, PyTorch has {b}");
    }
}

fn compare(
    fixtures: &HashMap<String, Tensor>,
    case: &str,
    loss: Loss,
    dtype: DType,
    tolerance: f64,
) {
    let get = |key: &str| {
        fixtures
            .get(&format!("{case}/{key}"))
            .map(|t| t.to_dtype(dtype).unwrap())
    };
    let inputs: Vec<Var> = (0..)
        .map_while(|i| get(&format!("input.{i}")))
        .map(|x| Var::from_tensor(&x).unwrap())
        .collect();
    let tensors: Vec<Tensor> = inputs.iter().map(|v| v.as_tensor().clone()).collect();
    let y = loss(&tensors).unwrap();
    let what = format!("{case} in {dtype:?}");
    assert_close(&what, &y, &get("output").unwrap(), tolerance);
    let weighted = (y * get("cotangent").unwrap()).unwrap();
    let grads = weighted.sum_all().unwrap().backward().unwrap();
    for (i, var) in inputs.iter().enumerate() {
        let expected = get(&format!("grad.{i}")).unwrap();
        let what = format!("{what}, gradient {i}");
        assert_close(&what, grads.get(var).unwrap(), &expected, tolerance);
    }
}

/// Sums of 72 terms in f64, whose roundings are 1e-16 each. In f32 only normal inputs: there, what
/// ties in f64 may not tie.
#[test]
fn every_loss_agrees_with_pytorch_at_its_kinks_too() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/losses.safetensors");
    let fixtures = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let mut open: BTreeSet<&str> = fixtures
        .keys()
        .map(|k| k.rsplit_once('/').unwrap().0)
        .collect();
    for (name, loss) in losses() {
        compare(&fixtures, name, loss, DType::F64, 1e-12);
        compare(&fixtures, name, loss, DType::F32, 1e-5);
        let halves = format!("{name}, halves");
        if open.remove(halves.as_str()) {
            compare(&fixtures, &halves, loss, DType::F64, 1e-12);
        }
        assert!(open.remove(name), "no fixture of {name}");
    }
    assert!(open.is_empty(), "{open:?} have no loss");
}

fn message(result: Result<Tensor>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn operands_that_do_not_fit_are_named() {
    let t = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let (a, b) = (t(&[4, 3]), t(&[3, 4]));
    let mean = Reduction::Mean;
    let negative = (t(&[4, 3]) - 1.).unwrap();
    for (error, names) in [
        (mse_loss(&a, &b, mean), ["mse", "[3, 4]"]),
        (
            gaussian_nll_loss(&a, &b, &a, Default::default(), mean),
            ["gaussian_nll_loss", "target"],
        ),
        (
            gaussian_nll_loss(&a, &a, &b, Default::default(), mean),
            ["variance", "[3, 4]"],
        ),
        (
            gaussian_nll_loss(&a, &a, &negative, Default::default(), mean),
            ["variance ≥ 0", "-1"],
        ),
        (
            margin_ranking_loss(&a, &b, &a, Default::default(), mean),
            ["margin_ranking_loss", "second"],
        ),
        (
            cosine_embedding_loss(&a, &b, &a, Default::default(), mean),
            ["cosine_embedding_loss", "second"],
        ),
        (
            triplet_margin_loss(&a, &a, &b, Default::default(), mean),
            ["triplet_margin_loss", "negative"],
        ),
        (
            dice_loss(&a, &a, Default::default(), mean),
            ["dice_loss", "(n, c, d1, …)"],
        ),
        (
            dice_loss(&a, &a, DiceOptions { smooth: 0. }, mean),
            ["dice_loss", "[4, 3]"],
        ),
        (
            cross_entropy(&a, &b, &Default::default(), mean),
            ["cross_entropy", "targets"],
        ),
    ] {
        let error = message(error);
        assert!(names.iter().all(|name| error.contains(name)), "{error}");
    }
}

/// Equal points have a distance of ε: their gradient is finite.
#[test]
fn points_that_coincide_have_a_finite_gradient() {
    let a = Var::new(&[[1f64, 2.]], &Device::Cpu).unwrap();
    let x = a.as_tensor();
    for p in [1., 2., 3.] {
        let options = TripletMarginOptions {
            p,
            ..Default::default()
        };
        let loss = triplet_margin_loss(x, x, x, options, Reduction::Mean).unwrap();
        let grads = loss.backward().unwrap();
        let grad = grads.get(&a).unwrap().to_vec2::<f64>().unwrap();
        assert!(grad[0].iter().all(|g| g.is_finite()), "{grad:?}");
    }
    let zero = Var::new(&[[0f64, 0.]], &Device::Cpu).unwrap();
    let one = Tensor::new(&[1f64], &Device::Cpu).unwrap();
    let options = Default::default();
    let loss = cosine_embedding_loss(&zero, x, &one, options, Reduction::Mean).unwrap();
    let grads = loss.backward().unwrap();
    let grad = grads.get(&zero).unwrap().to_vec2::<f64>().unwrap();
    assert!(grad[0].iter().all(|g| g.is_finite()), "{grad:?}");
}
