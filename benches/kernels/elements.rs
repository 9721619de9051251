//! Activations, sums, powers, noise: work that is memory and little else.

use candle_core::{Result, Tensor};
use candle_nn::{Module, ops};
use dl_autograd::{
    Purpose, Rng, add, alpha_dropout, celu, drop_path, dropout, dropout_channels, elu,
    gaussian_noise, geglu, gelu, gelu_tanh, glu, hard_sigmoid, hard_swish, hard_tanh, leaky_relu,
    log_sigmoid, mish, mul, pow, powf, prelu, reglu, relu, relu6, selu, sigmoid, silu, softplus,
    softsign, sum, swiglu, tanh,
};

use crate::{Kernel, Op, kernel};

fn of_four_million(name: &'static str, ours: Op, candles: Option<Op>) -> Kernel {
    kernel(name, &[&[4_000_000]], ours, candles)
}

fn stream() -> Rng {
    Rng::new(0, Purpose::Dropout, 0)
}

pub fn activations() -> Vec<Kernel> {
    vec![
        of_four_million("relu, 4 M", |t| relu(&t[0]), Some(|t| t[0].relu())),
        of_four_million(
            "relu6, 4 M",
            |t| relu6(&t[0]),
            Some(|t| t[0].clamp(0f32, 6f32)),
        ),
        of_four_million(
            "sigmoid, 4 M",
            |t| sigmoid(&t[0]),
            Some(|t| ops::sigmoid(&t[0])),
        ),
        of_four_million("tanh, 4 M", |t| tanh(&t[0]), Some(|t| t[0].tanh())),
        of_four_million("silu, 4 M", |t| silu(&t[0]), Some(|t| t[0].silu())),
        kernel(
            "gelu, 3 M",
            &[&[2048, 1536]],
            |t| gelu(&t[0]),
            Some(|t| t[0].gelu_erf()),
        ),
        of_four_million(
            "gelu_tanh, 4 M",
            |t| gelu_tanh(&t[0]),
            Some(|t| t[0].gelu()),
        ),
        of_four_million(
            "leaky_relu, 4 M",
            |t| leaky_relu(&t[0], 0.01),
            Some(|t| ops::leaky_relu(&t[0], 0.01)),
        ),
        of_four_million("elu, 4 M", |t| elu(&t[0], 1.), Some(|t| t[0].elu(1.))),
        of_four_million(
            "selu, 4 M",
            |t| selu(&t[0]),
            Some(|t| ops::selu(&t[0], 1.673_263_2, 1.050_701)),
        ),
        of_four_million("celu, 4 M", |t| celu(&t[0], 2.), None),
        of_four_million("softplus, 4 M", |t| softplus(&t[0], 1., 20.), None),
        of_four_million("log_sigmoid, 4 M", |t| log_sigmoid(&t[0]), None),
        of_four_million("mish, 4 M", |t| mish(&t[0]), Some(|t| ops::mish(&t[0]))),
        of_four_million("hard_swish, 4 M", |t| hard_swish(&t[0]), None),
        of_four_million(
            "hard_sigmoid, 4 M",
            |t| hard_sigmoid(&t[0]),
            Some(|t| ops::hard_sigmoid(&t[0])),
        ),
        of_four_million("hard_tanh, 4 M", |t| hard_tanh(&t[0], -1., 1.), None),
        of_four_million("softsign, 4 M", |t| softsign(&t[0]), None),
        kernel(
            "prelu, 16×64×56×56",
            &[&[16, 64, 56, 56], &[64]],
            |t| prelu(&t[0], &t[1]),
            Some(|t| candle_nn::PReLU::new(t[1].clone(), false).forward(&t[0])),
        ),
    ]
}

pub fn gates() -> Vec<Kernel> {
    let wide: &[&[usize]] = &[&[2048, 3072]];
    vec![
        kernel("glu, 2048×3072", wide, |t| glu(&t[0], 1), None),
        kernel(
            "swiglu, 2048×3072",
            wide,
            |t| swiglu(&t[0], 1),
            Some(|t| ops::swiglu(&t[0])),
        ),
        kernel("geglu, 2048×3072", wide, |t| geglu(&t[0], 1), None),
        kernel("reglu, 2048×3072", wide, |t| reglu(&t[0], 1), None),
    ]
}

pub fn noise() -> Vec<Kernel> {
    let images: &[&[usize]] = &[&[16, 64, 56, 56]];
    vec![
        of_four_million(
            "dropout, 4 M",
            |t| dropout(&t[0], 0.1, stream()),
            Some(|t| ops::dropout(&t[0], 0.1)),
        ),
        kernel(
            "dropout_channels, 16×64×56×56",
            images,
            |t| dropout_channels(&t[0], 0.1, stream()),
            None,
        ),
        kernel(
            "drop_path, 16×64×56×56",
            images,
            |t| drop_path(&t[0], 0.1, stream()),
            None,
        ),
        of_four_million(
            "alpha_dropout, 4 M",
            |t| alpha_dropout(&t[0], 0.1, stream()),
            None,
        ),
        of_four_million(
            "gaussian_noise, 4 M",
            |t| gaussian_noise(&t[0], 0.1, stream()),
            Some(|t| &t[0] + (t[0].randn_like(0., 1.)? * 0.1)?),
        ),
    ]
}

/// Bases that have powers, whole or not.
fn positive(x: &Tensor) -> Result<Tensor> {
    x.detach().sqr()? + 0.1
}

pub fn arithmetic() -> Vec<Kernel> {
    let two: &[&[usize]] = &[&[4_000_000], &[4_000_000]];
    vec![
        kernel(
            "add, 4 M",
            two,
            |t| add(&t[0], &t[1]),
            Some(|t| &t[0] + &t[1]),
        ),
        kernel(
            "mul, 4 M",
            two,
            |t| mul(&t[0], &t[1]),
            Some(|t| &t[0] * &t[1]),
        ),
        of_four_million("sum, 4 M", |t| sum(&t[0]), Some(|t| t[0].sum_all())),
        kernel(
            "pow, 1 M",
            &[&[1_000_000]],
            |t| pow(&positive(&t[0])?, &t[0]),
            Some(|t| positive(&t[0])?.pow(&t[0])),
        ),
        of_four_million("powf 3, 4 M", |t| powf(&t[0], 3.), Some(|t| t[0].powf(3.))),
    ]
}
