//! Summaries of the zoo's models and of one's own.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::{Module, ModuleT, VarBuilder, func};
use dl_core::Params;
use dl_core::layers::{
    AdaptiveAvgPool2d, BatchNorm, Dropout, LayerNormConfig, Linear, MaxPool2d, ModuleList,
    PatchEmbed, PatchEmbedConfig, Residual, TransformerConfig, TransformerEncoder, batch_norm,
    conv2d, group_norm, instance_norm, layer_norm, linear, module_list, patch_embed, rms_norm,
    sequential, squeeze_excite, transformer_encoder,
};
use dl_core::models::{ImageModel, Mlp, MlpConfig};
use dl_core::summary::{Summary, summary};

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap()
}

fn params() -> Params {
    Params::new(0, &Device::Cpu)
}

/// What PyTorch's counter found (`tools/reference/multiply_adds.py`).
fn counted(name: &str) -> usize {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/multiply_adds.json");
    let all = std::fs::read_to_string(path).unwrap();
    let all: serde_json::Value = serde_json::from_str(&all).unwrap();
    all[name].as_u64().unwrap() as usize
}

/// The smallest and the largest of the family: width and depth enter only the latter.
#[test]
fn classifiers_of_the_zoo_have_the_multiply_adds_that_pytorch_counts() {
    for name in ["efficientnet_lite0", "efficientnet_lite4"] {
        let (model, params) = (ImageModel::named(name).unwrap(), params());
        let network = model.build(1000, params.vb()).unwrap();
        let x = zeros(&[1, 3, model.image_size, model.image_size]);
        let summary = summary(&params, network.as_ref(), &x).unwrap();
        assert_eq!(summary.multiply_adds(), counted(name), "{name}");
        assert_eq!(summary.parameters(), params.parameter_count());
        assert!(summary.rows.iter().all(|row| row.kind != "parameter"));
    }
}

#[test]
fn a_transformer_has_the_multiply_adds_that_pytorch_counts() {
    let config = TransformerConfig {
        feedforward: 32,
        ..Default::default()
    };
    let params = params();
    let encoder = transformer_encoder(2, 8, 2, config, true, params.vb()).unwrap();
    let summary = summary(&params, &encoder, &zeros(&[3, 5, 8])).unwrap();
    assert_eq!(summary.multiply_adds(), counted("transformer_encoder"));
}

#[test]
fn frozen_parameters_are_not_trainable() {
    let (config, params) = (MlpConfig::default(), params());
    Mlp::new(&config, params.vb()).unwrap();
    params.freeze("layers.0.*").unwrap();
    let model = Mlp::new(&config, params.vb()).unwrap();
    let summary = summary(&params, &model, &zeros(&[2, 784])).unwrap();
    assert_eq!(summary.parameters() - summary.trainable(), 784 * 64 + 64);
    assert_eq!(summary.rows[0].trainable, 0);
    // The batch counts.
    assert_eq!(summary.rows[0].multiply_adds, 2 * 784 * 64);
}

/// A small vision transformer: a class token at the root, patches, layers, a tied head.
struct Vit {
    class_token: Tensor,
    patches: PatchEmbed,
    encoder: TransformerEncoder,
    heads: ModuleList<Linear>,
    dropout: Dropout,
}

const DIM: usize = 8;

impl Vit {
    fn new(vb: VarBuilder) -> Result<Self> {
        let patches = PatchEmbedConfig {
            patch: (4, 4),
            dim: DIM,
            ..Default::default()
        };
        let config = TransformerConfig {
            feedforward: 32,
            ..Default::default()
        };
        Ok(Self {
            class_token: vb.get((1, 1, DIM), "cls_token")?,
            patches: patch_embed(patches, vb.pp("patch_embed"))?,
            encoder: transformer_encoder(2, DIM, 2, config, true, vb.pp("encoder"))?,
            heads: module_list(2, vb.pp("heads"), |_, vb| linear(DIM, 3, vb))?,
            dropout: Dropout::new(0.1),
        })
    }
}

impl ModuleT for Vit {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let x = self.patches.forward(x)?;
        let token = self.class_token.broadcast_as((x.dim(0)?, 1, DIM))?;
        let x = self
            .dropout
            .forward_t(&Tensor::cat(&[token, x], 1)?, train)?;
        let x = self.encoder.forward_t(&x, train)?.narrow(1, 0, 1)?;
        let [a, b] = [0, 1].map(|i| self.heads[i].forward(&x));
        // The first head runs twice.
        a? + b? + self.heads[0].forward(&x)?
    }
}

#[test]
fn a_model_of_ones_own_is_listed_with_what_no_layer_holds() {
    let params = params();
    let model = Vit::new(params.vb()).unwrap();
    let summary = summary(&params, &model, &zeros(&[1, 3, 8, 8])).unwrap();
    assert_eq!(summary.parameters(), params.parameter_count());
    let row = |name: &'static str| summary.rows.iter().filter(move |row| row.name == name);
    let only = |name: &'static str| row(name).next().unwrap();
    assert_eq!(only("patch_embed.proj").multiply_adds, 4 * DIM * 48);
    // Five positions: 3·5·8·8 of projections, 2·5·5·8 of scores and values.
    assert_eq!(only("encoder.layers.1.self_attn").multiply_adds, 960 + 400);
    assert_eq!(only("encoder.layers.1.self_attn").parameters, 24 * 8 + 24);
    assert_eq!(only("encoder.layers.0.linear1").multiply_adds, 5 * 8 * 32);
    let heads: Vec<_> = row("heads.0")
        .map(|r| (r.parameters, r.multiply_adds))
        .collect();
    assert_eq!(heads, [(27, 24), (0, 24)]);
    let last = summary.rows.last().unwrap();
    assert_eq!((last.name.as_str(), last.kind), ("cls_token", "parameter"));
    assert_eq!(
        (last.parameters, last.output.as_slice()),
        (DIM, &[1, 1, DIM][..])
    );
}

#[test]
fn containers_pass_the_names_of_their_layers_on() {
    let params = params();
    let block = |vb: VarBuilder| -> Result<_> {
        let block = sequential(vb)
            .add(|vb| batch_norm(4, Default::default(), vb))?
            .add_named("se", |vb| squeeze_excite(4, 2, Default::default(), vb))?;
        Ok(Residual::new(block.build()))
    };
    let model = sequential(params.vb())
        .add(|vb| conv2d(3, 4, Default::default(), vb))
        .unwrap()
        .push(func(dl_autograd::relu))
        .add(block)
        .unwrap()
        .push(MaxPool2d::new(Default::default()))
        .push(AdaptiveAvgPool2d::new((1, 1)));
    let summary = summary(&params, &model.build(), &zeros(&[1, 3, 6, 6])).unwrap();
    let expected = "\
layer       kind               output         parameters  trainable  multiply-adds
0           Conv2d             [1, 4, 4, 4]          112        112          1,728
2.0         BatchNorm          [1, 4, 4, 4]            8          8              0
2.se.fc1    Conv2d             [1, 2, 1, 1]           10         10              8
2.se.fc2    Conv2d             [1, 4, 1, 1]           12         12              8
            MaxPool2d          [1, 4, 2, 2]            0          0              0
            AdaptiveAvgPool2d  [1, 4, 1, 1]            0          0              0
total                          0.0 MB in f32         142        142          1,744
";
    let squeeze = |text: &str| -> Vec<String> {
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().map(words).collect()
    };
    assert_eq!(squeeze(&summary.to_string()), squeeze(expected));
}

/// A norm without weights at the root must not take the parameters that lie there.
#[test]
fn norms_hold_their_own_weights_and_no_others() {
    let params = params();
    let vb = params.vb();
    vb.get(5, "free").unwrap();
    let plain = LayerNormConfig {
        elementwise_affine: false,
        ..Default::default()
    };
    let bare = layer_norm(4, plain, vb.clone()).unwrap();
    let instance = instance_norm(4, Default::default(), vb.clone()).unwrap();
    let model = sequential(vb)
        .add(|vb| layer_norm(4, 1e-5, vb))
        .unwrap()
        .add(|vb| rms_norm(4, 1e-6, vb))
        .unwrap()
        .add(|vb| group_norm(2, 4, 1e-5, vb))
        .unwrap()
        .push(bare)
        .push(instance);
    let summary = summary(&params, &model.build(), &zeros(&[2, 4, 4])).unwrap();
    let found: Vec<_> = summary
        .rows
        .iter()
        .map(|r| (r.kind, r.parameters))
        .collect();
    let expected = [
        ("LayerNorm", 8),
        ("RmsNorm", 4),
        ("GroupNorm", 8),
        ("LayerNorm", 0),
        ("InstanceNorm", 0),
        ("parameter", 5),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_forward_that_fails_is_the_error_and_the_next_summary_is_whole() {
    let params = params();
    let layer = linear(2, 2, params.vb()).unwrap();
    let x = zeros(&[1, 2]);
    let failed = Summary::of(&params, || -> Result<()> {
        layer.forward(&x)?;
        bail!("no more")
    });
    assert!(failed.unwrap_err().to_string().contains("no more"));
    assert_eq!(summary(&params, &layer, &x).unwrap().rows.len(), 1);
}

#[test]
fn a_summary_changes_neither_statistics_nor_weights_and_needs_no_graph() {
    let params = params();
    let layer: BatchNorm = batch_norm(2, Default::default(), params.vb()).unwrap();
    let x = Tensor::new(&[[1f32, 5.], [3., 9.]], &Device::Cpu).unwrap();
    let mut tracked = true;
    Summary::of(&params, || {
        let y = layer.forward_t(&x, false)?;
        tracked = y.track_op();
        Ok(y)
    })
    .unwrap();
    assert!(!tracked);
    let mean = params.get("running_mean").unwrap();
    assert_eq!(mean.to_vec1::<f32>().unwrap(), [0., 0.]);
}
