//! Containers, squeeze-and-excitation, patches and residuals against PyTorch
//! (`tools/reference/blocks.py`), and what the containers promise.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Module, ModuleT, VarBuilder, func};
use dl_autograd::{Activation, RngScope, Tape, add, backward, mul, scale, sum};
use dl_core::Params;
use dl_core::layers::{
    AlphaDropout, DropPath, Dropout, Dropout2d, GaussianNoise, Linear, ModuleDict,
    PatchEmbedConfig, RecurrentConfig, Residual, SqueezeActivation, SqueezeExciteConfig,
    SqueezeGate, batch_norm, conv2d, gru, linear, lstm, module_dict, module_list, patch_embed,
    prelu, sequential, squeeze_excite,
};

type Forward = fn(VarBuilder, &Tensor) -> Result<Tensor>;

fn squeezed(config: SqueezeExciteConfig, vb: VarBuilder, x: &Tensor) -> Result<Tensor> {
    squeeze_excite(6, 2, config, vb)?.forward(x)
}

fn residual(vb: VarBuilder, x: &Tensor) -> Result<Tensor> {
    let layers = sequential(vb)
        .add(|vb| linear(6, 8, vb))?
        .push(func(dl_autograd::gelu))
        .add(|vb| linear(8, 6, vb))?;
    Residual::new(layers.build()).forward_t(x, true)
}

fn lists(vb: VarBuilder, x: &Tensor) -> Result<Tensor> {
    let mut x = x.clone();
    // Eleven: `10` comes before `2` in the order of names.
    for layer in &module_list(11, vb.pp("layers"), |_, vb| linear(4, 4, vb))? {
        x = dl_autograd::tanh(&layer.forward(&x)?)?;
    }
    let heads = module_dict([("b", 2), ("a", 2)], vb.pp("heads"), |n, vb| {
        linear(4, n, vb)
    })?;
    assert!(heads.names().eq(["b", "a"]));
    add(
        &heads.get("b")?.forward(&x)?,
        &scale(&heads.get("a")?.forward(&x)?, 2.)?,
    )
}

fn recurrent(layers: usize, bidirectional: bool, bias: bool) -> RecurrentConfig {
    RecurrentConfig {
        layers,
        bidirectional,
        bias,
        ..Default::default()
    }
}

const CASES: [(&str, Forward); 12] = [
    ("lstm", |vb, x| {
        lstm(3, 4, recurrent(2, true, true), vb.pp("rnn"))?.forward_t(x, true)
    }),
    ("gru", |vb, x| {
        gru(3, 4, recurrent(2, true, true), vb.pp("rnn"))?.forward_t(x, true)
    }),
    ("lstm without bias", |vb, x| {
        lstm(3, 4, recurrent(3, false, false), vb.pp("rnn"))?.forward_t(x, true)
    }),
    ("prelu", |vb, x| prelu(3, vb)?.forward(x)),
    ("squeeze_excite", |vb, x| {
        squeezed(Default::default(), vb, x)
    }),
    ("squeeze_excite, silu", |vb, x| {
        let config = SqueezeExciteConfig {
            activation: SqueezeActivation::Silu,
            ..Default::default()
        };
        squeezed(config, vb, x)
    }),
    ("squeeze_excite, hard sigmoid", |vb, x| {
        let config = SqueezeExciteConfig {
            gate: SqueezeGate::HardSigmoid,
            ..Default::default()
        };
        squeezed(config, vb, x)
    }),
    ("patch_embed", |vb, x| {
        let config = PatchEmbedConfig {
            patch: (2, 3),
            channels: 2,
            dim: 5,
            bias: true,
        };
        patch_embed(config, vb)?.forward(x)
    }),
    ("patch_embed without bias", |vb, x| {
        let config = PatchEmbedConfig {
            patch: (4, 4),
            channels: 3,
            dim: 5,
            bias: false,
        };
        patch_embed(config, vb)?.forward(x)
    }),
    ("residual", residual),
    ("sequential", |vb, x| {
        let layers = sequential(vb)
            .add(|vb| conv2d(3, 4, Default::default(), vb))?
            .add(|vb| batch_norm(4, Default::default(), vb))?
            .push(func(|x| Activation::Relu.forward(x)));
        layers.build().forward_t(x, true)
    }),
    ("lists", lists),
];

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let flat = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let theirs = flat(theirs).unwrap();
    let scale = theirs.iter().fold(1f64, |m, x| m.max(x.abs()));
    for (a, b) in flat(ours).unwrap().iter().zip(&theirs) {
        let near = (a - b).abs() <= tolerance * scale;
        assert!(near, "{what}: {a}, PyTorch has {b}");
    }
}

fn trainable(params: &Params) -> Vec<String> {
    params
        .trainable()
        .into_iter()
        .map(|(name, _)| name)
        .collect()
}

fn compare(fixtures: &HashMap<String, Tensor>, case: &str, forward: Forward, dtype: DType) {
    // f32 keeps 24 bits, of which eleven layers lose some.
    let tolerance = if dtype == DType::F64 { 1e-10 } else { 2e-5 };
    let one = |key: &str| fixtures[&format!("{case}/{key}")].to_dtype(dtype).unwrap();
    let x = Var::from_tensor(&one("input")).unwrap();
    let params = Params::new(0, &Device::Cpu);
    let vb = || VarBuilder::from_backend(Box::new(params.clone()), dtype, Device::Cpu);
    forward(vb(), &x).unwrap();
    let prefix = format!("{case}/param/");
    let keys = fixtures.keys().filter_map(|key| key.strip_prefix(&prefix));
    let mut names: Vec<_> = keys.map(String::from).collect();
    names.sort();
    assert_eq!(trainable(&params), names, "{case}");
    for name in &names {
        params.set(name, &one(&format!("param/{name}"))).unwrap();
    }
    let _tape = Tape::new();
    let y = forward(vb(), &x).unwrap();
    assert_close(&format!("{case}: output"), &y, &one("output"), tolerance);
    let loss = sum(&mul(&y, &one("cotangent")).unwrap()).unwrap();
    for (how, grads) in [("candle", loss.backward()), ("tape", backward(&loss))] {
        let grads = grads.unwrap();
        let what = |name: &str| format!("{case}: gradient of {name} by {how}");
        let dx = grads.get(&x).unwrap();
        assert_close(&what("the input"), dx, &one("input_grad"), tolerance);
        for name in &names {
            let var = params.get(name).unwrap();
            let expected = one(&format!("grad/{name}"));
            assert_close(&what(name), grads.get(&var).unwrap(), &expected, tolerance);
        }
        // candle stores gradients of what lies between as well; the tape, followed, does not.
        if how == "tape" {
            assert_eq!(grads.get_ids().count(), names.len() + 1, "{case}");
        }
    }
}

#[test]
fn blocks_agree_with_pytorch_and_are_followed_by_the_tape() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/blocks.safetensors");
    let fixtures = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    for (case, forward) in CASES {
        for dtype in [DType::F64, DType::F32] {
            compare(&fixtures, case, forward, dtype);
        }
    }
}

fn ones(shape: &[usize]) -> Tensor {
    Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap()
}

#[test]
fn train_reaches_every_layer_of_nested_containers() {
    let params = Params::new(0, &Device::Cpu);
    let inner = |vb| -> Result<_> {
        let layers = sequential(vb)
            .push(Dropout::new(0.5))
            .add(|vb| batch_norm(3, Default::default(), vb))?;
        Ok(Residual::new(layers.build()))
    };
    let model = sequential(params.vb()).add(inner).unwrap().build();
    let mean = || params.get("0.1.running_mean").unwrap().to_vec1::<f32>();
    let x = ones(&[50, 3]);
    let _streams = RngScope::new(1, 0);
    // In evaluation nothing is dropped and 1/√(1 + eps) is added to 1.
    let y = model
        .forward_t(&x, false)
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    assert!(y.iter().flatten().all(|y| (y - 2.).abs() < 1e-4));
    assert_eq!(mean().unwrap(), [0.; 3]);
    let y = model.forward_t(&x, true).unwrap().to_vec2::<f32>().unwrap();
    assert!(y.iter().flatten().any(|y| (y - 2.).abs() > 0.1));
    assert!(mean().unwrap().iter().all(|mean| *mean > 0.));
}

#[test]
fn an_empty_sequential_is_the_identity() {
    let model = sequential(Params::new(0, &Device::Cpu).vb()).build();
    assert!(model.is_empty());
    let x = ones(&[2]);
    let y = model.forward_t(&x, true).unwrap();
    assert_eq!(y.to_vec1::<f32>().unwrap(), [1., 1.]);
}

#[test]
fn a_sequential_can_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<dl_core::layers::Sequential>();
}

/// PyTorch refuses the same names.
#[test]
fn names_that_would_break_the_order_of_weights_are_refused() {
    let vb = || Params::new(0, &Device::Cpu).vb();
    let dict = |names: [&str; 2]| -> Result<ModuleDict<Linear>> {
        module_dict(names.map(|n| (n, 2)), vb(), |n, vb| linear(2, n, vb))
    };
    let message = |names| dict(names).unwrap_err().to_string();
    assert!(message(["a", "a"]).contains("`a` already"));
    assert!(message(["a", "b.c"]).contains("`b.c`"));
    assert!(message(["", "b"]).contains("not empty"));
    let two = dict(["a", "b"]).unwrap();
    let unknown = two.get("c").unwrap_err().to_string();
    assert!(
        unknown.contains("`c`") && unknown.contains("a, b"),
        "{unknown}"
    );
    let twice = sequential(vb()).add(|vb| linear(2, 2, vb)).unwrap();
    let error = twice.add_named("0", |vb| linear(2, 2, vb)).err().unwrap();
    assert!(error.to_string().contains("`0` already"));
}

/// A name may look like a later place: the place is then an error, not another layer's weights.
#[test]
fn a_name_that_takes_a_later_place_is_found() {
    let vb = Params::new(0, &Device::Cpu).vb();
    let first = sequential(vb)
        .add_named("1", |vb| linear(2, 2, vb))
        .unwrap();
    assert!(first.add(|vb| linear(2, 2, vb)).is_err());
}

#[test]
fn images_that_patches_do_not_divide_are_named() {
    let vb = Params::new(0, &Device::Cpu).vb();
    let layer = patch_embed(PatchEmbedConfig::default(), vb.clone()).unwrap();
    let error = layer
        .forward(&ones(&[1, 3, 32, 40]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("(16, 16)") && error.contains("(32, 40)"),
        "{error}"
    );
    let none = PatchEmbedConfig {
        patch: (0, 4),
        ..Default::default()
    };
    assert!(patch_embed(none, vb).is_err());
}

#[test]
fn a_residual_that_changes_the_shape_is_an_error() {
    let layer = linear(3, 2, Params::new(0, &Device::Cpu).vb()).unwrap();
    let error = Residual::new(layer).forward_t(&ones(&[4, 3]), true);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("[4, 2]") && error.contains("[4, 3]"),
        "{error}"
    );
}

fn irregular(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let values = (0..count).map(|i| ((i * 7 + 3) % 11) as f32 / 8. - 0.5);
    Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
}

fn largest(a: &Tensor, b: &Tensor) -> f32 {
    let difference = (a - b).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar().unwrap()
}

/// The sums are the same, but the products of one step are cut otherwise than those of all.
#[test]
fn recurrent_layers_go_on_from_their_state() {
    let params = Params::new(4, &Device::Cpu);
    let config = recurrent(2, false, true);
    let lstm = lstm(3, 5, config, params.vb().pp("lstm")).unwrap();
    let gru = gru(3, 5, config, params.vb().pp("gru")).unwrap();
    let x = irregular(&[2, 6, 3]);
    let (front, back) = (x.narrow(1, 0, 2).unwrap(), x.narrow(1, 2, 4).unwrap());
    let (whole, last) = lstm.run(&x, None, None, false).unwrap();
    let (_, state) = lstm.run(&front, None, None, false).unwrap();
    let (y, state) = lstm.run(&back, Some(&state), None, false).unwrap();
    assert!(largest(&y, &whole.narrow(1, 2, 4).unwrap()) < 1e-6);
    assert!(largest(&state.c, &last.c) < 1e-6 && largest(&state.h, &last.h) < 1e-6);
    let (whole, last) = gru.run(&x, None, None, false).unwrap();
    let (_, state) = gru.run(&front, None, None, false).unwrap();
    let (y, state) = gru.run(&back, Some(&state), None, false).unwrap();
    assert!(largest(&y, &whole.narrow(1, 2, 4).unwrap()) < 1e-6);
    assert!(largest(&state, &last) < 1e-6);
}

#[test]
fn a_ragged_batch_gives_what_its_sequences_give_alone() {
    let params = Params::new(4, &Device::Cpu);
    let lstm = lstm(3, 5, recurrent(2, true, true), params.vb()).unwrap();
    let (x, lengths) = (irregular(&[3, 6, 3]), [2usize, 6, 3]);
    let (y, state) = lstm.run(&x, None, Some(&lengths), false).unwrap();
    for (i, &n) in lengths.iter().enumerate() {
        let alone = x.narrow(0, i, 1).unwrap().narrow(1, 0, n).unwrap();
        let (own, last) = lstm.run(&alone, None, None, false).unwrap();
        let row = y.narrow(0, i, 1).unwrap();
        assert!(largest(&row.narrow(1, 0, n).unwrap(), &own) < 1e-6);
        assert!(largest(&state.h.narrow(1, i, 1).unwrap(), &last.h) < 1e-6);
        let behind = row.narrow(1, n, 6 - n).unwrap().flatten_all().unwrap();
        assert!(behind.to_vec1::<f32>().unwrap().iter().all(|y| *y == 0.));
    }
}

#[test]
fn a_state_that_does_not_fit_names_the_layer() {
    let params = Params::new(4, &Device::Cpu);
    let gru = gru(3, 5, recurrent(2, true, true), params.vb().pp("encoder")).unwrap();
    let (x, h0) = (irregular(&[2, 6, 3]), irregular(&[2, 2, 5]));
    let error = gru.run(&x, Some(&h0), None, false).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("Gru `encoder` takes h0 [4, 2, 5], got [2, 2, 5]"),
        "{error}"
    );
}

#[test]
fn dropout_between_recurrent_layers_acts_in_training_alone() {
    let params = Params::new(4, &Device::Cpu);
    let config = RecurrentConfig {
        dropout: 0.5,
        ..recurrent(2, false, true)
    };
    let plain = lstm(3, 5, recurrent(2, false, true), params.vb()).unwrap();
    let dropping = lstm(3, 5, config, params.vb()).unwrap();
    let x = irregular(&[2, 6, 3]);
    let _streams = RngScope::new(1, 2);
    let y = plain.forward_t(&x, true).unwrap();
    assert_eq!(largest(&y, &dropping.forward_t(&x, false).unwrap()), 0.);
    assert!(largest(&y, &dropping.forward_t(&x, true).unwrap()) > 1e-3);
}

#[test]
fn random_layers_act_in_training_alone_and_repeat_with_their_stream() {
    let residual = Residual::new(func(|x| Ok(x.clone()))).drop_path(0.5);
    let layers: [&dyn ModuleT; 5] = [
        &Dropout2d::new(0.5),
        &AlphaDropout::new(0.5),
        &DropPath::new(0.5),
        &GaussianNoise::new(0.5),
        &residual,
    ];
    let x = irregular(&[8, 4, 3, 3]);
    for (i, layer) in layers.into_iter().enumerate() {
        let run = |step, train| {
            let _streams = RngScope::new(1, step);
            layer.forward_t(&x, train).unwrap()
        };
        assert_eq!(largest(&run(1, true), &run(1, true)), 0., "layer {i}");
        assert!(largest(&run(1, true), &run(2, true)) > 0.1, "layer {i}");
        assert_eq!(largest(&run(1, false), &run(2, false)), 0., "layer {i}");
    }
}
