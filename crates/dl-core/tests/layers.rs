//! Every layer: PyTorch's names, shapes and starting values (`tools/reference/layers.py`), gradients
//! for all its parameters, stillness in evaluation, and a place in the summary.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Init, Module, ModuleT, VarBuilder};
use dl_autograd::{RngScope, Tape, backward, checkpoint, linear as product, mul, sum};
use dl_core::Params;
use dl_core::layers::*;
use dl_core::summary::Summary;
use serde_json::Value;

type Forward = Box<dyn Fn(&Tensor, bool) -> Result<Tensor>>;

/// A layer by its name in PyTorch's listing, what it takes and how it is built.
struct Layer {
    name: &'static str,
    input: &'static [usize],
    build: fn(VarBuilder) -> Result<Forward>,
}

fn layer(
    name: &'static str,
    input: &'static [usize],
    build: fn(VarBuilder) -> Result<Forward>,
) -> Layer {
    Layer { name, input, build }
}

fn whole(layer: impl ModuleT + 'static) -> Result<Forward> {
    Ok(Box::new(move |x, train| layer.forward_t(x, train)))
}

fn rnn() -> RecurrentConfig {
    RecurrentConfig {
        layers: 2,
        bidirectional: true,
        ..Default::default()
    }
}

fn transformer() -> TransformerConfig {
    TransformerConfig {
        feedforward: 96,
        ..Default::default()
    }
}

/// Those that PyTorch has.
fn listed() -> Vec<Layer> {
    let mut layers = convolutions();
    layers.extend(norms());
    layers.extend(sequences());
    layers
}

fn convolutions() -> Vec<Layer> {
    vec![
        layer("linear", &[3, 90], |vb| whole(linear(90, 70, vb)?)),
        layer("conv1d", &[2, 32, 9], |vb| {
            let options = Conv1dOptions {
                kernel: 5,
                groups: 2,
                ..Default::default()
            };
            whole(conv1d(32, 48, options, vb)?)
        }),
        layer("conv2d", &[2, 16, 5, 7], |vb| {
            let options = Conv2dOptions {
                kernel: (3, 5),
                groups: 2,
                ..Default::default()
            };
            whole(conv2d(16, 48, options, vb)?)
        }),
        layer("conv3d", &[2, 4, 3, 4, 5], |vb| {
            let options = Conv3dOptions {
                kernel: (2, 3, 5),
                groups: 2,
                ..Default::default()
            };
            whole(conv3d(4, 48, options, vb)?)
        }),
        layer("conv_transpose1d", &[2, 32, 4], |vb| {
            let options = ConvTranspose1dOptions {
                kernel: 5,
                groups: 2,
                ..Default::default()
            };
            whole(conv_transpose1d(32, 48, options, vb)?)
        }),
        layer("conv_transpose2d", &[2, 16, 3, 2], |vb| {
            let options = ConvTranspose2dOptions {
                kernel: (3, 5),
                groups: 2,
                ..Default::default()
            };
            whole(conv_transpose2d(16, 48, options, vb)?)
        }),
    ]
}

fn norms() -> Vec<Layer> {
    vec![
        layer("batch_norm", &[3, 6, 2, 5], |vb| {
            whole(batch_norm(6, Default::default(), vb)?)
        }),
        layer("layer_norm", &[2, 3, 4], |vb| {
            whole(layer_norm((3, 4), 1e-5, vb)?)
        }),
        layer("rms_norm", &[2, 6], |vb| whole(rms_norm(6, 1e-5, vb)?)),
        layer("group_norm", &[2, 6, 3], |vb| {
            whole(group_norm(2, 6, 1e-5, vb)?)
        }),
        layer("instance_norm", &[2, 6, 3, 2], |vb| {
            let config = InstanceNormConfig {
                affine: true,
                ..Default::default()
            };
            whole(instance_norm(6, config, vb)?)
        }),
        layer("prelu", &[2, 3, 4], |vb| whole(prelu(3, vb)?)),
    ]
}

fn sequences() -> Vec<Layer> {
    vec![
        layer("embedding", &[2, 5], |vb| {
            let layer = embedding(50, 40, vb)?;
            Ok(Box::new(move |_, _| {
                layer.forward(&Tensor::arange(0u32, 50, &Device::Cpu)?)
            }))
        }),
        layer("lstm", &[2, 4, 20], |vb| whole(lstm(20, 30, rnn(), vb)?)),
        layer("gru", &[2, 4, 20], |vb| whole(gru(20, 30, rnn(), vb)?)),
        layer("multihead_attention", &[2, 5, 48], |vb| {
            whole(multihead_attention(48, 4, Default::default(), vb)?)
        }),
        layer("transformer_encoder_layer", &[2, 5, 48], |vb| {
            whole(transformer_encoder_layer(48, 4, transformer(), vb)?)
        }),
        layer("transformer_decoder_layer", &[2, 5, 48], |vb| {
            let layer = transformer_decoder_layer(48, 4, transformer(), vb)?;
            let masks = [AttentionMask::causal(), AttentionMask::default()];
            Ok(Box::new(move |x, train| layer.decode(x, x, &masks, train)))
        }),
        layer("transformer_encoder", &[2, 5, 48], |vb| {
            whole(transformer_encoder(2, 48, 4, transformer(), true, vb)?)
        }),
        layer("transformer_decoder", &[2, 5, 48], |vb| {
            let layers = transformer_decoder(2, 48, 4, transformer(), true, vb)?;
            let masks = [AttentionMask::causal(), AttentionMask::default()];
            Ok(Box::new(move |x, train| layers.decode(x, x, &masks, train)))
        }),
    ]
}

/// Weights that a layer is built on, which say nothing in a summary.
fn weights() -> Vec<Layer> {
    const INIT: Init = Init::Uniform {
        lo: -0.105_409_255_338_946,
        up: 0.105_409_255_338_946,
    };
    vec![
        layer("weight_norm", &[3, 90], |vb| {
            let norm = weight_norm((70, 90), Some(0), INIT, vb)?;
            Ok(Box::new(move |x, _| product(x, &norm.weight()?, None)))
        }),
        layer("spectral_norm", &[3, 90], |vb| {
            let norm = spectral_norm((70, 90), Default::default(), INIT, vb)?;
            Ok(Box::new(move |x, train| {
                product(x, &norm.weight(train)?, None)
            }))
        }),
    ]
}

/// Those that PyTorch has not, or without parameters.
fn others() -> Vec<Layer> {
    const IMAGES: &[usize] = &[2, 4, 6, 6];
    vec![
        layer("squeeze_excite", IMAGES, |vb| {
            whole(squeeze_excite(4, 2, Default::default(), vb)?)
        }),
        layer("patch_embed", IMAGES, |vb| {
            let config = PatchEmbedConfig {
                patch: (2, 3),
                channels: 4,
                dim: 5,
                bias: true,
            };
            whole(patch_embed(config, vb)?)
        }),
        layer("learned_positions", &[2, 3, 4], |vb| {
            whole(learned_positions(9, 4, vb)?)
        }),
        layer("sinusoidal_positions", &[2, 3, 4], |_| {
            whole(SinusoidalPositions::new(9, 4)?)
        }),
        layer("sequential", IMAGES, |vb| {
            let layers = sequential(vb)
                .add(|vb| conv2d(4, 3, Default::default(), vb))?
                .add_named("norm", |vb| batch_norm(3, Default::default(), vb))?;
            whole(layers.build())
        }),
        layer("residual", &[2, 6], |vb| {
            whole(Residual::new(linear(6, 6, vb)?).drop_path(0.2))
        }),
        layer("dropout", IMAGES, |_| whole(Dropout::new(0.5))),
        layer("dropout2d", IMAGES, |_| whole(Dropout2d::new(0.5))),
        layer("alpha_dropout", IMAGES, |_| whole(AlphaDropout::new(0.5))),
        layer("drop_path", IMAGES, |_| whole(DropPath::new(0.5))),
        layer("gaussian_noise", IMAGES, |_| whole(GaussianNoise::new(0.5))),
        layer("max_pool1d", &[2, 3, 7], |_| {
            whole(MaxPool1d::new(Default::default()))
        }),
        layer("max_pool2d", IMAGES, |_| {
            whole(MaxPool2d::new(Default::default()))
        }),
        layer("avg_pool1d", &[2, 3, 7], |_| {
            whole(AvgPool1d::new(Default::default()))
        }),
        layer("avg_pool2d", IMAGES, |_| {
            whole(AvgPool2d::new(Default::default()))
        }),
        layer("adaptive_avg_pool1d", &[2, 3, 7], |_| {
            whole(AdaptiveAvgPool1d::new(3))
        }),
        layer("adaptive_max_pool1d", &[2, 3, 7], |_| {
            whole(AdaptiveMaxPool1d::new(3))
        }),
        layer("adaptive_avg_pool2d", IMAGES, |_| {
            whole(AdaptiveAvgPool2d::new((3, 2)))
        }),
        layer("adaptive_max_pool2d", IMAGES, |_| {
            whole(AdaptiveMaxPool2d::new((3, 2)))
        }),
        layer("global_avg_pool", IMAGES, |_| whole(GlobalAvgPool)),
        layer("upsample", IMAGES, |_| {
            whole(Upsample::by(&[2., 2.], Interpolation::Nearest))
        }),
        layer("pixel_shuffle", IMAGES, |_| whole(PixelShuffle::new(2))),
        layer("pixel_unshuffle", IMAGES, |_| whole(PixelUnshuffle::new(2))),
        layer("pad", IMAGES, |_| {
            whole(Pad::new(&[(1, 2)], PadMode::Replicate))
        }),
    ]
}

fn irregular(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| ((i * 7 + 3) % 11) as f32 / 8. - 0.5);
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

fn values(x: &Tensor) -> Vec<f64> {
    let x = x.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    x.to_vec1().unwrap()
}

fn listing() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/layers.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all["layers"].clone()
}

/// Two samples of `n` numbers of one distribution: means differ by at most five standard errors,
/// deviations too, and of numbers from an interval the largest lie within a tenth of its end.
fn assert_drawn_alike(what: &str, x: &[f64], theirs: &Value) {
    let n = x.len() as f64;
    let [mean, std, largest] = ["mean", "std", "largest"].map(|key| theirs[key].as_f64().unwrap());
    let own_mean = x.iter().sum::<f64>() / n;
    let own_std = (x.iter().map(|x| (x - own_mean).powi(2)).sum::<f64>() / n).sqrt();
    let error = 5. * std * (2. / n).sqrt();
    assert!(
        (own_mean - mean).abs() <= error + 1e-7,
        "{what}: mean {own_mean}, PyTorch {mean}"
    );
    assert!(
        (own_std - std).abs() <= error + 1e-7,
        "{what}: deviation {own_std}, PyTorch {std}"
    );
    // √3 for an interval; a normal sample of fifty numbers is wider but once in a million.
    let own_largest = x.iter().fold(0f64, |m, x| m.max(x.abs()));
    if n >= 50. && largest < 1.8 * std {
        let near = (own_largest / largest - 1.).abs() < 0.1;
        assert!(near, "{what}: largest {own_largest}, PyTorch {largest}");
    }
}

#[test]
fn names_shapes_and_starting_values_are_pytorchs() {
    let listing = listing();
    for layer in listed().into_iter().chain(weights()) {
        let params = Params::new(3, &Device::Cpu);
        let _forward = (layer.build)(params.vb()).unwrap();
        let theirs = listing[layer.name].as_object().unwrap();
        let mut names: Vec<_> = theirs.keys().cloned().collect();
        names.sort();
        assert_eq!(params.names(), names, "{}", layer.name);
        for (name, theirs) in theirs {
            let what = format!("{} of {}", name, layer.name);
            let own = params.get(name).unwrap();
            let shape: Vec<usize> = serde_json::from_value(theirs["shape"].clone()).unwrap();
            assert_eq!(own.dims(), shape, "{what}");
            assert_drawn_alike(&what, &values(&own), theirs);
        }
    }
}

#[test]
fn every_parameter_of_every_layer_gets_a_gradient() {
    let layers = [listed(), weights(), others()].into_iter().flatten();
    for layer in layers {
        let params = Params::new(3, &Device::Cpu);
        let forward = (layer.build)(params.vb()).unwrap();
        let _streams = RngScope::new(1, 0);
        let _tape = Tape::new();
        let y = forward(&irregular(layer.input), true).unwrap();
        let loss = sum(&mul(&y, &irregular(y.dims())).unwrap()).unwrap();
        if params.trainable().is_empty() {
            continue;
        }
        let grads = backward(&loss).unwrap();
        for (name, var) in params.trainable() {
            let grad = grads.get(&var);
            assert!(grad.is_some(), "{name} of {} gets none", layer.name);
        }
    }
}

#[test]
fn evaluation_repeats_itself_and_changes_nothing() {
    let layers = [listed(), weights(), others()].into_iter().flatten();
    for layer in layers {
        let params = Params::new(3, &Device::Cpu);
        let forward = (layer.build)(params.vb()).unwrap();
        let all = || -> BTreeMap<String, Vec<f64>> {
            let of = |name: String| (name.clone(), values(&params.get(&name).unwrap()));
            params.names().into_iter().map(of).collect()
        };
        let (before, x) = (all(), irregular(layer.input));
        let [first, second] = [1, 2].map(|step| {
            let _streams = RngScope::new(1, step);
            values(&forward(&x, false).unwrap())
        });
        assert_eq!(first, second, "{}", layer.name);
        assert_eq!(before, all(), "{}", layer.name);
    }
}

#[test]
fn every_layer_is_in_the_summary_with_all_its_parameters() {
    for layer in listed().into_iter().chain(others()) {
        let params = Params::new(3, &Device::Cpu);
        let forward = (layer.build)(params.vb().pp("here")).unwrap();
        let x = irregular(layer.input);
        let summary = Summary::of(&params, || forward(&x, false)).unwrap();
        assert!(!summary.rows.is_empty(), "{}", layer.name);
        assert_eq!(
            summary.parameters(),
            params.parameter_count(),
            "{}",
            layer.name
        );
        let nobodys = summary.rows.iter().find(|row| row.kind == "parameter");
        assert!(nobodys.is_none(), "{}: {nobodys:?}", layer.name);
    }
}

/// A segment runs twice in training; its norm has seen one batch all the same.
#[test]
fn a_checkpointed_norm_moves_its_statistics_once() {
    let run = |as_segment: bool| {
        let params = Params::new(3, &Device::Cpu);
        let layer = batch_norm(4, Default::default(), params.vb()).unwrap();
        let vars = params.trainable().into_iter().map(|(_, var)| var);
        let (vars, x) = (vars.collect::<Vec<_>>(), irregular(&[3, 4, 2]));
        let _tape = Tape::new();
        let y = match as_segment {
            true => checkpoint(&[&x], &vars, move |x| layer.forward_t(&x[0], true)),
            false => layer.forward_t(&x, true),
        };
        let y = y.unwrap();
        let grads = backward(&sum(&mul(&y, &irregular(y.dims())).unwrap()).unwrap()).unwrap();
        assert!(vars.iter().all(|var| grads.get(var).is_some()));
        ["running_mean", "running_var"].map(|name| values(&params.get(name).unwrap()))
    };
    assert_eq!(run(true), run(false));
}
