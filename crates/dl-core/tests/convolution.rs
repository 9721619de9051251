//! What the convolution layers take from PyTorch: names, shapes, initialisation; and that their
//! steps stay on the tape.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use candle_nn::Module;
use dl_autograd::{Tape, grad_with_graph, sum};
use dl_core::Params;
use dl_core::layers::{
    Conv1dOptions, Conv2dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions, conv_transpose1d,
    conv_transpose2d, conv1d, conv2d,
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
