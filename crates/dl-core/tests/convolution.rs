//! What the convolution layers take from PyTorch: names, shapes, initialisation; and that their
//! steps stay on the tape.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Module, VarBuilder};
use dl_autograd::{Padding2d, Tape, grad_with_graph, sum};
use dl_core::Params;
use dl_core::layers::{
    Conv1dOptions, Conv2dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions, Padding,
    Padding1d, PaddingMode, conv_transpose1d, conv_transpose2d, conv1d, conv2d,
};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

fn layers(params: &Params, groups: usize) -> Vec<(&'static str, Box<dyn Module>, Tensor)> {
    let vb = params.vb();
    let one = Conv1dOptions {
        groups,
        ..Default::default()
    };
    let two = Conv2dOptions {
        groups,
        ..Default::default()
    };
    let grown1 = ConvTranspose1dOptions {
        kernel: 5,
        groups,
        ..Default::default()
    };
    let grown2 = ConvTranspose2dOptions {
        kernel: (5, 2),
        groups,
        ..Default::default()
    };
    let (signal, image) = (zeros(&[2, 64, 6]), zeros(&[2, 64, 6, 5]));
    vec![
        (
            "a",
            Box::new(conv1d(64, 96, one, vb.pp("a")).unwrap()),
            signal.clone(),
        ),
        (
            "b",
            Box::new(conv2d(64, 96, two, vb.pp("b")).unwrap()),
            image.clone(),
        ),
        (
            "c",
            Box::new(conv_transpose1d(64, 96, grown1, vb.pp("c")).unwrap()),
            signal,
        ),
        (
            "d",
            Box::new(conv_transpose2d(64, 96, grown2, vb.pp("d")).unwrap()),
            image,
        ),
    ]
}

/// The fans are those of `torch.nn.init._calculate_fan_in_and_fan_out`: the second dimension of the
/// weight times the taps, whichever way the layer runs. Thousands of draws come within 5 % of the
/// bound; a bias of 96 is checked from above only.
#[test]
fn weights_and_biases_fill_the_interval_that_pytorch_draws_from() {
    let params = Params::new(0, &Device::Cpu);
    layers(&params, 2);
    for (name, shape, fan_in) in [
        ("a", vec![96, 32, 3], 32 * 3),
        ("b", vec![96, 32, 3, 3], 32 * 9),
        ("c", vec![64, 48, 5], 48 * 5),
        ("d", vec![64, 48, 5, 2], 48 * 10),
    ] {
        let bound = 1. / (fan_in as f32).sqrt();
        let weight = params.get(&format!("{name}.weight")).unwrap();
        assert_eq!(weight.dims(), shape, "{name}");
        let largest = |t: &Tensor| {
            t.abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        let reached = largest(&weight);
        assert!(
            reached <= bound && reached > 0.95 * bound,
            "{name}: {reached}"
        );
        let bias = params.get(&format!("{name}.bias")).unwrap();
        assert_eq!(bias.dims(), [96], "{name}");
        assert!(largest(&bias) <= bound, "{name}");
    }
}

/// A graph of gradients exists only where every operation is on the tape. The gradient of a bias
/// under a sum is the number of pixels it was added to.
#[test]
fn a_step_with_a_bias_stays_on_the_tape() {
    for groups in [1, 2, 32] {
        let params = Params::new(0, &Device::Cpu);
        for (name, layer, x) in layers(&params, groups) {
            let bias = params.get(&format!("{name}.bias")).unwrap();
            let _tape = Tape::new();
            let y = layer.forward(&x).unwrap();
            let grads = grad_with_graph(&sum(&y).unwrap(), &[bias.as_tensor()]).unwrap();
            let db = grads[0].as_ref().unwrap().to_vec1::<f32>().unwrap();
            let pixels = (y.elem_count() / 96) as f32;
            assert_eq!(db, [pixels; 96], "{name}");
        }
    }
}

#[test]
fn groups_that_do_not_divide_the_channels_are_refused() {
    let vb = Params::new(0, &Device::Cpu).vb();
    let options = ConvTranspose2dOptions {
        groups: 3,
        ..Default::default()
    };
    let error = conv_transpose2d(4, 6, options, vb).unwrap_err().to_string();
    assert!(
        error.contains("3 groups") && error.contains("4 input"),
        "{error}"
    );
}

const MODES: [(&str, PaddingMode); 4] = [
    ("zeros", PaddingMode::Zeros),
    ("reflect", PaddingMode::Reflect),
    ("replicate", PaddingMode::Replicate),
    ("circular", PaddingMode::Circular),
];

fn padded(padding_mode: PaddingMode, same: bool, vb: VarBuilder) -> [Box<dyn Module>; 2] {
    let one = match same {
        true => Conv1dOptions {
            padding: Padding1d::Same,
            dilation: 2,
            ..Default::default()
        },
        false => Conv1dOptions {
            padding: Padding1d::Explicit(2, 2),
            stride: 2,
            ..Default::default()
        },
    };
    let one = Conv1dOptions {
        kernel: 4,
        padding_mode,
        bias: false,
        ..one
    };
    let two = match same {
        true => Conv2dOptions {
            kernel: (4, 3),
            padding: Padding::Same,
            ..Default::default()
        },
        false => Conv2dOptions {
            kernel: (3, 5),
            stride: (1, 2),
            padding: Padding::Explicit(Padding2d {
                top: 1,
                bottom: 1,
                left: 3,
                right: 3,
            }),
            groups: 2,
            ..Default::default()
        },
    };
    let two = Conv2dOptions {
        padding_mode,
        bias: false,
        ..two
    };
    let outputs = if same { 3 } else { 4 };
    [
        Box::new(conv1d(3, 4, one, vb.pp("one")).unwrap()),
        Box::new(conv2d(2, outputs, two, vb.pp("two")).unwrap()),
    ]
}

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let worst = (ours - theirs).unwrap().abs().unwrap().max_all().unwrap();
    assert!(worst.to_scalar::<f64>().unwrap() < 1e-12, "{what}: {worst}");
}

/// Sums of up to 36 products in f64.
#[test]
fn padding_modes_agree_with_pytorch() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/padding_modes.safetensors");
    let fixtures = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    for (mode, padding_mode) in MODES {
        for (same, middle) in [(false, ""), (true, "same ")] {
            let get =
                |layer: &str, key: &str| fixtures[&format!("{layer} {middle}{mode}/{key}")].clone();
            let weights =
                ["conv1d", "conv2d"].map(|layer| Var::from_tensor(&get(layer, "weight")).unwrap());
            let names = ["one.weight", "two.weight"].map(String::from);
            let tensors = weights.iter().map(|w| w.as_tensor().clone());
            let map: HashMap<String, Tensor> = names.into_iter().zip(tensors).collect();
            let vb = VarBuilder::from_tensors(map, DType::F64, &Device::Cpu);
            let layers = padded(padding_mode, same, vb);
            for ((name, layer), weight) in
                ["conv1d", "conv2d"].into_iter().zip(layers).zip(&weights)
            {
                let x = Var::from_tensor(&get(name, "input")).unwrap();
                let y = layer.forward(&x).unwrap();
                let what = format!("{name} {middle}{mode}");
                assert_close(&what, &y, &get(name, "output"));
                let loss = (y * get(name, "cotangent")).unwrap().sum_all().unwrap();
                let grads = loss.backward().unwrap();
                assert_close(&what, grads.get(&x).unwrap(), &get(name, "input_grad"));
                assert_close(&what, grads.get(weight).unwrap(), &get(name, "weight_grad"));
            }
        }
    }
}

#[test]
fn a_padding_that_its_mode_cannot_fill_is_refused() {
    let vb = Params::new(0, &Device::Cpu).vb();
    for (padding_mode, size) in [
        (PaddingMode::Reflect, 3),
        (PaddingMode::Circular, 4),
        (PaddingMode::Replicate, usize::MAX),
    ] {
        let options = Conv1dOptions {
            padding: Padding1d::Explicit(size, size),
            padding_mode,
            ..Default::default()
        };
        let layer = conv1d(1, 1, options, vb.pp(format!("{padding_mode:?}"))).unwrap();
        let error = layer.forward(&zeros(&[1, 1, 3])).unwrap_err().to_string();
        assert!(error.contains("pad"), "{error}");
    }
}
