//! Convolution, batch normalisation, linear, cross-entropy, pooling, dropout, sums.

use candle_core::{Device, Result, Tensor};
use dl_autograd::{
    Activation, Conv2dConfig, CrossEntropyOptions, Epilogue, Padding2d, Purpose, Reduction, Rng,
    add, batch_norm, batch_norm_with, conv2d, cross_entropy, dropout, global_avg_pool, linear,
    linear_gelu, linear_with, matmul, relu6, scale, sum, transpose,
};

use crate::case::{Case, case};

fn conv(name: &'static str, x: [usize; 4], w: [usize; 4], config: Conv2dConfig) -> Case {
    case(name, &[&x, &w], move |t| {
        conv2d(&t[0], &t[1], None, &config)
    })
}

fn padding(top: usize, bottom: usize, left: usize, right: usize) -> Padding2d {
    Padding2d {
        top,
        bottom,
        left,
        right,
    }
}

/// Mean and variance of four channels.
fn statistics(like: &Tensor) -> Result<[Tensor; 2]> {
    let mean = Tensor::new(&[0.1f64, -0.2, 0.3, 0.], &Device::Cpu)?;
    let variance = Tensor::new(&[1f64, 0.5, 2., 0.1], &Device::Cpu)?;
    Ok([
        mean.to_dtype(like.dtype())?,
        variance.to_dtype(like.dtype())?,
    ])
}

fn residual(residual: &Tensor, activation: Activation) -> Epilogue<'_> {
    Epilogue {
        residual: Some(residual),
        activation,
    }
}

/// Shapes are odd, rectangular and batched, because wrong gradients hide behind ones and squares.
pub fn cases() -> Vec<Case> {
    let base = Conv2dConfig::default();
    let mut cases = vec![
        conv("conv2d pointwise", [2, 3, 5, 4], [4, 3, 1, 1], base),
        // More pixels than one span has.
        conv(
            "conv2d pointwise, large plane",
            [2, 2, 21, 23],
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
    for (names, activation) in [
        (
            ["batch_norm", "batch_norm_with", "activation"],
            Activation::Identity,
        ),
        (
            [
                "batch_norm, relu",
                "batch_norm_with, relu",
                "activation, relu",
            ],
            Activation::Relu,
        ),
        (
            [
                "batch_norm, relu6",
                "batch_norm_with, relu6",
                "activation, relu6",
            ],
            Activation::Relu6,
        ),
    ] {
        cases.push(case(names[0], &[&[3, 4, 5, 2], &[4], &[4]], move |t| {
            Ok(batch_norm(&t[0], &t[1], &t[2], 1e-3, activation)?.0)
        }));
        cases.push(case(names[1], &[&[3, 4, 17], &[4], &[4]], move |t| {
            let [mean, variance] = statistics(&t[0])?;
            batch_norm_with(&t[0], &t[1], &t[2], &mean, &variance, 1e-3, activation)
        }));
        cases.push(case(names[2], &[&[3, 5]], move |t| {
            activation.forward(&scale(&t[0], 4.)?)
        }));
    }
    for (names, activation) in [
        (
            ["batch_norm, residual", "batch_norm_with, residual"],
            Activation::Identity,
        ),
        (
            [
                "batch_norm, residual, relu",
                "batch_norm_with, residual, relu",
            ],
            Activation::Relu,
        ),
    ] {
        let images: [&[usize]; 4] = [&[3, 4, 5, 2], &[4], &[4], &[3, 4, 5, 2]];
        cases.push(case(names[0], &images, move |t| {
            let end = residual(&t[3], activation);
            Ok(batch_norm(&t[0], &t[1], &t[2], 1e-3, end)?.0)
        }));
        let signals: [&[usize]; 4] = [&[3, 4, 17], &[4], &[4], &[3, 4, 17]];
        cases.push(case(names[1], &signals, move |t| {
            let [mean, variance] = statistics(&t[0])?;
            let end = residual(&t[3], activation);
            batch_norm_with(&t[0], &t[1], &t[2], &mean, &variance, 1e-3, end)
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
            linear(&transpose(&t[0], 0, 1)?, &t[1], None)
        }),
        case("linear, relu", &[&[2, 3, 5], &[4, 5], &[4]], |t| {
            linear_with(&t[0], &t[1], Some(&t[2]), Activation::Relu)
        }),
        case("linear, relu6", &[&[7, 5], &[19, 5], &[19]], |t| {
            linear_with(&scale(&t[0], 4.)?, &t[1], Some(&t[2]), Activation::Relu6)
        }),
        case("linear without bias, relu", &[&[3, 5], &[4, 5]], |t| {
            linear_with(&t[0], &t[1], None, Activation::Relu)
        }),
        case("linear_gelu", &[&[2, 3, 5], &[4, 5], &[4]], |t| {
            linear_gelu(&t[0], &t[1], Some(&t[2]))
        }),
        case("matmul", &[&[3, 5], &[5, 4]], |t| matmul(&t[0], &t[1])),
        case("matmul of a batch", &[&[2, 3, 5], &[2, 5, 4]], |t| {
            matmul(&t[0], &t[1])
        }),
        case("matmul with one right side", &[&[2, 3, 5], &[5, 4]], |t| {
            matmul(&t[0], &t[1])
        }),
        case(
            "matmul with broadcast batches",
            &[&[2, 1, 3, 5], &[3, 5, 4]],
            |t| matmul(&t[0], &t[1]),
        ),
        case(
            "matmul with a transposed side",
            &[&[2, 3, 5], &[2, 4, 5]],
            |t| matmul(&t[0], &transpose(&t[1], 1, 2)?),
        ),
        case("matmul of long rows", &[&[1, 9, 70], &[2, 70, 3]], |t| {
            matmul(&t[0], &t[1])
        }),
        case("global_avg_pool", &[&[2, 3, 4, 5]], |t| {
            global_avg_pool(&t[0])
        }),
        case("global_avg_pool of signals", &[&[2, 3, 37]], |t| {
            global_avg_pool(&t[0])
        }),
        case("global_avg_pool of volumes", &[&[2, 3, 2, 4, 5]], |t| {
            global_avg_pool(&t[0])
        }),
        case("dropout", &[&[7, 11]], |t| {
            dropout(&t[0], 0.3, Rng::new(1, Purpose::Dropout, 2))
        }),
        case("cross_entropy", &[&[4, 5]], |t| {
            let z = scale(&t[0], 5.)?;
            cross_entropy(&z, &targets(), &Default::default(), Reduction::None)
        }),
        case("cross_entropy smoothed", &[&[4, 5]], |t| {
            let options = CrossEntropyOptions {
                label_smoothing: 0.1,
                ..Default::default()
            };
            cross_entropy(&t[0], &targets(), &options, Reduction::None)
        }),
        case("add", &[&[3, 5], &[3, 5]], |t| add(&t[0], &t[1])),
        case("add of a tensor to itself", &[&[3, 5]], |t| {
            add(&t[0], &t[0])
        }),
        case("sum", &[&[3, 5]], |t| sum(&t[0])),
        case("an op used twice", &[&[2, 3, 5, 4], &[3, 3, 1, 1]], |t| {
            let y = conv2d(&t[0], &t[1], None, &Conv2dConfig::default())?;
            relu6(&(conv2d(&y, &t[1], None, &Conv2dConfig::default())? + y)?)
        }),
    ]);
    cases
}

fn targets() -> Tensor {
    Tensor::new(&[0u32, 4, 2, 2], &Device::Cpu).unwrap()
}
