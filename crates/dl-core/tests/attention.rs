//! Attention and transformer layers against PyTorch (`tools/reference/attention.py`), and decoding.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{Module, ModuleT, VarBuilder};
use dl_autograd::{Purpose, Rng, RngScope, Tape, backward, mul, sum};
use dl_core::Params;
use dl_core::layers::{
    AttentionMask, FeedForwardActivation, KvCache, MultiheadAttention, MultiheadAttentionConfig,
    RotaryEmbedding, SinusoidalPositions, TransformerConfig, learned_positions,
    multihead_attention, transformer_decoder, transformer_decoder_layer, transformer_encoder,
    transformer_encoder_layer,
};

const DIM: usize = 8;
const HEADS: usize = 2;

fn padding() -> Option<Tensor> {
    Tensor::new(&[[0u8, 0, 0, 0, 1], [0, 0, 1, 1, 1]], &Device::Cpu).ok()
}

fn padded() -> AttentionMask {
    AttentionMask {
        key_padding: padding(),
        ..Default::default()
    }
}

fn config(norm_first: bool) -> TransformerConfig {
    TransformerConfig {
        feedforward: 12,
        dropout: 0.,
        norm_first,
        activation: match norm_first {
            true => FeedForwardActivation::Gelu,
            false => FeedForwardActivation::Relu,
        },
        ..Default::default()
    }
}

fn attend(config: MultiheadAttentionConfig, mask: AttentionMask) -> Forward {
    Box::new(move |vb, x| {
        let layer = multihead_attention(DIM, HEADS, config, vb)?;
        let memory = x.get(1).unwrap_or(&x[0]);
        layer.attend(&x[0], memory, memory, &mask, true)
    })
}

fn grouped(vb: VarBuilder) -> Result<MultiheadAttention> {
    let config = MultiheadAttentionConfig {
        kv_heads: Some(2),
        ..Default::default()
    };
    let layer = multihead_attention(DIM, 4, config, vb)?;
    Ok(layer.with_rotary(RotaryEmbedding::new(2, 16, 1e4)?))
}

type Forward = Box<dyn Fn(VarBuilder, &[Tensor]) -> Result<Tensor>>;

fn cases() -> Vec<(&'static str, Forward)> {
    let (default, causal) = (MultiheadAttentionConfig::default, AttentionMask::causal);
    let no_bias = MultiheadAttentionConfig {
        bias: false,
        ..default()
    };
    let both = AttentionMask {
        key_padding: padding(),
        ..causal()
    };
    let encoder_layer = |norm_first| -> Forward {
        Box::new(move |vb, x| {
            let layer = transformer_encoder_layer(DIM, HEADS, config(norm_first), vb)?;
            layer.encode(&x[0], &padded(), true)
        })
    };
    let decoder_layer = |norm_first| -> Forward {
        Box::new(move |vb, x| {
            let layer = transformer_decoder_layer(DIM, HEADS, config(norm_first), vb)?;
            layer.decode(&x[0], &x[1], &[AttentionMask::causal(), padded()], true)
        })
    };
    vec![
        ("self", attend(default(), AttentionMask::default())),
        (
            "self without bias",
            attend(no_bias, AttentionMask::default()),
        ),
        ("causal", attend(default(), causal())),
        ("cross with padding", attend(default(), padded())),
        ("causal with padding", attend(default(), both)),
        (
            "grouped and rotated",
            Box::new(|vb, x| {
                grouped(vb)?.attend(&x[0], &x[0], &x[0], &AttentionMask::causal(), true)
            }),
        ),
        ("encoder layer", encoder_layer(false)),
        ("encoder layer, norm first, gelu", encoder_layer(true)),
        (
            "encoder",
            Box::new(|vb, x| {
                let encoder = transformer_encoder(2, DIM, HEADS, config(false), true, vb)?;
                encoder.encode(&x[0], &padded(), true)
            }),
        ),
        ("decoder layer", decoder_layer(false)),
        ("decoder layer, norm first, gelu", decoder_layer(true)),
        (
            "decoder",
            Box::new(|vb, x| {
                let decoder = transformer_decoder(2, DIM, HEADS, config(false), true, vb)?;
                decoder.decode(&x[0], &x[1], &[AttentionMask::causal(), padded()], true)
            }),
        ),
    ]
}

fn builder(params: &Params, dtype: DType) -> VarBuilder<'static> {
    VarBuilder::from_backend(Box::new(params.clone()), dtype, Device::Cpu)
}

fn assert_close(what: &str, ours: &Tensor, theirs: &Tensor, tolerance: f64) {
    assert_eq!(ours.dims(), theirs.dims(), "{what}");
    let flat = |t: &Tensor| t.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let theirs = flat(theirs).unwrap();
    let scale = theirs.iter().fold(1f64, |m, x| m.max(x.abs()));
    for (a, b) in flat(ours).unwrap().iter().zip(&theirs) {
        assert!(
            (a - b).abs() <= tolerance * scale,
            "{what}: {a}, PyTorch has {b}"
        );
    }
}

/// The tensors of one case under a kind of key, by what follows it.
fn part(fixtures: &HashMap<String, Tensor>, case: &str, kind: &str) -> Vec<(String, Tensor)> {
    let prefix = format!("{case}/{kind}");
    let named = fixtures.iter();
    let mut all: Vec<(String, Tensor)> = named
        .filter_map(|(key, t)| Some((key.strip_prefix(&prefix)?.to_string(), t.clone())))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn compare(fixtures: &HashMap<String, Tensor>, case: &str, forward: &Forward, dtype: DType) {
    // f32 keeps 24 bits, of which the norms of the stacks lose some.
    let tolerance = if dtype == DType::F64 { 1e-10 } else { 2e-5 };
    let one = |key: &str| fixtures[&format!("{case}/{key}")].to_dtype(dtype).unwrap();
    let inputs: Vec<Var> = part(fixtures, case, "input.")
        .iter()
        .map(|(_, x)| Var::from_tensor(&x.to_dtype(dtype).unwrap()).unwrap())
        .collect();
    let xs: Vec<Tensor> = inputs.iter().map(|x| x.as_tensor().clone()).collect();
    let params = Params::new(0, &Device::Cpu);
    forward(builder(&params, dtype), &xs).unwrap();
    let expected = part(fixtures, case, "param/");
    let names: Vec<_> = expected.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(params.names(), names, "{case}");
    for (name, value) in &expected {
        params.set(name, value).unwrap();
    }
    let _tape = Tape::new();
    let y = forward(builder(&params, dtype), &xs).unwrap();
    assert_close(&format!("{case}: output"), &y, &one("output"), tolerance);
    let loss = sum(&mul(&y, &one("cotangent")).unwrap()).unwrap();
    for (how, grads) in [("candle", loss.backward()), ("tape", backward(&loss))] {
        let grads = grads.unwrap();
        for (i, x) in inputs.iter().enumerate() {
            let what = format!("{case}: gradient of input {i} by {how}");
            let expected = one(&format!("input_grad.{i}"));
            assert_close(&what, grads.get(x).unwrap(), &expected, tolerance);
        }
        for (name, expected) in part(fixtures, case, "grad/") {
            let what = format!("{case}: gradient of {name} by {how}");
            let var = params.get(&name).unwrap();
            assert_close(&what, grads.get(&var).unwrap(), &expected, tolerance);
        }
    }
}

#[test]
fn attention_and_transformer_layers_agree_with_pytorch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/attention.safetensors");
    let fixtures = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    for (case, forward) in cases() {
        for dtype in [DType::F64, DType::F32] {
            compare(&fixtures, case, &forward, dtype);
        }
    }
}

fn normal(shape: &[usize]) -> Tensor {
    let mut values = vec![0f32; shape.iter().product()];
    Rng::new(5, Purpose::Other(1), 0).fill_normal(&mut values);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// candle stores gradients of untracked operands of its own ops; the tape never does, so a store
/// that holds the parameters alone shows that every operation of the layer is on it.
#[test]
fn a_transformer_layer_is_followed_by_the_tape() {
    let params = Params::new(0, &Device::Cpu);
    let layer = transformer_encoder_layer(DIM, HEADS, config(false), params.vb()).unwrap();
    let _tape = Tape::new();
    let y = layer
        .encode(&normal(&[2, 5, DIM]), &padded(), true)
        .unwrap();
    let grads = backward(&sum(&y).unwrap()).unwrap();
    let count = grads.get_ids().count();
    assert_eq!(count, params.names().len());
}

#[test]
fn decoding_token_by_token_gives_what_all_tokens_at_once_give() {
    let params = Params::new(0, &Device::Cpu);
    let layer = grouped(params.vb()).unwrap();
    let x = normal(&[2, 7, DIM]);
    let whole = layer
        .attend(&x, &x, &x, &AttentionMask::causal(), false)
        .unwrap();
    let mut cache = KvCache::default();
    let mut parts = vec![];
    for (first, len) in [(0, 3), (3, 1), (4, 2), (6, 1)] {
        let next = x.narrow(1, first, len).unwrap();
        parts.push(layer.decode(&next, &mut cache).unwrap());
        assert_eq!(cache.len(), first + len);
    }
    let parts = Tensor::cat(&parts, 1).unwrap();
    assert_close("decoded", &parts, &whole, 1e-6);
}

#[test]
fn attention_is_initialised_as_pytorch_does() {
    let params = Params::new(0, &Device::Cpu);
    multihead_attention(64, 4, Default::default(), params.vb()).unwrap();
    let largest = |name: &str| {
        let all = params.get(name).unwrap().flatten_all().unwrap();
        let all = all.to_vec1::<f32>().unwrap();
        all.iter().fold(0f32, |m, x| m.max(x.abs()))
    };
    // Xavier over (192, 64); 1/√64 of a dense layer.
    let xavier = (6f32 / 256.).sqrt();
    let weight = largest("in_proj_weight");
    assert!(weight <= xavier && weight > 0.99 * xavier);
    let out = largest("out_proj.weight");
    assert!(out <= 0.125 && out > 0.99 * 0.125);
    assert_eq!(largest("in_proj_bias") + largest("out_proj.bias"), 0.);
}

#[test]
fn dropout_is_drawn_from_the_step_in_training_only() {
    let params = Params::new(0, &Device::Cpu);
    let config = MultiheadAttentionConfig {
        dropout: 0.5,
        ..Default::default()
    };
    let layer = multihead_attention(DIM, HEADS, config, params.vb()).unwrap();
    let run = |step: u64, train: bool| {
        let _scope = RngScope::new(1, step);
        let y = layer.forward_t(&normal(&[2, 5, DIM]), train).unwrap();
        y.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(run(0, true), run(0, true));
    assert_ne!(run(0, true), run(1, true));
    assert_eq!(run(0, false), run(1, false));
}

#[test]
fn padding_and_an_additive_mask_hide_together() {
    let params = Params::new(0, &Device::Cpu);
    let layer = multihead_attention(DIM, HEADS, Default::default(), params.vb()).unwrap();
    let x = normal(&[2, 5, DIM]);
    let run = |mask: Option<Tensor>| {
        let mask = AttentionMask { mask, ..padded() };
        layer.attend(&x, &x, &x, &mask, false).unwrap()
    };
    let zeros = Tensor::zeros((5, 5), DType::F32, &Device::Cpu).unwrap();
    let ones = Tensor::ones((5, 5), DType::U8, &Device::Cpu).unwrap();
    assert_close("additive", &run(Some(zeros)), &run(None), 0.);
    assert_close("keep", &run(Some(ones)), &run(None), 0.);
}

#[test]
fn layers_that_do_not_fit_are_errors() {
    let params = Params::new(0, &Device::Cpu);
    let build = |dim, heads, kv_heads| {
        let config = MultiheadAttentionConfig {
            kv_heads,
            ..Default::default()
        };
        multihead_attention(dim, heads, config, params.vb())
    };
    assert!(build(8, 3, None).is_err());
    assert!(build(8, 0, None).is_err());
    assert!(build(8, 4, Some(3)).is_err());
    let layer = build(8, 4, Some(2)).unwrap();
    assert!(layer.forward_t(&normal(&[2, 5, 7]), false).is_err());
    let mask = AttentionMask {
        key_padding: Some(normal(&[2, 5])),
        ..Default::default()
    };
    let x = normal(&[2, 5, 8]);
    assert!(layer.attend(&x, &x, &x, &mask, false).is_err());
    assert!(
        RotaryEmbedding::new(2, 4, 1e4)
            .unwrap()
            .rotate(&normal(&[1, 1, 3, 2]), 2)
            .is_err()
    );
    assert!(SinusoidalPositions::new(4, 8).unwrap().forward(&x).is_err());
    let learned = learned_positions(4, 8, params.vb()).unwrap();
    assert!(learned.forward(&x).is_err());
}
