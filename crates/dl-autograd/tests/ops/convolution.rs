//! Convolutions of signals, transposed convolutions, and the bias of all of them.

use candle_core::{DType, Device, Result, Tensor};
use dl_autograd::{
    Conv1dConfig, Conv2dConfig, Conv3dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    Padding2d, composed, conv_transpose1d, conv_transpose2d, conv1d, conv2d, conv3d, same_padding,
    transpose,
};

use crate::case::{Case, case};

fn biased(name: &'static str, x: [usize; 4], w: [usize; 4], config: Conv2dConfig) -> Case {
    case(name, &[&x, &w, &[w[0]]], move |t| {
        conv2d(&t[0], &t[1], Some(&t[2]), &config)
    })
}

fn signal(name: &'static str, x: [usize; 3], w: [usize; 3], config: Conv1dConfig) -> Case {
    case(name, &[&x, &w, &[w[0]]], move |t| {
        conv1d(&t[0], &t[1], Some(&t[2]), &config)
    })
}

fn grown_signal(
    name: &'static str,
    x: [usize; 3],
    w: [usize; 3],
    config: ConvTranspose1dConfig,
) -> Case {
    case(name, &[&x, &w, &[w[1] * config.groups]], move |t| {
        conv_transpose1d(&t[0], &t[1], Some(&t[2]), &config)
    })
}

fn grown(name: &'static str, x: [usize; 4], w: [usize; 4], config: ConvTranspose2dConfig) -> Case {
    case(name, &[&x, &w, &[w[1] * config.groups]], move |t| {
        conv_transpose2d(&t[0], &t[1], Some(&t[2]), &config)
    })
}

pub fn cases() -> Vec<Case> {
    let mut cases = biases();
    cases.extend(volumes());
    cases.extend(signals());
    cases.extend(grown_signals());
    cases.extend(grown_images());
    cases
}

/// One case for each place where a sum starts.
fn biases() -> Vec<Case> {
    let base = Conv2dConfig::default();
    let groups = |groups| Conv2dConfig {
        padding: 1.into(),
        groups,
        ..base
    };
    vec![
        biased("conv2d bias, pointwise", [2, 3, 5, 4], [4, 3, 1, 1], base),
        biased(
            "conv2d bias, large plane",
            [2, 2, 21, 20],
            [3, 2, 1, 1],
            base,
        ),
        biased(
            "conv2d bias, grouped",
            [2, 4, 5, 5],
            [6, 2, 3, 3],
            groups(2),
        ),
        biased(
            "conv2d bias, grouped, large plane",
            [1, 4, 21, 20],
            [4, 2, 1, 1],
            Conv2dConfig { groups: 2, ..base },
        ),
        biased(
            "conv2d bias, depthwise",
            [2, 3, 5, 7],
            [3, 1, 3, 3],
            groups(3),
        ),
        biased(
            "conv2d, same padding of an even kernel",
            [2, 2, 5, 7],
            [3, 2, 4, 3],
            Conv2dConfig {
                padding: Padding2d::same((5, 7), (4, 3), (1, 1), (1, 2)),
                dilation: (1, 2),
                ..base
            },
        ),
        case(
            "conv2d bias, transposed input",
            &[&[2, 5, 4, 3], &[2, 3, 2, 2], &[2]],
            |t| {
                let x = channels_first(&t[0])?;
                conv2d(&x, &t[1], Some(&t[2]), &Conv2dConfig::default())
            },
        ),
    ]
}

fn volumes() -> Vec<Case> {
    let volume = |name, x: [usize; 5], w: [usize; 5], config: Conv3dConfig| {
        case(name, &[&x, &w, &[w[0]]], move |t| {
            conv3d(&t[0], &t[1], Some(&t[2]), &config)
        })
    };
    let base = Conv3dConfig::default();
    vec![
        volume("conv3d", [2, 2, 4, 3, 5], [3, 2, 2, 2, 3], base),
        volume(
            "conv3d of every option",
            [2, 4, 7, 4, 5],
            [2, 2, 3, 2, 3],
            Conv3dConfig {
                stride: (2, 1, 2),
                padding: (2, 1, 0),
                dilation: (2, 1, 2),
                groups: 2,
            },
        ),
        volume(
            "conv3d depthwise, stride beyond the kernel",
            [2, 3, 5, 3, 3],
            [3, 1, 1, 2, 2],
            Conv3dConfig {
                stride: (3, 1, 1),
                groups: 3,
                ..base
            },
        ),
        case(
            "conv3d of a transposed input",
            &[&[2, 3, 4, 3, 2], &[2, 2, 3, 2, 2]],
            |t| conv3d(&transpose(&t[0], 1, 4)?, &t[1], None, &Default::default()),
        ),
    ]
}

fn signals() -> Vec<Case> {
    let base = Conv1dConfig::default();
    vec![
        signal("conv1d", [2, 3, 9], [4, 3, 3], base),
        case("conv1d without bias", &[&[2, 3, 9], &[4, 3, 3]], |t| {
            conv1d(&t[0], &t[1], None, &Conv1dConfig::default())
        }),
        signal("conv1d pointwise", [3, 2, 7], [5, 2, 1], base),
        signal(
            "conv1d, stride 2, odd padding",
            [3, 2, 8],
            [4, 2, 3],
            Conv1dConfig {
                stride: 2,
                padding: (0, 1),
                ..base
            },
        ),
        signal(
            "conv1d dilated, strided, grouped",
            [2, 4, 13],
            [6, 2, 3],
            Conv1dConfig {
                stride: 3,
                padding: (2, 4),
                dilation: 2,
                groups: 2,
            },
        ),
        signal(
            "conv1d depthwise, dilated",
            [2, 3, 11],
            [3, 1, 5],
            Conv1dConfig {
                padding: (4, 3),
                dilation: 2,
                groups: 3,
                ..base
            },
        ),
        signal(
            "conv1d, same padding of an even kernel",
            [2, 2, 7],
            [3, 2, 4],
            Conv1dConfig {
                padding: same_padding(7, 4, 1, 1),
                ..base
            },
        ),
        case(
            "conv1d of a transposed input",
            &[&[2, 9, 3], &[4, 3, 3]],
            |t| {
                conv1d(
                    &transpose(&t[0], 1, 2)?,
                    &t[1],
                    None,
                    &Conv1dConfig::default(),
                )
            },
        ),
    ]
}

fn grown_signals() -> Vec<Case> {
    let base = ConvTranspose1dConfig::default();
    vec![
        grown_signal("conv_transpose1d", [2, 3, 5], [3, 4, 3], base),
        case(
            "conv_transpose1d without bias",
            &[&[2, 3, 5], &[3, 4, 3]],
            |t| conv_transpose1d(&t[0], &t[1], None, &ConvTranspose1dConfig::default()),
        ),
        grown_signal("conv_transpose1d pointwise", [2, 3, 7], [3, 2, 1], base),
        grown_signal(
            "conv_transpose1d of every option",
            [2, 4, 5],
            [4, 3, 3],
            ConvTranspose1dConfig {
                stride: 3,
                padding: (2, 2),
                output_padding: 2,
                dilation: 2,
                groups: 2,
            },
        ),
        grown_signal(
            "conv_transpose1d depthwise",
            [2, 3, 5],
            [3, 1, 4],
            ConvTranspose1dConfig {
                stride: 2,
                padding: (1, 1),
                output_padding: 1,
                groups: 3,
                ..base
            },
        ),
    ]
}

fn grown_images() -> Vec<Case> {
    let base = ConvTranspose2dConfig::default();
    vec![
        grown("conv_transpose2d", [2, 3, 4, 5], [3, 2, 3, 2], base),
        case(
            "conv_transpose2d without bias",
            &[&[2, 3, 4, 5], &[3, 2, 3, 3]],
            |t| conv_transpose2d(&t[0], &t[1], None, &ConvTranspose2dConfig::default()),
        ),
        grown(
            "conv_transpose2d pointwise",
            [2, 3, 4, 5],
            [3, 2, 1, 1],
            base,
        ),
        grown(
            "conv_transpose2d pointwise, large plane",
            [1, 4, 21, 20],
            [4, 1, 1, 1],
            ConvTranspose2dConfig { groups: 2, ..base },
        ),
        // A stride beyond the kernel leaves pixels that only the bias reaches.
        grown(
            "conv_transpose2d, stride beyond the kernel",
            [2, 2, 3, 4],
            [2, 3, 1, 2],
            ConvTranspose2dConfig {
                stride: (2, 3),
                output_padding: (1, 2),
                ..base
            },
        ),
        grown(
            "conv_transpose2d doubling",
            [3, 2, 4, 3],
            [2, 4, 4, 4],
            ConvTranspose2dConfig {
                stride: (2, 2),
                padding: 1.into(),
                ..base
            },
        ),
        grown(
            "conv_transpose2d of every option",
            [2, 4, 4, 3],
            [4, 3, 3, 2],
            ConvTranspose2dConfig {
                stride: (2, 3),
                padding: padding(1, 1, 2, 2),
                output_padding: (1, 2),
                dilation: (2, 3),
                groups: 2,
            },
        ),
        // An output padding of the stride or more, and no padding that could read it.
        grown(
            "conv_transpose2d, output padding below the dilation",
            [2, 2, 3, 4],
            [2, 2, 1, 2],
            ConvTranspose2dConfig {
                output_padding: (2, 1),
                dilation: (3, 2),
                ..base
            },
        ),
        grown(
            "conv_transpose2d, output padding of a 1×1 kernel",
            [2, 2, 3, 4],
            [2, 3, 1, 1],
            ConvTranspose2dConfig {
                output_padding: (1, 1),
                dilation: (2, 2),
                ..base
            },
        ),
        grown(
            "conv_transpose2d, asymmetric padding",
            [2, 2, 4, 5],
            [2, 3, 3, 3],
            ConvTranspose2dConfig {
                stride: (2, 2),
                padding: padding(0, 1, 2, 0),
                ..base
            },
        ),
        grown(
            "conv_transpose2d depthwise",
            [2, 3, 4, 5],
            [3, 1, 3, 4],
            ConvTranspose2dConfig {
                stride: (2, 3),
                padding: padding(1, 1, 2, 2),
                output_padding: (1, 0),
                dilation: (2, 1),
                groups: 3,
            },
        ),
        grown(
            "conv_transpose2d depthwise, stride beyond the kernel",
            [2, 3, 3, 2],
            [3, 1, 1, 2],
            ConvTranspose2dConfig {
                stride: (3, 3),
                output_padding: (2, 1),
                groups: 3,
                ..base
            },
        ),
        // Padding beyond the kernel's reach cuts off elements of the input.
        grown(
            "conv_transpose2d, padding beyond the kernel",
            [2, 2, 5, 6],
            [2, 2, 2, 1],
            ConvTranspose2dConfig {
                padding: padding(2, 2, 1, 1),
                ..base
            },
        ),
        case(
            "conv_transpose2d of a transposed input",
            &[&[2, 4, 5, 3], &[3, 2, 2, 2]],
            |t| {
                let x = channels_first(&t[0])?;
                conv_transpose2d(&x, &t[1], None, &ConvTranspose2dConfig::default())
            },
        ),
    ]
}

/// `(n, h, w, c)` → `(n, c, h, w)`, with the elements where they are.
fn channels_first(x: &Tensor) -> Result<Tensor> {
    transpose(&transpose(x, 1, 3)?, 2, 3)
}

fn padding(top: usize, bottom: usize, left: usize, right: usize) -> Padding2d {
    Padding2d {
        top,
        bottom,
        left,
        right,
    }
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

fn assert_refused(result: Result<Tensor>, words: &[&str]) {
    let error = result.unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "`{word}` in: {error}");
    }
}

#[test]
fn every_convolution_names_itself_and_what_did_not_fit() {
    let (x, w) = (zeros(&[1, 2, 5]), zeros(&[4, 2, 3]));
    let base = Conv1dConfig::default();
    let with = |config| conv1d(&x, &w, None, &config);
    assert_refused(
        with(Conv1dConfig { stride: 0, ..base }),
        &["conv1d", "stride"],
    );
    assert_refused(
        with(Conv1dConfig { groups: 3, ..base }),
        &["conv1d", "3 groups"],
    );
    let wide = Conv1dConfig {
        dilation: 3,
        ..base
    };
    assert_refused(with(wide), &["conv1d", "larger"]);
    assert_refused(
        conv1d(&x, &w, Some(&zeros(&[2])), &base),
        &["conv1d", "bias of (4,)", "[2]"],
    );
    assert_refused(
        conv1d(&x, &w.to_dtype(DType::F64).unwrap(), None, &base),
        &["conv1d", "weight", "F32", "F64"],
    );
    assert_refused(
        conv1d(&zeros(&[2, 5]), &w, None, &base),
        &["conv1d", "[2, 5]"],
    );
}

#[test]
fn every_transposed_convolution_names_itself_and_what_did_not_fit() {
    let (x, w) = (zeros(&[1, 2, 4, 4]), zeros(&[2, 3, 2, 2]));
    let base = ConvTranspose2dConfig::default();
    let with = |config| conv_transpose2d(&x, &w, None, &config);
    let name = "conv_transpose2d";
    for (config, word) in [
        (
            ConvTranspose2dConfig {
                output_padding: (1, 0),
                ..base
            },
            "output_padding",
        ),
        (
            ConvTranspose2dConfig {
                padding: 3.into(),
                ..base
            },
            "leaves nothing",
        ),
        (
            ConvTranspose2dConfig {
                dilation: (0, 1),
                ..base
            },
            "dilation",
        ),
        (ConvTranspose2dConfig { groups: 0, ..base }, "0 groups"),
    ] {
        assert_refused(with(config), &[name, word]);
    }
    assert_refused(
        conv_transpose2d(&x, &zeros(&[3, 2, 2, 2]), None, &base),
        &[name, "[3, 2, 2, 2]"],
    );
    assert_refused(
        conv_transpose2d(&zeros(&[1, 2, 0, 4]), &w, None, &base),
        &[name, "leaves nothing"],
    );
    assert_refused(
        conv_transpose1d(&x, &w, None, &ConvTranspose1dConfig::default()),
        &["conv_transpose1d", "[1, 2, 4, 4]"],
    );
}

#[test]
fn an_empty_batch_grows_to_an_empty_result() {
    let (x, w, b) = (zeros(&[0, 3, 4]), zeros(&[3, 2, 3]), zeros(&[2]));
    let run = || conv_transpose1d(&x, &w, Some(&b), &ConvTranspose1dConfig::default()).unwrap();
    assert_eq!(run().dims(), [0, 2, 6]);
    assert_eq!(composed(run).dims(), [0, 2, 6]);
}

#[test]
fn without_input_channels_only_the_bias_is_left() {
    let bias = Tensor::new(&[1f32, 2.], &Device::Cpu).unwrap();
    let config = Conv1dConfig::default();
    let y = conv1d(&zeros(&[1, 0, 3]), &zeros(&[2, 0, 2]), Some(&bias), &config).unwrap();
    assert_eq!(
        y.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        [1., 1., 2., 2.]
    );
}

/// A stride of 1 is what PyTorch allows for `padding="same"`.
#[test]
fn same_padding_keeps_the_length_with_the_odd_zero_behind() {
    for (kernel, dilation) in [(1, 1), (2, 1), (3, 2), (4, 1), (4, 3), (6, 1)] {
        let (before, after) = same_padding(5, kernel, 1, dilation);
        assert_eq!(before + after, dilation * (kernel - 1));
        assert!(after == before || after == before + 1);
    }
    assert_eq!(same_padding(0, 0, 0, 0), (0, 1));
}
