//! Where a gradient is a convention and no derivative: kinks, ties, rows that are left out.
//!
//! Central differences know nothing of these; PyTorch's numbers are the measure.

use candle_core::{Device, Result, Tensor};
use dl_autograd::{
    MaxPool2dConfig, PointwiseLoss, Reduction, adaptive_max_pool2d, add, amax, amin, celu, elu,
    embedding, hard_sigmoid, hard_swish, hard_tanh, leaky_relu, max, max_pool1d, max_pool2d, min,
    pointwise_loss, prelu, relu, relu6, scale, selu, softplus, softsign,
};

use crate::case::{Case, case};

/// Three times the input rounded to whole numbers, with the gradient of what was rounded: every kink
/// here lies at a whole number near 0, and of so few numbers many are equal.
fn whole(x: &Tensor) -> Result<Tensor> {
    let x = scale(x, 3.)?;
    let off = (x.detach().round()? - x.detach())?;
    add(&x, &off)
}

pub fn cases() -> Vec<Case> {
    let mut cases = losses();
    cases.extend(ties());
    for (name, f) in KINKS {
        cases.push(case(name, &[&[5, 7]], move |t| f(&whole(&t[0])?)));
    }
    cases.extend([
        case("prelu at its kink", &[&[5, 7], &[7]], |t| {
            prelu(&whole(&t[0])?, &t[1])
        }),
        case("prelu of one slope at its kink", &[&[5, 7], &[1]], |t| {
            prelu(&whole(&t[0])?, &t[1])
        }),
        case("embedding with a padding row", &[&[6, 3]], |t| {
            let ids = Tensor::new(&[[1u32, 4, 1], [0, 5, 4]], &Device::Cpu)?;
            embedding(&t[0], &ids, Some(4))
        }),
    ]);
    cases
}

type Activation = fn(&Tensor) -> Result<Tensor>;

const KINKS: [(&str, Activation); 11] = [
    ("relu at its kink", relu),
    ("relu6 at its kinks", relu6),
    ("leaky_relu at its kink", |x| leaky_relu(x, 0.01)),
    ("elu at its kink", |x| elu(x, 0.5)),
    ("selu at its kink", selu),
    ("celu at its kink", |x| celu(x, 2.)),
    ("softplus at its threshold", |x| softplus(x, 2., 4.)),
    ("hard_swish at its kinks", hard_swish),
    ("hard_sigmoid at its kinks", hard_sigmoid),
    ("hard_tanh at its kinks", |x| hard_tanh(x, -1., 2.)),
    ("softsign at zero", softsign),
];

fn ties() -> Vec<Case> {
    let overlapping = MaxPool2dConfig {
        kernel: (3, 3),
        stride: Some((2, 1)),
        padding: (1, 1),
        ..Default::default()
    };
    vec![
        case("max of equals", &[&[4, 9]], |t| {
            Ok(max(&whole(&t[0])?, 1)?.0)
        }),
        case("min of equals", &[&[9, 4]], |t| {
            Ok(min(&whole(&t[0])?, 0)?.0)
        }),
        case("amax of equals", &[&[4, 9]], |t| amax(&whole(&t[0])?, 1)),
        case("amin of equals", &[&[9, 4]], |t| amin(&whole(&t[0])?, 0)),
        case("max_pool1d of equals", &[&[2, 3, 9]], |t| {
            max_pool1d(&whole(&t[0])?, &Default::default())
        }),
        case("max_pool2d of equals", &[&[2, 3, 7, 6]], move |t| {
            max_pool2d(&whole(&t[0])?, &overlapping)
        }),
        case("adaptive_max_pool2d of equals", &[&[2, 3, 7, 6]], |t| {
            adaptive_max_pool2d(&whole(&t[0])?, (3, 4))
        }),
    ]
}

/// ±1, of which one in three is positive.
fn signs(like: &Tensor) -> Result<Tensor> {
    let signs = (0..77).map(|i| if i % 3 == 0 { 1. } else { -1. });
    Tensor::from_vec(signs.collect::<Vec<f64>>(), (7, 11), &Device::Cpu)?.to_dtype(like.dtype())
}

fn losses() -> Vec<Case> {
    use PointwiseLoss as L;
    let pair = |name, loss| {
        case(name, &[&[7, 11], &[7, 11]], move |t| {
            pointwise_loss(&whole(&t[0])?, &whole(&t[1])?, loss, Reduction::Sum)
        })
    };
    let signed = |name, loss| {
        case(name, &[&[7, 11]], move |t| {
            pointwise_loss(&whole(&t[0])?, &signs(&t[0])?, loss, Reduction::Sum)
        })
    };
    vec![
        pair("l1 at its kink", L::Absolute),
        pair("smooth_l1 at its kinks", L::SmoothL1 { beta: 1. }),
        pair(
            "smooth_l1 without a parabola at its kink",
            L::SmoothL1 { beta: 0. },
        ),
        pair("huber at its kinks", L::Huber { delta: 2. }),
        signed(
            "hinge_embedding at its kinks",
            L::HingeEmbedding { margin: 2. },
        ),
        signed(
            "margin_ranking at its kink",
            L::MarginRanking { margin: 1. },
        ),
        // A normal target is often below the clamp, where PyTorch's gradient passes all the same.
        case(
            "gaussian_nll of clamped variances",
            &[&[7, 11], &[7, 11]],
            |t| {
                let loss = L::GaussianNll {
                    full: false,
                    eps: 0.5,
                };
                pointwise_loss(&t[0], &t[1], loss, Reduction::Sum)
            },
        ),
    ]
}
