//! Checkpoints of earlier formats, as committed, are gone on from.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor, safetensors};
use dl_core::Params;
use dl_core::checkpoint::{Checkpoints, Manifest};
use dl_core::data::{DataLoader, StackTensors, TensorDataset};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{
    CheckpointOptions, EarlyStopping, Every, History, Resume, TrainError, Trainer, TrainerConfig,
};
use dl_optim::{AdamW, Cosine, Ema, LossScaler, NonFinite, Optimizer};

/// A folder of this format, written by the version that brought it.
const FORMAT_1: &str = "tests/fixtures/checkpoint_format_1";

/// Two epochs of four steps with everything that has a state of its own.
fn train(folder: &Path, epochs: usize, resume: Resume) -> Result<(Params, History), TrainError> {
    let points = (0..8u32).map(|i| vec![f32::sin(i as f32), f32::cos(3. * i as f32)]);
    let x = Tensor::new(points.collect::<Vec<_>>(), &Device::Cpu)?;
    let y = Tensor::new(&[0u32, 1, 1, 0, 1, 0, 0, 1], &Device::Cpu)?;
    let loader = || {
        let data = TensorDataset::new(x.clone(), y.clone()).unwrap();
        DataLoader::new(data, StackTensors).batch_size(2)
    };
    let params = Params::new(7, &Device::Cpu);
    let network = MlpConfig {
        inputs: 2,
        hidden: vec![3],
        classes: 2,
        dropout: 0.25,
    };
    let model = Mlp::new(&network, params.vb())?;
    let optimizer = Optimizer::new(params.trainable(), AdamW::default())?;
    let config = TrainerConfig {
        epochs,
        non_finite: NonFinite::Skip,
        loss_scaler: Some(LossScaler::new(64., 2., 0.5, 2)?),
        ..Default::default()
    };
    let options = CheckpointOptions {
        every: Every::Epochs(1),
        resume,
        ..CheckpointOptions::new(folder)
    };
    let history = Trainer::new(&model, optimizer, config)
        .schedule(Cosine::over(8))
        .ema(Ema::new(params.trainable(), 0.9)?)
        .callback(EarlyStopping::minimize("eval_loss").restore_best(&params))
        .checkpoints(&params, options)
        .fit(&loader().shuffle(true), &loader())?;
    Ok((params, history))
}

fn weights(params: &Params) -> Vec<f32> {
    let all = params.all().into_iter();
    let flat = all.map(|(_, v)| v.as_tensor().flatten_all().unwrap());
    flat.flat_map(|t| t.to_vec1::<f32>().unwrap()).collect()
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FORMAT_1)
}

#[test]
#[ignore = "writes the fixture: once for each new format, by the version that brings it"]
fn write_the_fixture() {
    train(&fixture(), 1, Resume::Never).unwrap();
}

#[test]
fn a_checkpoint_of_format_1_is_whole_and_its_run_goes_on_to_the_same_end() {
    let step = fixture().join("step-00000004");
    assert_eq!(Manifest::read(&step).unwrap().format, 1);
    let (_, snapshot) = Checkpoints::load(&step).unwrap();
    let parts: Vec<_> = snapshot.parts.keys().map(String::as_str).collect();
    let known = [
        "early_stopping.eval_loss",
        "ema",
        "loop",
        "model",
        "optimizer",
        "step",
    ];
    assert!(known.iter().all(|part| parts.contains(part)), "{parts:?}");
    // The weights alone, as other programs load them.
    let file = std::fs::read(step.join("model.safetensors")).unwrap();
    let weights_only = safetensors::load_buffer(&file, &Device::Cpu).unwrap();
    let text = String::from_utf8_lossy(&file[8..200]);
    assert!(text.contains(r#""format":"pt""#), "{text}");
    assert_eq!(weights_only.len(), 4);
    let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (resumed, history) = train(old.path(), 2, Resume::Path(step)).unwrap();
    let (whole, same) = train(new.path(), 2, Resume::Never).unwrap();
    assert_eq!((history.len(), history[1].step), (2, same[1].step));
    assert!(
        resumed
            .names()
            .iter()
            .all(|name| weights_only.contains_key(name))
    );
    for (a, b) in weights(&resumed).iter().zip(weights(&whole)) {
        // Kernels for other instruction sets round otherwise: eight steps at a rate of 1e-3.
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
}
