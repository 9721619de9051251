//! TensorBoard itself reads the event files.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

use candle_core::{Device, Tensor};
use dl_core::Params;
use dl_core::data::{DataLoader, StackTensors, TensorDataset};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{Callback, Flow, Step, TensorBoard, TrainError, Trainer, TrainerConfig};
use dl_optim::{Adam, Optimizer};
use serde_json::Value;

/// The folder that `pip install --target` put TensorBoard into, unless Python has it anyway.
const PACKAGE: &str = "DL_TENSORBOARD";

fn python(arguments: &[&str]) -> std::io::Result<Output> {
    let mut command = Command::new("python3");
    if let Some(folder) = std::env::var_os(PACKAGE) {
        command.env("PYTHONPATH", folder);
    }
    command.args(arguments).output()
}

/// Keeps what the run said, to compare with.
struct Keep<'a>(&'a mut Vec<Step>);

impl Callback for Keep<'_> {
    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        self.0.push(*step);
        Ok(Flow::Continue)
    }
}

/// Two epochs of two steps; the parameters at the end.
fn train(folder: &Path, steps: &mut Vec<Step>) -> Params {
    let x = Tensor::arange(0f32, 8., &Device::Cpu).unwrap();
    let x = (x.reshape((4, 2)).unwrap() / 8.).unwrap();
    let y = Tensor::new(&[0u32, 1, 1, 0], &Device::Cpu).unwrap();
    let data = DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors).batch_size(2);
    let params = Params::new(0, &Device::Cpu);
    let network = MlpConfig {
        inputs: 2,
        hidden: vec![4],
        classes: 2,
        dropout: 0.,
    };
    let model = Mlp::new(&network, params.vb()).unwrap();
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let config = TrainerConfig {
        epochs: 2,
        ..Default::default()
    };
    let board = TensorBoard::new(folder).histograms(&params, 2);
    Trainer::new(&model, optimizer, config)
        .callback(board.text("configuration", &network).unwrap())
        .callback(Keep(steps))
        .fit(&data, &data)
        .unwrap();
    params
}

#[test]
fn tensorboard_reads_scalars_histograms_and_texts() {
    let found = python(&["-c", "import tensorboard"]);
    if !found.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: python3 has no tensorboard; pip install --target DIR tensorboard, then set {PACKAGE}=DIR"
        );
        assert!(
            std::env::var_os(PACKAGE).is_none(),
            "{PACKAGE} is set, but holds no tensorboard"
        );
        return;
    }
    let (folder, mut steps) = (tempfile::tempdir().unwrap(), vec![]);
    let params = train(folder.path(), &mut steps);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let script = root.join("tools/reference/read_event_files.py");
    let read = python(&[script.to_str().unwrap(), folder.path().to_str().unwrap()]).unwrap();
    assert!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    let read: Value = serde_json::from_slice(&read.stdout).unwrap();
    let losses: Vec<_> = steps
        .iter()
        .map(|s| (s.step, s.loss as f32 as f64))
        .collect();
    let scalars = read["scalars"]["train/loss"].as_array().unwrap().iter();
    let scalars = scalars.map(|pair| {
        (
            pair[0].as_u64().unwrap() as usize,
            pair[1].as_f64().unwrap(),
        )
    });
    assert_eq!(scalars.collect::<Vec<_>>(), losses);
    assert_eq!(
        read["scalars"]["eval/accuracy"].as_array().unwrap().len(),
        2
    );
    for (name, var) in params.trainable() {
        for kind in ["parameters", "gradients"] {
            let drawn = read["histograms"][format!("{kind}/{name}")]
                .as_array()
                .unwrap();
            let steps: Vec<_> = drawn.iter().map(|h| h[0].as_u64().unwrap()).collect();
            assert_eq!(steps, [2, 4], "{kind}/{name}");
            // As many values as the tensor has, by the file's own count and in its buckets.
            let count = var.elem_count() as f64;
            assert_eq!((&drawn[1][3], &drawn[1][5]), (&count.into(), &count.into()));
        }
        let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let least = values.into_iter().fold(f32::INFINITY, f32::min);
        let drawn = &read["histograms"][format!("parameters/{name}")][1];
        assert_eq!(drawn[1].as_f64().unwrap(), f64::from(least));
    }
    let text = read["texts"]["configuration/text_summary"][0][1]
        .as_str()
        .unwrap();
    assert!(text.contains("| hidden | 4 |"), "{text}");
}
