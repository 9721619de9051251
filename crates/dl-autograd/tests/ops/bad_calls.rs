//! A bad call of every op for each argument and option that can be wrong.

use candle_core::{DType, Device, Result, Tensor};
use dl_autograd::*;

pub type Call = Box<dyn Fn() -> Result<Tensor>>;

/// A call, and the op, the argument and the two values that its error names.
pub struct Bad(pub &'static [&'static str], pub Call);

fn bad(names: &'static [&'static str], call: impl Fn() -> Result<Tensor> + 'static) -> Bad {
    Bad(names, Box::new(call))
}

pub fn t(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

pub fn of(dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()
}

pub fn rng() -> Rng {
    Rng::new(0, Purpose::Dropout, 0)
}

pub fn first(parts: Result<Vec<Tensor>>) -> Result<Tensor> {
    parts.map(|parts| parts[0].clone())
}

fn pool2(kernel: usize, stride: usize, padding: usize, dilation: usize) -> MaxPool2dConfig {
    MaxPool2dConfig {
        kernel: (kernel, kernel),
        stride: Some((stride, stride)),
        padding: (padding, padding),
        dilation: (dilation, dilation),
        ceil_mode: false,
    }
}

fn mean2(kernel: usize, stride: usize, padding: usize) -> AvgPool2dConfig {
    AvgPool2dConfig {
        kernel: (kernel, kernel),
        stride: Some((stride, stride)),
        padding: (padding, padding),
        ..Default::default()
    }
}

fn masked(mask: Tensor) -> AttentionOptions {
    AttentionOptions {
        mask: Some(mask),
        ..Default::default()
    }
}

pub fn every_family() -> Vec<Bad> {
    let families = [
        convolutions(),
        transposed(),
        norms(),
        products(),
        pools(),
        resampling(),
        pointwise(),
        activations(),
        noise(),
        recurrent(),
        attention(),
        losses_and_tables(),
        indexing(),
        views(),
    ];
    families.into_iter().flatten().collect()
}

fn convolutions() -> Vec<Bad> {
    let (one, two) = (Conv1dConfig::default(), Conv2dConfig::default());
    let three = Conv3dConfig::default();
    let run3 = move |config: Conv3dConfig| {
        conv3d(&t(&[1, 4, 5, 5, 5]), &t(&[4, 4, 3, 3, 3]), None, &config)
    };
    let run2 =
        move |config: Conv2dConfig| conv2d(&t(&[1, 4, 5, 5]), &t(&[4, 4, 3, 3]), None, &config);
    let run1 = move |config: Conv1dConfig| conv1d(&t(&[1, 4, 5]), &t(&[4, 4, 3]), None, &config);
    vec![
        bad(&["conv2d", "x (n, c, h, w)", "[3]"], move || {
            conv2d(&t(&[3]), &t(&[2, 2, 1, 1]), None, &two)
        }),
        bad(
            &["conv2d", "weight (c_out, c_in / groups, k_h, k_w)", "[2]"],
            move || conv2d(&t(&[1, 2, 3, 3]), &t(&[2]), None, &two),
        ),
        bad(
            &["conv2d", "weight", "[1, 3, 4, 4]", "[2, 2, 1, 1]"],
            move || conv2d(&t(&[1, 3, 4, 4]), &t(&[2, 2, 1, 1]), None, &two),
        ),
        bad(&["conv2d", "x", "float", "U32"], move || {
            conv2d(
                &of(DType::U32, &[1, 2, 3, 3]),
                &t(&[2, 2, 1, 1]),
                None,
                &two,
            )
        }),
        bad(&["conv2d", "weight", "F32", "F64"], move || {
            conv2d(
                &t(&[1, 2, 3, 3]),
                &of(DType::F64, &[2, 2, 1, 1]),
                None,
                &two,
            )
        }),
        bad(&["conv2d", "bias", "F32", "F64"], move || {
            let bias = of(DType::F64, &[2]);
            conv2d(&t(&[1, 2, 3, 3]), &t(&[2, 2, 1, 1]), Some(&bias), &two)
        }),
        bad(&["conv2d", "bias", "(2,)", "[3]"], move || {
            conv2d(&t(&[1, 2, 3, 3]), &t(&[2, 2, 1, 1]), Some(&t(&[3])), &two)
        }),
        bad(&["conv2d", "groups", "1 or more", "0"], move || {
            run2(Conv2dConfig { groups: 0, ..two })
        }),
        bad(&["conv2d", "groups", "4", "3"], move || {
            run2(Conv2dConfig { groups: 3, ..two })
        }),
        bad(&["conv2d", "stride", "1 or more", "(0, 1)"], move || {
            run2(Conv2dConfig {
                stride: (0, 1),
                ..two
            })
        }),
        bad(&["conv2d", "dilation", "1 or more", "(1, 0)"], move || {
            run2(Conv2dConfig {
                dilation: (1, 0),
                ..two
            })
        }),
        bad(&["conv2d", "kernel", "1 or more", "(0, 3)"], move || {
            conv2d(&t(&[1, 2, 3, 3]), &t(&[2, 2, 0, 3]), None, &two)
        }),
        bad(&["conv2d", "kernel", "(9, 3)", "[1, 2, 3, 3]"], move || {
            conv2d(&t(&[1, 2, 3, 3]), &t(&[2, 2, 9, 3]), None, &two)
        }),
        bad(&["conv2d", "dilation", "2³¹"], move || {
            run2(Conv2dConfig {
                dilation: (usize::MAX, 1),
                ..two
            })
        }),
        bad(&["conv2d", "padding", "2³¹"], move || {
            run2(Conv2dConfig {
                padding: usize::MAX.into(),
                ..two
            })
        }),
        bad(&["conv3d", "x (n, c, d, h, w)", "[3]"], move || {
            conv3d(&t(&[3]), &t(&[2, 2, 1, 1, 1]), None, &three)
        }),
        bad(
            &["conv3d", "kernel", "[1, 2, 3, 3, 3]", "[2, 2, 5, 1, 1]"],
            move || conv3d(&t(&[1, 2, 3, 3, 3]), &t(&[2, 2, 5, 1, 1]), None, &three),
        ),
        bad(&["conv3d", "weight", "F32", "F64"], move || {
            let weight = of(DType::F64, &[2, 2, 1, 1, 1]);
            conv3d(&t(&[1, 2, 3, 3, 3]), &weight, None, &three)
        }),
        bad(&["conv3d", "bias", "(2,)", "[3]"], move || {
            let (x, w) = (t(&[1, 2, 3, 3, 3]), t(&[2, 2, 1, 1, 1]));
            conv3d(&x, &w, Some(&t(&[3])), &three)
        }),
        bad(&["conv3d", "stride", "1 or more", "(0, 1, 1)"], move || {
            run3(Conv3dConfig {
                stride: (0, 1, 1),
                ..three
            })
        }),
        bad(&["conv3d", "dilation", "1 or more", "0"], move || {
            run3(Conv3dConfig {
                dilation: (1, 0, 1),
                ..three
            })
        }),
        bad(&["conv3d", "groups", "4", "3"], move || {
            run3(Conv3dConfig { groups: 3, ..three })
        }),
        bad(&["conv3d", "padding", "18446744073709551615"], move || {
            run3(Conv3dConfig {
                padding: (usize::MAX, 0, 0),
                ..three
            })
        }),
        bad(&["conv1d", "x (n, c, l)", "[3]"], move || {
            conv1d(&t(&[3]), &t(&[2, 2, 1]), None, &one)
        }),
        bad(&["conv1d", "weight", "[1, 3, 4]", "[2, 2, 1]"], move || {
            conv1d(&t(&[1, 3, 4]), &t(&[2, 2, 1]), None, &one)
        }),
        bad(&["conv1d", "x", "float", "I64"], move || {
            conv1d(&of(DType::I64, &[1, 2, 3]), &t(&[2, 2, 1]), None, &one)
        }),
        bad(&["conv1d", "groups", "1 or more", "0"], move || {
            run1(Conv1dConfig { groups: 0, ..one })
        }),
        bad(&["conv1d", "stride", "1 or more", "0"], move || {
            run1(Conv1dConfig { stride: 0, ..one })
        }),
        bad(&["conv1d", "dilation", "1 or more", "0"], move || {
            run1(Conv1dConfig { dilation: 0, ..one })
        }),
        bad(&["conv1d", "kernel", "1 or more", "0"], move || {
            conv1d(&t(&[1, 2, 3]), &t(&[2, 2, 0]), None, &one)
        }),
        bad(&["conv1d", "kernel", "9", "[1, 2, "], move || {
            conv1d(&t(&[1, 2, 3]), &t(&[2, 2, 9]), None, &one)
        }),
    ]
}

fn transposed() -> Vec<Bad> {
    let (one, two) = (
        ConvTranspose1dConfig::default(),
        ConvTranspose2dConfig::default(),
    );
    let run2 = move |config: ConvTranspose2dConfig| {
        conv_transpose2d(&t(&[1, 4, 5, 5]), &t(&[4, 4, 3, 3]), None, &config)
    };
    let run1 = move |config: ConvTranspose1dConfig| {
        conv_transpose1d(&t(&[1, 4, 5]), &t(&[4, 4, 3]), None, &config)
    };
    vec![
        bad(&["conv_transpose2d", "x (n, c, h, w)", "[3]"], move || {
            conv_transpose2d(&t(&[3]), &t(&[2, 2, 1, 1]), None, &two)
        }),
        bad(
            &["conv_transpose2d", "weight", "[1, 3, 4, 4]", "[2, 2, 1, 1]"],
            move || conv_transpose2d(&t(&[1, 3, 4, 4]), &t(&[2, 2, 1, 1]), None, &two),
        ),
        bad(
            &["conv_transpose2d", "groups", "1 or more", "0"],
            move || run2(ConvTranspose2dConfig { groups: 0, ..two }),
        ),
        bad(&["conv_transpose2d", "groups", "4", "3"], move || {
            run2(ConvTranspose2dConfig { groups: 3, ..two })
        }),
        bad(
            &["conv_transpose2d", "stride", "1 or more", "(0, 1)"],
            move || {
                run2(ConvTranspose2dConfig {
                    stride: (0, 1),
                    ..two
                })
            },
        ),
        bad(
            &["conv_transpose2d", "output_padding", "(1, 1)", "(1, 0)"],
            move || {
                run2(ConvTranspose2dConfig {
                    output_padding: (1, 0),
                    ..two
                })
            },
        ),
        bad(
            &["conv_transpose2d", "padding", "[1, 4, 5, 5]", "9"],
            move || {
                run2(ConvTranspose2dConfig {
                    padding: 9.into(),
                    ..two
                })
            },
        ),
        bad(&["conv_transpose2d", "stride", "2³¹"], move || {
            run2(ConvTranspose2dConfig {
                stride: (usize::MAX, 1),
                ..two
            })
        }),
        bad(&["conv_transpose2d", "bias", "(4,)", "[3]"], move || {
            conv_transpose2d(&t(&[1, 4, 5, 5]), &t(&[4, 4, 3, 3]), Some(&t(&[3])), &two)
        }),
        bad(&["conv_transpose1d", "x (n, c, l)", "[3]"], move || {
            conv_transpose1d(&t(&[3]), &t(&[2, 2, 1]), None, &one)
        }),
        bad(
            &["conv_transpose1d", "groups", "1 or more", "0"],
            move || run1(ConvTranspose1dConfig { groups: 0, ..one }),
        ),
        bad(
            &["conv_transpose1d", "stride", "1 or more", "0"],
            move || run1(ConvTranspose1dConfig { stride: 0, ..one }),
        ),
        bad(
            &["conv_transpose1d", "dilation", "1 or more", "0"],
            move || run1(ConvTranspose1dConfig { dilation: 0, ..one }),
        ),
        bad(&["conv_transpose1d", "x", "float", "U8"], move || {
            conv_transpose1d(&of(DType::U8, &[1, 2, 3]), &t(&[2, 2, 1]), None, &one)
        }),
        bad(
            &["conv_transpose1d", "output_padding", "1", "7"],
            move || {
                run1(ConvTranspose1dConfig {
                    output_padding: 7,
                    ..one
                })
            },
        ),
    ]
}

fn norms() -> Vec<Bad> {
    let relu = Activation::Relu;
    let given = move |x: &Tensor, mean: &Tensor| {
        batch_norm_with(x, &t(&[3]), &t(&[3]), mean, &t(&[3]), 0., relu)
    };
    let in_front = move |x: &Tensor, gamma: &Tensor, weight: &Tensor| {
        let norm = Prologue {
            gamma,
            beta: &t(&[3]),
            eps: 0.,
            activation: relu,
            statistics: None,
        };
        let config = Conv2dConfig {
            groups: 3,
            ..Default::default()
        };
        Ok(batch_norm_conv2d(x, &norm, weight, None, &config)?.0)
    };
    vec![
        bad(&["batch_norm_conv2d", "gamma", "3", "[4]"], move || {
            in_front(&t(&[2, 3, 5, 5]), &t(&[4]), &t(&[3, 1, 3, 3]))
        }),
        bad(
            &["batch_norm_conv2d", "2 or more", "[1, 3, 1, 1]"],
            move || in_front(&t(&[1, 3, 1, 1]), &t(&[3]), &t(&[3, 1, 1, 1])),
        ),
        bad(&["conv2d", "weight", "[2, 3]", "[3, 1, 3, 3]"], move || {
            in_front(&t(&[2, 3]), &t(&[3]), &t(&[3, 1, 3, 3]))
        }),
        bad(&["conv2d", "weight", "F32", "F64"], move || {
            let weight = of(DType::F64, &[3, 1, 3, 3]);
            in_front(&t(&[2, 3, 5, 5]), &t(&[3]), &weight)
        }),
        bad(&["batch_norm", "x (n, c, …)", "[3]"], move || {
            Ok(batch_norm(&t(&[3]), &t(&[3]), &t(&[3]), 0., relu)?.0)
        }),
        bad(&["batch_norm", "x", "2 or more", "[1, 3, 1]"], move || {
            Ok(batch_norm(&t(&[1, 3, 1]), &t(&[3]), &t(&[3]), 0., relu)?.0)
        }),
        bad(&["batch_norm", "gamma", "3", "[2]"], move || {
            Ok(batch_norm(&t(&[2, 3, 1]), &t(&[2]), &t(&[3]), 0., relu)?.0)
        }),
        bad(&["batch_norm", "beta", "F32", "F64"], move || {
            Ok(batch_norm(&t(&[2, 3, 1]), &t(&[3]), &of(DType::F64, &[3]), 0., relu)?.0)
        }),
        bad(&["batch_norm", "x", "float", "U32"], move || {
            Ok(batch_norm(&of(DType::U32, &[2, 3]), &t(&[3]), &t(&[3]), 0., relu)?.0)
        }),
        bad(&["batch_norm_with", "mean", "3", "[4]"], move || {
            given(&t(&[2, 3]), &t(&[4]))
        }),
        bad(&["batch_norm_with", "mean", "F32", "F64"], move || {
            given(&t(&[2, 3]), &of(DType::F64, &[3]))
        }),
        bad(&["batch_norm_with", "x (n, c, …)", "[]"], move || {
            given(&t(&[]), &t(&[3]))
        }),
        bad(&["layer_norm", "x (…, d)", "[]"], || {
            layer_norm(&t(&[]), Some(&t(&[1])), Some(&t(&[1])), 0.)
        }),
        bad(&["layer_norm", "weight", "3", "[4]"], || {
            layer_norm(&t(&[2, 3]), Some(&t(&[4])), Some(&t(&[3])), 0.)
        }),
        bad(&["layer_norm", "bias", "3", "[3, 1]"], || {
            layer_norm(&t(&[2, 3]), Some(&t(&[3])), Some(&t(&[3, 1])), 0.)
        }),
        bad(&["layer_norm", "weight", "F32", "F64"], || {
            layer_norm(&t(&[2, 3]), Some(&of(DType::F64, &[3])), Some(&t(&[3])), 0.)
        }),
        bad(&["layer_norm", "x", "float", "U8"], || {
            layer_norm(&of(DType::U8, &[2, 3]), Some(&t(&[3])), Some(&t(&[3])), 0.)
        }),
        bad(&["rms_norm", "x (…, d)", "[]"], || {
            rms_norm(&t(&[]), Some(&t(&[1])), 0.)
        }),
        bad(&["rms_norm", "weight", "3", "[4]"], || {
            rms_norm(&t(&[2, 3]), Some(&t(&[4])), 0.)
        }),
        bad(&["rms_norm", "weight", "F32", "BF16"], || {
            rms_norm(&t(&[2, 3]), Some(&of(DType::BF16, &[3])), 0.)
        }),
        bad(&["group_norm", "x (n, c, …)", "[3]"], || {
            group_norm(&t(&[3]), 1, None, None, 0.)
        }),
        bad(&["group_norm", "groups", "4 channels", "3"], || {
            group_norm(&t(&[2, 4, 3]), 3, None, None, 0.)
        }),
        bad(&["group_norm", "groups", "4 channels", "0"], || {
            group_norm(&t(&[2, 4, 3]), 0, None, None, 0.)
        }),
        bad(&["group_norm", "weight", "4 channels", "[3]"], || {
            group_norm(&t(&[2, 4, 3]), 2, Some(&t(&[3])), None, 0.)
        }),
        bad(&["group_norm", "bias", "F32", "F64"], || {
            group_norm(&t(&[2, 4, 3]), 2, None, Some(&of(DType::F64, &[4])), 0.)
        }),
        bad(&["instance_norm", "x (n, c, …)", "[2, 3]"], || {
            instance_norm(&t(&[2, 3]), None, None, 0.)
        }),
        bad(&["instance_norm", "x", "float", "U8"], || {
            instance_norm(&of(DType::U8, &[2, 3, 4]), None, None, 0.)
        }),
        bad(&["add_layer_norm", "residual", "[2, 3]", "[3]"], || {
            add_layer_norm(&t(&[2, 3]), &t(&[3]), None, None, 0.)
        }),
        bad(&["add_layer_norm", "residual", "F32", "F64"], || {
            add_layer_norm(&t(&[3]), &of(DType::F64, &[3]), None, None, 0.)
        }),
        bad(&["add_rms_norm", "residual", "[2, 3]", "[3]"], || {
            add_rms_norm(&t(&[2, 3]), &t(&[3]), None, 0.)
        }),
        bad(&["add_rms_norm", "weight", "3", "[4]"], || {
            add_rms_norm(&t(&[2, 3]), &t(&[2, 3]), Some(&t(&[4])), 0.)
        }),
        bad(&["batch_norm", "residual", "[2, 3]", "[2]"], || {
            let residual = t(&[2]);
            let end = Epilogue {
                residual: Some(&residual),
                ..Default::default()
            };
            Ok(batch_norm(&t(&[2, 3]), &t(&[3]), &t(&[3]), 0., end)?.0)
        }),
        bad(&["batch_norm_with", "residual", "F32", "F64"], || {
            let residual = of(DType::F64, &[2, 3]);
            let end = Epilogue {
                residual: Some(&residual),
                ..Default::default()
            };
            let (x, c) = (t(&[2, 3]), t(&[3]));
            batch_norm_with(&x, &c, &c, &c, &c, 0., end)
        }),
        bad(&["layer_norm", "eps", "0 or more", "-1"], || {
            layer_norm(&t(&[2, 3]), None, None, -1.)
        }),
        bad(&["weight_norm", "g", "[2, 1]", "[3]"], || {
            weight_norm(&t(&[2, 3]), &t(&[3]), Some(0))
        }),
        bad(&["weight_norm", "g", "F32", "F64"], || {
            weight_norm(&t(&[2, 3]), &of(DType::F64, &[2, 1]), Some(0))
        }),
        bad(&["weight_norm", "dimension 2", "[2, 3]"], || {
            weight_norm(&t(&[2, 3]), &t(&[3]), Some(2))
        }),
        bad(&["spectral_norm", "dimension 2", "[2, 3]"], || {
            spectral_norm(&t(&[2, 3]), &t(&[2]), &t(&[3]), 2)
        }),
        bad(&["spectral_norm", "u", "2 × 3", "[5]"], || {
            spectral_norm(&t(&[2, 3]), &t(&[5]), &t(&[3]), 0)
        }),
        bad(&["softmax", "dimension", "2", "[2, 3]"], || {
            softmax(&t(&[2, 3]), 2)
        }),
        bad(&["softmax", "dimension", "0", "[]"], || softmax(&t(&[]), 0)),
        bad(&["softmax", "x", "float", "I64"], || {
            softmax(&of(DType::I64, &[2]), 0)
        }),
        bad(&["log_softmax", "dimension", "9", "[2, 3]"], || {
            log_softmax(&t(&[2, 3]), 9)
        }),
        bad(&["log_softmax", "x", "float", "U8"], || {
            log_softmax(&of(DType::U8, &[2]), 0)
        }),
    ]
}

fn products() -> Vec<Bad> {
    vec![
        bad(&["linear", "weight (out, in)", "[3]"], || {
            linear(&t(&[2, 3]), &t(&[3]), None)
        }),
        bad(&["linear", "x (n, …, 5)", "[2, 3]"], || {
            linear(&t(&[2, 3]), &t(&[4, 5]), None)
        }),
        bad(&["linear", "x (n, …, 5)", "[]"], || {
            linear(&t(&[]), &t(&[4, 5]), None)
        }),
        bad(&["linear", "bias", "(4,)", "[3]"], || {
            linear(&t(&[2, 5]), &t(&[4, 5]), Some(&t(&[3])))
        }),
        bad(&["linear", "weight", "F32", "F16"], || {
            linear(&t(&[2, 5]), &of(DType::F16, &[4, 5]), None)
        }),
        bad(&["linear", "bias", "F32", "F64"], || {
            linear(&t(&[2, 5]), &t(&[4, 5]), Some(&of(DType::F64, &[4])))
        }),
        bad(&["linear", "x", "float", "U32"], || {
            linear(&of(DType::U32, &[2, 5]), &of(DType::U32, &[4, 5]), None)
        }),
        bad(&["matmul", "a (…, m, k)", "[3]"], || {
            matmul(&t(&[3]), &t(&[3, 2]))
        }),
        bad(&["matmul", "b (…, k, n)", "[]"], || {
            matmul(&t(&[2, 3]), &t(&[]))
        }),
        bad(&["matmul", "b", "3", "[4, 2]"], || {
            matmul(&t(&[2, 3]), &t(&[4, 2]))
        }),
        bad(&["matmul", "b", "[2, 2, 3]", "[3, 3, 4]"], || {
            matmul(&t(&[2, 2, 3]), &t(&[3, 3, 4]))
        }),
        bad(&["matmul", "b", "F32", "F64"], || {
            matmul(&t(&[2, 3]), &of(DType::F64, &[3, 4]))
        }),
        bad(&["matmul", "a", "float", "U32"], || {
            matmul(&of(DType::U32, &[2, 3]), &of(DType::U32, &[3, 4]))
        }),
        bad(&["add", "b", "[2, 3]", "[3]"], || {
            add(&t(&[2, 3]), &t(&[3]))
        }),
        bad(&["add", "b", "F32", "F64"], || {
            add(&t(&[3]), &of(DType::F64, &[3]))
        }),
        bad(&["mul", "[2, 3]", "[3]"], || mul(&t(&[2, 3]), &t(&[3]))),
        bad(&["mul", "F32", "F64"], || {
            mul(&t(&[3]), &of(DType::F64, &[3]))
        }),
    ]
}

fn pools() -> Vec<Bad> {
    let x = || t(&[1, 2, 4, 4]);
    let max1 = |kernel| MaxPool1dConfig {
        kernel,
        ..Default::default()
    };
    let avg1 = |kernel| AvgPool1dConfig {
        kernel,
        ..Default::default()
    };
    vec![
        bad(&["max_pool2d", "x (n, c, h, w)", "[]"], || {
            max_pool2d(&t(&[]), &pool2(2, 2, 0, 1))
        }),
        bad(&["max_pool2d", "kernel", "[1, 2³¹)", "0"], move || {
            max_pool2d(&x(), &pool2(0, 1, 0, 1))
        }),
        bad(&["max_pool2d", "stride", "[1, 2³¹)", "0"], move || {
            max_pool2d(&x(), &pool2(2, 0, 0, 1))
        }),
        bad(&["max_pool2d", "dilation", "[1, 2³¹)", "0"], move || {
            max_pool2d(&x(), &pool2(2, 2, 0, 0))
        }),
        bad(&["max_pool2d", "padding", "kernel 3", "2"], move || {
            max_pool2d(&x(), &pool2(3, 1, 2, 1))
        }),
        bad(&["max_pool2d", "window of 5", "4 elements"], move || {
            max_pool2d(&x(), &pool2(5, 1, 0, 1))
        }),
        bad(&["max_pool2d", "x", "float", "U8"], || {
            max_pool2d(&of(DType::U8, &[1, 2, 4, 4]), &pool2(2, 2, 0, 1))
        }),
        bad(&["max_pool2d", "window of 2", "0 elements"], || {
            max_pool2d(&t(&[1, 2, 0, 4]), &pool2(2, 2, 0, 1))
        }),
        bad(&["max_pool1d", "x (n, c, l)", "[4]"], move || {
            max_pool1d(&t(&[4]), &max1(2))
        }),
        bad(&["max_pool1d", "kernel", "[1, 2³¹)", "0"], move || {
            max_pool1d(&t(&[1, 2, 4]), &max1(0))
        }),
        bad(&["avg_pool2d", "x (n, c, h, w)", "[2]"], || {
            avg_pool2d(&t(&[2]), &mean2(2, 2, 0))
        }),
        bad(&["avg_pool2d", "kernel", "[1, 2³¹)", "0"], move || {
            avg_pool2d(&x(), &mean2(0, 1, 0))
        }),
        bad(&["avg_pool2d", "stride", "[1, 2³¹)", "0"], move || {
            avg_pool2d(&x(), &mean2(2, 0, 0))
        }),
        bad(&["avg_pool2d", "padding", "kernel 2", "2"], move || {
            avg_pool2d(&x(), &mean2(2, 2, 2))
        }),
        bad(&["avg_pool2d", "divisor_override", "1", "0"], move || {
            let config = AvgPool2dConfig {
                divisor_override: Some(0),
                ..mean2(2, 2, 0)
            };
            avg_pool2d(&x(), &config)
        }),
        bad(&["avg_pool2d", "x", "float", "U32"], || {
            avg_pool2d(&of(DType::U32, &[1, 2, 4, 4]), &mean2(2, 2, 0))
        }),
        bad(&["avg_pool1d", "x (n, c, l)", "[4]"], move || {
            avg_pool1d(&t(&[4]), &avg1(2))
        }),
        bad(&["avg_pool1d", "window of 9", "4 elements"], move || {
            avg_pool1d(&t(&[1, 2, 4]), &avg1(9))
        }),
        bad(
            &["adaptive_avg_pool2d", "size", "(1, 1)", "(0, 1)"],
            move || adaptive_avg_pool2d(&x(), (0, 1)),
        ),
        bad(&["adaptive_avg_pool2d", "x (n, c, h, w)", "[3]"], || {
            adaptive_avg_pool2d(&t(&[3]), (1, 1))
        }),
        bad(
            &["adaptive_avg_pool2d", "x", "pixels", "[1, 2, 0, 4]"],
            || adaptive_avg_pool2d(&t(&[1, 2, 0, 4]), (1, 1)),
        ),
        bad(&["adaptive_avg_pool2d", "size", "2³¹"], move || {
            adaptive_avg_pool2d(&x(), (usize::MAX, 1))
        }),
        bad(&["adaptive_avg_pool1d", "x (n, c, l)", "[]"], || {
            adaptive_avg_pool1d(&t(&[]), 1)
        }),
        bad(&["adaptive_avg_pool1d", "size", "(1, 1)", "0"], || {
            adaptive_avg_pool1d(&t(&[1, 2, 3]), 0)
        }),
        bad(
            &["adaptive_max_pool2d", "size", "(1, 1)", "(1, 0)"],
            move || adaptive_max_pool2d(&x(), (1, 0)),
        ),
        bad(&["adaptive_max_pool2d", "x", "float", "U8"], || {
            adaptive_max_pool2d(&of(DType::U8, &[1, 2, 4, 4]), (1, 1))
        }),
        bad(&["adaptive_max_pool1d", "x (n, c, l)", "[3]"], || {
            adaptive_max_pool1d(&t(&[3]), 1)
        }),
        bad(&["global_avg_pool", "x (n, c, d…)", "[3]"], || {
            global_avg_pool(&t(&[3]))
        }),
        bad(&["global_avg_pool", "x", "pixels", "[1, 2, 0, 3]"], || {
            global_avg_pool(&t(&[1, 2, 0, 3]))
        }),
        bad(&["global_avg_pool", "x", "float", "U8"], || {
            global_avg_pool(&of(DType::U8, &[1, 2, 3, 3]))
        }),
    ]
}

fn resampling() -> Vec<Bad> {
    let near = Interpolation::Nearest;
    let zero = PadMode::Constant(0.);
    vec![
        bad(
            &["interpolate", "x (n, c, l) or (n, c, h, w)", "[3]"],
            move || interpolate(&t(&[3]), &[2], near),
        ),
        bad(&["interpolate", "size", "1 sizes", "2"], move || {
            interpolate(&t(&[1, 2, 3]), &[2, 2], near)
        }),
        bad(&["interpolate", "size", "0", "[1, 2, 3]"], move || {
            interpolate(&t(&[1, 2, 3]), &[0], near)
        }),
        bad(&["interpolate", "size", "4", "[1, 2, 0]"], move || {
            interpolate(&t(&[1, 2, 0]), &[4], near)
        }),
        bad(
            &["interpolate", "size", "18446744073709551615", "[1, 2, 3]"],
            move || interpolate(&t(&[1, 2, 3]), &[usize::MAX], near),
        ),
        bad(&["interpolate", "x", "float", "U8"], move || {
            interpolate(&of(DType::U8, &[1, 2, 3]), &[2], near)
        }),
        bad(
            &["interpolate_by", "factors", "positive", "-1"],
            move || interpolate_by(&t(&[1, 2, 3]), &[-1.], near),
        ),
        bad(
            &["interpolate_by", "factors", "positive", "NaN"],
            move || interpolate_by(&t(&[1, 2, 3]), &[f64::NAN], near),
        ),
        bad(&["interpolate", "0", "[1, 2, 3]"], move || {
            interpolate_by(&t(&[1, 2, 3]), &[0.1], near)
        }),
        bad(&["interpolate", "[1, 2, 3]"], move || {
            interpolate_by(&t(&[1, 2, 3]), &[1e300], near)
        }),
        bad(
            &["pixel_shuffle", "x (n, c·2², h, w)", "[1, 3, 2, 2]"],
            || pixel_shuffle(&t(&[1, 3, 2, 2]), 2),
        ),
        bad(&["pixel_shuffle", "factor", "0"], || {
            pixel_shuffle(&t(&[1, 4, 2, 2]), 0)
        }),
        bad(&["pixel_shuffle", "x", "[]"], || pixel_shuffle(&t(&[]), 2)),
        bad(&["pixel_shuffle", "factor"], || {
            pixel_shuffle(&t(&[1, 0, 2, 2]), usize::MAX)
        }),
        bad(
            &["pixel_unshuffle", "x (n, c, 2·h, 2·w)", "[1, 3, 3, 2]"],
            || pixel_unshuffle(&t(&[1, 3, 3, 2]), 2),
        ),
        bad(&["pixel_unshuffle", "factor", "0"], || {
            pixel_unshuffle(&t(&[1, 4, 2, 2]), 0)
        }),
        bad(&["pad", "padding", "1 dimensions", "2"], move || {
            pad(&t(&[3]), &[(1, 1), (1, 1)], zero)
        }),
        bad(&["pad", "padding", "0 dimensions", "1"], move || {
            pad(&t(&[]), &[(1, 1)], zero)
        }),
        bad(&["pad", "(3, 0)", "3 elements"], || {
            pad(&t(&[3]), &[(3, 0)], PadMode::Reflect)
        }),
        bad(&["pad", "(4, 0)", "3 elements"], || {
            pad(&t(&[3]), &[(4, 0)], PadMode::Circular)
        }),
        bad(&["pad", "(-2, -2)", "3 elements"], move || {
            pad(&t(&[3]), &[(-2, -2)], zero)
        }),
        bad(&["pad", "(1, 0)", "0 elements"], || {
            pad(&t(&[0]), &[(1, 0)], PadMode::Replicate)
        }),
        bad(&["pad", "9223372036854775807", "3 elements"], move || {
            pad(&t(&[3]), &[(isize::MAX, isize::MAX)], zero)
        }),
    ]
}

fn pointwise() -> Vec<Bad> {
    vec![
        bad(&["relu", "x", "float", "U32"], || {
            relu(&of(DType::U32, &[2]))
        }),
        bad(&["relu6", "x", "float", "I64"], || {
            relu6(&of(DType::I64, &[2]))
        }),
        bad(&["sigmoid", "x", "float", "U8"], || {
            sigmoid(&of(DType::U8, &[2]))
        }),
        bad(&["tanh", "x", "float", "U8"], || tanh(&of(DType::U8, &[2]))),
        bad(&["silu", "x", "float", "U8"], || silu(&of(DType::U8, &[2]))),
        bad(&["gelu", "x", "float", "U8"], || gelu(&of(DType::U8, &[2]))),
        bad(&["gelu_tanh", "x", "float", "U8"], || {
            gelu_tanh(&of(DType::U8, &[2]))
        }),
        bad(&["dropout", "p", "[0, 1]", "1.5"], || {
            dropout(&t(&[2]), 1.5, rng())
        }),
        bad(&["dropout", "p", "[0, 1]", "NaN"], || {
            dropout(&t(&[2]), f64::NAN, rng())
        }),
        bad(&["dropout", "x", "float", "U8"], || {
            dropout(&of(DType::U8, &[2]), 0.5, rng())
        }),
        bad(&["pow", "[2]", "[3]"], || pow(&t(&[2]), &t(&[3]))),
        bad(&["pow", "y", "F32", "F64"], || {
            pow(&t(&[3]), &of(DType::F64, &[3]))
        }),
        bad(&["powf", "x", "float", "U8"], || {
            powf(&of(DType::U8, &[3]), 2.)
        }),
    ]
}

fn activations() -> Vec<Bad> {
    let bytes = || of(DType::U8, &[2, 4]);
    vec![
        bad(&["leaky_relu", "x", "float", "U8"], move || {
            leaky_relu(&bytes(), 0.01)
        }),
        bad(&["elu", "x", "float", "U8"], move || elu(&bytes(), 1.)),
        bad(&["selu", "x", "float", "U8"], move || selu(&bytes())),
        bad(&["celu", "x", "float", "U8"], move || celu(&bytes(), 1.)),
        bad(&["celu", "alpha", "0"], || celu(&t(&[2]), 0.)),
        bad(&["softplus", "x", "float", "U8"], move || {
            softplus(&bytes(), 1., 20.)
        }),
        bad(&["softplus", "beta", "above 0", "-1"], || {
            softplus(&t(&[2]), -1., 20.)
        }),
        bad(&["log_sigmoid", "x", "float", "U8"], move || {
            log_sigmoid(&bytes())
        }),
        bad(&["mish", "x", "float", "U8"], move || mish(&bytes())),
        bad(&["hard_swish", "x", "float", "U8"], move || {
            hard_swish(&bytes())
        }),
        bad(&["hard_sigmoid", "x", "float", "U8"], move || {
            hard_sigmoid(&bytes())
        }),
        bad(&["hard_tanh", "x", "float", "U8"], move || {
            hard_tanh(&bytes(), -1., 1.)
        }),
        bad(&["hard_tanh", "min", "max", "2", "1"], || {
            hard_tanh(&t(&[2]), 2., 1.)
        }),
        bad(
            &["softsign", "x", "float", "U8"],
            move || softsign(&bytes()),
        ),
        bad(&["glu", "x", "float", "U8"], move || glu(&bytes(), 1)),
        bad(&["glu", "dimension 1", "even", "3"], || glu(&t(&[2, 3]), 1)),
        bad(&["swiglu", "dimension 1", "even", "3"], || {
            swiglu(&t(&[2, 3]), 1)
        }),
        bad(&["geglu", "dimension 1", "even", "3"], || {
            geglu(&t(&[2, 3]), 1)
        }),
        bad(&["reglu", "dimension 2", "[2, 4]"], || {
            reglu(&t(&[2, 4]), 2)
        }),
        bad(&["prelu", "weight", "[1] or [4]", "[3]"], || {
            prelu(&t(&[2, 4]), &t(&[3]))
        }),
        bad(&["prelu", "weight", "F32", "F64"], || {
            prelu(&t(&[2, 4]), &of(DType::F64, &[4]))
        }),
        bad(&["prelu", "x", "float", "U8"], move || {
            prelu(&bytes(), &t(&[4]))
        }),
        bad(
            &["scale_channels", "factors (n, c)", "[2, 4, 3]", "[2, 3]"],
            || scale_channels(&t(&[2, 4, 3]), &t(&[2, 3])),
        ),
        bad(&["scale_channels", "factors", "F32", "F64"], || {
            scale_channels(&t(&[2, 4, 3]), &of(DType::F64, &[2, 4]))
        }),
        bad(&["scale_channels", "x", "float", "U8"], || {
            scale_channels(&of(DType::U8, &[2, 4, 3]), &of(DType::U8, &[2, 4]))
        }),
    ]
}

fn noise() -> Vec<Bad> {
    let bytes = || of(DType::U8, &[2, 4, 3]);
    vec![
        bad(&["dropout_channels", "p", "[0, 1]", "1.5"], || {
            dropout_channels(&t(&[2, 4, 3]), 1.5, rng())
        }),
        bad(
            &["dropout_channels", "x (n, channels, d…)", "[2, 4]"],
            || dropout_channels(&t(&[2, 4]), 0.5, rng()),
        ),
        bad(&["dropout_channels", "x", "float", "U8"], move || {
            dropout_channels(&bytes(), 0.5, rng())
        }),
        bad(&["drop_path", "p", "[0, 1]", "-0.5"], || {
            drop_path(&t(&[2]), -0.5, rng())
        }),
        bad(&["drop_path", "x (n, d…)", "[]"], || {
            drop_path(&t(&[]), 0.5, rng())
        }),
        bad(&["drop_path", "x", "float", "U8"], move || {
            drop_path(&bytes(), 0.5, rng())
        }),
        bad(&["alpha_dropout", "p", "[0, 1)", "1"], || {
            alpha_dropout(&t(&[2]), 1., rng())
        }),
        bad(&["alpha_dropout", "p", "[0, 1)", "NaN"], || {
            alpha_dropout(&t(&[2]), f64::NAN, rng())
        }),
        bad(&["alpha_dropout", "x", "float", "U8"], move || {
            alpha_dropout(&bytes(), 0.5, rng())
        }),
        bad(&["gaussian_noise", "std", "≥ 0", "-1"], || {
            gaussian_noise(&t(&[2]), -1., rng())
        }),
        bad(&["gaussian_noise", "x", "float", "U8"], move || {
            gaussian_noise(&bytes(), 0.5, rng())
        }),
    ]
}

/// Weights of 2 hidden features for 3 inputs.
fn gates(count: usize) -> RecurrentWeights {
    RecurrentWeights {
        weight_ih: t(&[count * 2, 3]),
        weight_hh: t(&[count * 2, 2]),
        bias: None,
    }
}

fn recurrent() -> Vec<Bad> {
    let lstm = |x: Tensor, state: Option<[&Tensor; 2]>, lengths: Option<&[usize]>| {
        Ok(lstm(&x, state, &gates(4), lengths, Direction::Forward)?.0)
    };
    let gru = |x: Tensor, h0: Option<&Tensor>, weights: RecurrentWeights| {
        Ok(gru(&x, h0, &weights, None, Direction::Forward)?.0)
    };
    let x = || t(&[2, 5, 3]);
    vec![
        bad(&["lstm", "x (batch, time, inputs)", "[2, 3]"], move || {
            lstm(t(&[2, 3]), None, None)
        }),
        bad(&["lstm", "weight_ih", "[8, 4]", "[8, 3]"], move || {
            lstm(t(&[2, 5, 4]), None, None)
        }),
        bad(&["lstm", "c0", "[2, 2]", "[3, 2]"], move || {
            lstm(x(), Some([&t(&[2, 2]), &t(&[3, 2])]), None)
        }),
        bad(&["lstm", "lengths", "[1, 5]", "6"], move || {
            lstm(x(), None, Some(&[5, 6]))
        }),
        bad(&["lstm", "lengths", "2 sequences", "1"], move || {
            lstm(x(), None, Some(&[5]))
        }),
        bad(&["lstm", "x", "float", "U8"], move || {
            lstm(of(DType::U8, &[2, 5, 3]), None, None)
        }),
        bad(&["gru", "1 step or more", "[2, 0, 3]"], move || {
            gru(t(&[2, 0, 3]), None, gates(3))
        }),
        bad(
            &["gru", "weight_hh (3·hidden, hidden)", "[8, 2]"],
            move || gru(x(), None, gates(4)),
        ),
        bad(&["gru", "h0", "[2, 2]", "[2, 3]"], move || {
            gru(x(), Some(&t(&[2, 3])), gates(3))
        }),
        bad(&["gru", "weight_ih", "F32", "F64"], move || {
            let weight_ih = of(DType::F64, &[6, 3]);
            gru(
                x(),
                None,
                RecurrentWeights {
                    weight_ih,
                    ..gates(3)
                },
            )
        }),
        bad(&["gru", "bias_hh", "[6]", "[5]"], move || {
            let bias = Some([t(&[6]), t(&[5])]);
            gru(x(), None, RecurrentWeights { bias, ..gates(3) })
        }),
    ]
}

fn attention() -> Vec<Bad> {
    const Q: [usize; 4] = [2, 4, 3, 5];
    const K: [usize; 4] = [2, 2, 7, 5];
    let plain = AttentionOptions::default;
    let run = |q: &Tensor, k: &Tensor, v: &Tensor, options: AttentionOptions| {
        scaled_dot_product_attention(q, k, v, &options)
    };
    let frequencies = |dim, len, theta| Ok(rope_frequencies(dim, len, theta)?.0);
    vec![
        bad(
            &["scaled_dot_product_attention", "q (b, h, t, d)", "[3]"],
            move || run(&t(&[3]), &t(&K), &t(&K), plain()),
        ),
        bad(
            &[
                "scaled_dot_product_attention",
                "k (2, h_kv, s, 5)",
                "[2, 2, 7, 4]",
            ],
            move || run(&t(&Q), &t(&[2, 2, 7, 4]), &t(&K), plain()),
        ),
        bad(
            &[
                "scaled_dot_product_attention",
                "v (2, h_kv, s, d_v)",
                "[2, 2, 6, 5]",
            ],
            move || run(&t(&Q), &t(&K), &t(&[2, 2, 6, 5]), plain()),
        ),
        bad(
            &[
                "scaled_dot_product_attention",
                "key heads",
                "4 query heads",
                "3",
            ],
            move || run(&t(&Q), &t(&[2, 3, 7, 5]), &t(&[2, 3, 7, 5]), plain()),
        ),
        bad(
            &[
                "scaled_dot_product_attention",
                "key heads",
                "4 query heads",
                "0",
            ],
            move || run(&t(&Q), &t(&[2, 0, 7, 5]), &t(&[2, 0, 7, 5]), plain()),
        ),
        bad(
            &["scaled_dot_product_attention", "k", "F32", "F64"],
            move || run(&t(&Q), &of(DType::F64, &K), &t(&K), plain()),
        ),
        bad(
            &["scaled_dot_product_attention", "q", "float", "U8"],
            move || {
                run(
                    &of(DType::U8, &Q),
                    &of(DType::U8, &K),
                    &of(DType::U8, &K),
                    plain(),
                )
            },
        ),
        bad(
            &[
                "scaled_dot_product_attention",
                "mask",
                "[2, 4, 3, 7]",
                "[3, 6]",
            ],
            move || run(&t(&Q), &t(&K), &t(&K), masked(t(&[3, 6]))),
        ),
        bad(
            &["scaled_dot_product_attention", "mask", "F32", "F64"],
            move || run(&t(&Q), &t(&K), &t(&K), masked(of(DType::F64, &[3, 7]))),
        ),
        bad(
            &["scaled_dot_product_attention", "dropout", "[0, 1]", "-0.5"],
            move || {
                let dropout = Some((-0.5, rng()));
                run(
                    &t(&Q),
                    &t(&K),
                    &t(&K),
                    AttentionOptions { dropout, ..plain() },
                )
            },
        ),
        bad(&["rope", "x (b, h, t, d)", "[3]"], || {
            rope(&t(&[3]), &t(&[3, 2]), &t(&[3, 2]))
        }),
        bad(&["rope", "cos (t, r / 2)", "[]"], || {
            rope(&t(&[1, 1, 3, 4]), &t(&[]), &t(&[]))
        }),
        bad(&["rope", "cos", "3 rows", "[2, 2]"], || {
            rope(&t(&[1, 1, 3, 4]), &t(&[2, 2]), &t(&[2, 2]))
        }),
        bad(&["rope", "sin", "2 columns", "[3, 3]"], || {
            rope(&t(&[1, 1, 3, 4]), &t(&[3, 2]), &t(&[3, 3]))
        }),
        bad(&["rope", "x", "float", "U8"], || {
            rope(&of(DType::U8, &[1, 1, 3, 4]), &t(&[3, 2]), &t(&[3, 2]))
        }),
        bad(&["rope_interleaved", "cos", "3 rows", "[2, 2]"], || {
            rope_interleaved(&t(&[1, 1, 3, 4]), &t(&[2, 2]), &t(&[2, 2]))
        }),
        bad(&["rope_frequencies", "dim", "even", "3"], move || {
            frequencies(3, 2, 1e4)
        }),
        bad(&["rope_frequencies", "theta", "positive", "0"], move || {
            frequencies(4, 2, 0.)
        }),
        bad(&["rope_frequencies", "max_len", "2³¹"], move || {
            frequencies(4, usize::MAX, 1e4)
        }),
        bad(&["alibi_bias", "heads", "2³¹"], || {
            alibi_bias(usize::MAX, 2, 2)
        }),
        bad(&["alibi_bias", "t", "2³¹"], || {
            alibi_bias(2, usize::MAX, 2)
        }),
    ]
}

pub fn entropy(logits: &Tensor, targets: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let options = CrossEntropyOptions {
        label_smoothing,
        ..Default::default()
    };
    cross_entropy(logits, targets, &options, Reduction::None)
}

fn losses_and_tables() -> Vec<Bad> {
    let ids = |ids: &[i64]| Tensor::new(ids, &Device::Cpu).unwrap();
    vec![
        bad(&["cross_entropy", "logits (classes,)", "[]"], move || {
            entropy(&t(&[]), &ids(&[0]), 0.)
        }),
        bad(&["cross_entropy", "targets", "[2]", "[3]"], move || {
            entropy(&t(&[2, 5]), &ids(&[0, 0, 0]), 0.)
        }),
        bad(&["cross_entropy", "targets", "[2, 5]", "[2]"], move || {
            entropy(&t(&[2, 5]), &t(&[2]), 0.)
        }),
        bad(&["cross_entropy", "targets", "F32", "F64"], move || {
            entropy(&t(&[2, 5]), &of(DType::F64, &[2, 5]), 0.)
        }),
        bad(
            &["cross_entropy", "target [1]", "5 classes", "7"],
            move || entropy(&t(&[2, 5]), &ids(&[0, 7]), 0.),
        ),
        bad(
            &["cross_entropy", "target [0]", "5 classes", "-1"],
            move || entropy(&t(&[2, 5]), &ids(&[-1, 0]), 0.),
        ),
        bad(
            &["cross_entropy", "logits", "1 class or more", "[1, 0]"],
            move || entropy(&t(&[1, 0]), &ids(&[0]), 0.),
        ),
        bad(
            &["cross_entropy", "label_smoothing", "[0, 1]", "2"],
            move || entropy(&t(&[1, 5]), &ids(&[0]), 2.),
        ),
        bad(&["cross_entropy", "logits", "float", "U32"], move || {
            entropy(&of(DType::U32, &[1, 5]), &ids(&[0]), 0.)
        }),
        bad(
            &["cross_entropy", "weight", "5 classes", "[3]"],
            move || {
                let options = CrossEntropyOptions {
                    weight: Some(t(&[3])),
                    ..Default::default()
                };
                cross_entropy(&t(&[1, 5]), &ids(&[0]), &options, Reduction::Mean)
            },
        ),
        bad(
            &["nll_loss", "log_probabilities (classes,)", "[]"],
            move || nll_loss(&t(&[]), &ids(&[0]), &Default::default(), Reduction::Mean),
        ),
        bad(&["nll_loss", "target [0]", "5 classes", "5"], move || {
            let options = NllOptions::default();
            nll_loss(&t(&[1, 5]), &ids(&[5]), &options, Reduction::Mean)
        }),
        bad(&["mse", "target", "[2]", "[3]"], || {
            pointwise_loss(&t(&[2]), &t(&[3]), PointwiseLoss::Squared, Reduction::Mean)
        }),
        bad(&["l1", "target", "F32", "F64"], || {
            let target = of(DType::F64, &[2]);
            pointwise_loss(&t(&[2]), &target, PointwiseLoss::Absolute, Reduction::Mean)
        }),
        bad(&["huber", "delta", "> 0", "-1"], || {
            let huber = PointwiseLoss::Huber { delta: -1. };
            pointwise_loss(&t(&[2]), &t(&[2]), huber, Reduction::Mean)
        }),
        bad(
            &["binary_cross_entropy_with_logits", "x", "float", "U8"],
            || {
                let x = of(DType::U8, &[2]);
                binary_cross_entropy_with_logits(&x, &x, &Default::default(), Reduction::Mean)
            },
        ),
        bad(
            &[
                "binary_cross_entropy_with_logits",
                "pos_weight",
                "[2]",
                "[3]",
            ],
            || {
                let options = BinaryCrossEntropyOptions {
                    pos_weight: Some(t(&[3])),
                    ..Default::default()
                };
                binary_cross_entropy_with_logits(&t(&[2]), &t(&[2]), &options, Reduction::Mean)
            },
        ),
        bad(&["linear_gelu", "weight (out, in)", "[3]"], || {
            linear_gelu(&t(&[2, 3]), &t(&[3]), None)
        }),
        bad(&["linear_with", "weight (out, in)", "[3]"], || {
            linear_with(&t(&[2, 3]), &t(&[3]), None, Activation::Relu)
        }),
        bad(
            &["embedding", "weight (vocabulary, dim)", "[3]"],
            move || embedding(&t(&[3]), &ids(&[0]), None),
        ),
        bad(&["embedding", "weight", "float", "U8"], move || {
            embedding(&of(DType::U8, &[3, 2]), &ids(&[0]), None)
        }),
        bad(&["embedding", "ids", "integer", "F32"], || {
            embedding(&t(&[3, 2]), &t(&[1]), None)
        }),
        bad(&["embedding", "id", "3 rows", "3"], move || {
            embedding(&t(&[3, 2]), &ids(&[3]), None)
        }),
        bad(&["embedding", "id", "0 rows", "0"], move || {
            embedding(&t(&[0, 2]), &ids(&[0]), None)
        }),
        bad(&["embedding", "padding_index", "3 rows", "5"], move || {
            embedding(&t(&[3, 2]), &ids(&[0]), Some(5))
        }),
    ]
}

fn indexing() -> Vec<Bad> {
    let index = |index: &[u32]| Tensor::new(index, &Device::Cpu).unwrap();
    vec![
        bad(&["max", "dimension 2", "[2, 3]"], || {
            Ok(max(&t(&[2, 3]), 2)?.0)
        }),
        bad(&["max", "dimension 0", "[]"], || Ok(max(&t(&[]), 0)?.0)),
        bad(&["max", "dimension 1", "[2, 0]"], || {
            Ok(max(&t(&[2, 0]), 1)?.0)
        }),
        bad(&["min", "dimension 2", "[2, 3]"], || {
            Ok(min(&t(&[2, 3]), 2)?.0)
        }),
        bad(&["amax", "dimension 2", "[2, 3]"], || amax(&t(&[2, 3]), 2)),
        bad(&["amin", "dimension 1", "[2, 0]"], || amin(&t(&[2, 0]), 1)),
        bad(&["cumsum", "dimension 2", "[2, 3]"], || {
            cumsum(&t(&[2, 3]), 2)
        }),
        bad(&["cumsum", "dimension 0", "[]"], || cumsum(&t(&[]), 0)),
        bad(&["cat", "at least one tensor"], || cat(&[], 0)),
        bad(&["cat", "dimension index 2", "[2, 3]"], || {
            cat(&[&t(&[2, 3]), &t(&[2, 3])], 2)
        }),
        bad(&["cat", "[2, 3]", "[3, 3]"], || {
            cat(&[&t(&[2, 3]), &t(&[3, 3])], 1)
        }),
        bad(&["cat", "F32", "F64"], || {
            cat(&[&t(&[2]), &of(DType::F64, &[2])], 0)
        }),
        bad(&["split", "sizes [2, 2]", "[2, 5]"], || {
            first(split(&t(&[2, 5]), &[2, 2], 1))
        }),
        bad(&["split", "dimension 2", "[2, 5]"], || {
            first(split(&t(&[2, 5]), &[2], 2))
        }),
        bad(&["split", "[2, 5]"], || {
            first(split(&t(&[2, 5]), &[usize::MAX, 6], 1))
        }),
        bad(&["chunk", "chunks", "1 or more", "0"], || {
            first(chunk(&t(&[2, 5]), 0, 1))
        }),
        bad(&["chunk", "dimension 2", "[2, 5]"], || {
            first(chunk(&t(&[2, 5]), 2, 2))
        }),
        bad(&["unbind", "dimension 2", "[2, 5]"], || {
            first(unbind(&t(&[2, 5]), 2))
        }),
        bad(&["unbind", "dimension 0", "[]"], || {
            first(unbind(&t(&[]), 0))
        }),
        bad(&["scatter", "dimension 1", "[4]"], move || {
            scatter(&t(&[4]), 1, &index(&[0]), &t(&[1]))
        }),
        bad(&["scatter", "index", "[4]", "[2]"], move || {
            scatter(&t(&[4]), 0, &index(&[0, 1]), &t(&[3]))
        }),
        bad(&["scatter", "index 9", "4"], move || {
            scatter(&t(&[4]), 0, &index(&[9]), &t(&[1]))
        }),
        bad(&["scatter", "index", "F32"], || {
            scatter(&t(&[4]), 0, &t(&[1]), &t(&[1]))
        }),
        bad(&["scatter", "src", "F32", "F64"], move || {
            scatter(&t(&[4]), 0, &index(&[0]), &of(DType::F64, &[1]))
        }),
        bad(&["scatter_add", "src", "[2]", "[3]"], move || {
            scatter_add(&t(&[4]), 0, &index(&[0, 1]), &t(&[3]))
        }),
        bad(&["scatter_add", "index 9", "4"], move || {
            scatter_add(&t(&[4]), 0, &index(&[9]), &t(&[1]))
        }),
    ]
}

/// Most are candle's own, and so are their words.
fn views() -> Vec<Bad> {
    vec![
        bad(&["reshape", "x [2, 3]", "6", "[4]"], || {
            reshape(&t(&[2, 3]), 4)
        }),
        bad(&["reshape", "6", "4"], || reshape(&t(&[2, 3]), (4, ()))),
        bad(&["flatten_from", "x [2, 3]", "2"], || {
            flatten_from(&t(&[2, 3]), 2)
        }),
        bad(&["transpose", "5", "[2, 3]"], || {
            transpose(&t(&[2, 3]), 0, 5)
        }),
        bad(&["transpose", "0", "[]"], || transpose(&t(&[]), 0, 0)),
        bad(&["narrow", "dim: 1", "[2, 5]", "start: 3"], || {
            narrow(&t(&[2, 5]), 1, 3, 3)
        }),
        bad(&["narrow", "5", "[2, 5]"], || narrow(&t(&[2, 5]), 5, 0, 1)),
        bad(&["narrow", "start", "[2, 5]"], || {
            narrow(&t(&[2, 5]), 1, usize::MAX, 2)
        }),
    ]
}
