//! What a model says about each sample, and on several data sets.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use candle_core::{D, Device, Tensor};
use candle_nn::func;
use dl_core::data::{
    BatchSampler, DataError, DataLoader, Dataset, OnError, StackTensors, TensorDataset,
};
use dl_core::train::{BatchSource, Evaluator, Prediction, PredictionFile, TrainError};
use serde_json::Value;

/// Scores of 10 samples of three classes, which the model gives back.
fn scores() -> (Tensor, Tensor) {
    let scores = (0..30).map(|i| ((i * 7 % 11) as f32 - 5.) / 2.);
    let x = Tensor::from_iter(scores, &Device::Cpu).unwrap();
    let y = Tensor::from_iter((0..10u32).map(|i| i % 3), &Device::Cpu).unwrap();
    (x.reshape((10, 3)).unwrap(), y)
}

/// The same with names, and two items that cannot be read.
struct Files(TensorDataset);

impl Dataset for Files {
    type Item = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<Self::Item, DataError> {
        match index {
            2 | 7 => Err(DataError::Empty { what: "the file" }),
            index => self.0.get(index),
        }
    }

    fn name(&self, index: usize) -> String {
        format!("{index}.png")
    }
}

/// Batches of the last items first.
struct Backwards;

impl BatchSampler for Backwards {
    fn len(&self) -> usize {
        3
    }

    fn batches(&self, _: u64, _: u64) -> Vec<Vec<usize>> {
        vec![vec![9, 8, 7, 6], vec![5, 4], vec![3, 2, 1, 0]]
    }
}

fn predicted(data: &dyn BatchSource<(Tensor, Tensor)>) -> Vec<Prediction> {
    let model = func(|x| Ok(x.clone()));
    let mut found = vec![];
    let each = |sample| {
        found.push(sample);
        Ok(())
    };
    let evaluation = Evaluator::new(&model).predict(data, each).unwrap();
    assert_eq!(evaluation.samples, found.len());
    let right = found.iter().filter(|sample| sample.is_right()).count();
    assert_eq!(evaluation.accuracy, right as f64 / found.len() as f64);
    let loss: f64 = found.iter().map(|sample| sample.loss).sum();
    // Sums of ten f64 values below 10 in another order.
    assert!((evaluation.loss - loss / found.len() as f64).abs() < 1e-12);
    found
}

#[test]
fn every_sample_has_its_index_name_and_probabilities_whatever_the_batches() {
    let (x, y) = scores();
    let softmax = candle_nn::ops::softmax(&x, D::Minus1).unwrap();
    let wanted = softmax.to_vec2::<f32>().unwrap();
    let files = || Files(TensorDataset::new(x.clone(), y.clone()).unwrap());
    let loader = || DataLoader::new(files(), StackTensors).on_error(OnError::Skip);
    let found = [
        predicted(&loader().batch_size(4)),
        predicted(&loader().batch_size(3).workers(2)),
        predicted(&loader().batch_size(1)),
        predicted(&loader().batch_size(3).shuffle(true)),
        predicted(&loader().batch_sampler(Backwards)),
    ];
    let ordered: Vec<usize> = found[0].iter().map(|sample| sample.index).collect();
    assert_eq!(ordered, [0, 1, 3, 4, 5, 6, 8, 9]);
    let backwards: Vec<usize> = found[4].iter().map(|sample| sample.index).collect();
    assert_eq!(backwards, [9, 8, 6, 5, 4, 3, 1, 0]);
    for sample in found.iter().flatten() {
        let index = sample.index;
        assert_eq!(sample.name, format!("{index}.png"));
        assert_eq!(sample.target, index % 3);
        for (p, wanted) in sample.probabilities.iter().zip(&wanted[index]) {
            // f64 here, f32 in candle.
            assert!((p - wanted).abs() < 1e-6);
        }
        let own = -f64::from(sample.probabilities[sample.target]).ln();
        // The loss is computed in f32 from scores below 3.
        assert!((sample.loss - own).abs() < 1e-5);
        assert_eq!(sample.top(1)[0].0, sample.predicted);
    }
}

/// A source of one's own that knows neither indices nor names.
struct Anonymous;

struct Three(u64);

impl Iterator for Three {
    type Item = Result<(Tensor, Tensor), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0 += 1;
        let (x, y) = scores();
        let rows = |t: Tensor| t.narrow(0, 0, 2);
        (self.0 <= 3).then(|| Ok((rows(x)?, rows(y)?)))
    }
}

impl dl_core::train::BatchStream<(Tensor, Tensor)> for Three {
    fn next_position(&self) -> dl_core::data::Position {
        dl_core::data::Position {
            epoch: 0,
            batch: self.0,
        }
    }
}

impl BatchSource<(Tensor, Tensor)> for Anonymous {
    fn len(&self) -> Option<usize> {
        Some(3)
    }

    fn batches(
        &self,
        _: dl_core::data::Position,
    ) -> Result<Box<dyn dl_core::train::BatchStream<(Tensor, Tensor)> + '_>, DataError> {
        Ok(Box::new(Three(0)))
    }
}

#[test]
fn samples_without_names_are_counted() {
    let names: Vec<_> = predicted(&Anonymous).into_iter().map(|s| s.name).collect();
    assert_eq!(names, ["#0", "#1", "#2", "#3", "#4", "#5"]);
}

#[test]
fn a_loss_that_is_not_of_each_sample_is_refused() {
    let model = func(|x| Ok(x.clone()));
    let (x, y) = scores();
    let data = DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors).batch_size(4);
    let evaluator = Evaluator::new(&model).loss(|z, _| z.mean_all());
    let error = evaluator
        .predict(&data, |_| Ok(()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("4 samples, came 4 rows and 1 losses"),
        "{error}"
    );
}

#[test]
fn two_sets_of_one_name_are_refused_and_the_metrics_carry_the_names() {
    let model = func(|x| Ok(x.clone()));
    let (x, y) = scores();
    let data = DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors).batch_size(4);
    let evaluator = Evaluator::new(&model);
    let error = evaluator.evaluate_sets(&[("a", &data), ("a", &data)]);
    assert!(matches!(error, Err(TrainError::DuplicateSet { name }) if name == "a"));
    let found = evaluator
        .evaluate_sets(&[("a", &data), ("b", &data)])
        .unwrap();
    let metrics = found.metrics();
    assert_eq!(metrics.len(), 6);
    assert_eq!(metrics["a_loss"], metrics["b_loss"]);
    assert_eq!(found.to_string().lines().count(), 3);
}

const NAMES: [&str; 2] = ["a,\"b\"", "c\nd"];

/// Writes three predictions, one of which is not finite.
fn written(path: &Path, top: Option<usize>) {
    let mut file = PredictionFile::create(path, &NAMES).unwrap();
    if let Some(k) = top {
        file = file.top(k);
    }
    for (index, loss) in [0.5, f64::NAN, f64::INFINITY].into_iter().enumerate() {
        file.write(&Prediction {
            index,
            name: format!("\u{fc} {index}, \"x\".png"),
            target: 1,
            predicted: 2,
            loss,
            probabilities: vec![0.25, 0.125, 0.625],
        })
        .unwrap();
    }
    assert!(!path.exists());
    file.finish().unwrap();
}

#[test]
fn predictions_are_a_table_that_any_reader_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.csv");
    written(&path, None);
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let header: Vec<_> = reader.headers().unwrap().iter().map(String::from).collect();
    let wanted = [
        "index",
        "name",
        "target",
        "prediction",
        "loss",
        "probability_a,\"b\"",
        "probability_c\nd",
        "probability_2",
    ];
    assert_eq!(header, wanted);
    let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(
        rows[0],
        [
            "0",
            "ü 0, \"x\".png",
            "c\nd",
            "2",
            "0.5",
            "0.25",
            "0.125",
            "0.625"
        ][..]
    );
    assert_eq!((&rows[1][4], &rows[2][4]), ("NaN", "inf"));
    written(&path.with_file_name("top.csv"), Some(2));
    let text = std::fs::read_to_string(path.with_file_name("top.csv")).unwrap();
    let (header, _) = text.split_once('\n').unwrap();
    assert_eq!(
        header,
        "index,name,target,prediction,loss,top_1,probability_1,top_2,probability_2"
    );
    assert!(text.contains(",2,0.5,2,0.625,\"a,\"\"b\"\"\",0.25\n"));
}

#[test]
fn predictions_are_json_lines_with_null_for_what_json_has_no_word_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.jsonl");
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    written(&path, None);
    assert_eq!(lines()[0]["probabilities"]["c\nd"], 0.125);
    assert_eq!(lines()[2]["loss"], Value::Null);
    std::fs::remove_file(&path).unwrap();
    written(&path, Some(5));
    let top = &lines()[1]["top"];
    assert_eq!(top.as_array().unwrap().len(), 3);
    assert_eq!(
        (&top[0]["class"], &top[1]["probability"]),
        (&"2".into(), &0.25.into())
    );
}

#[test]
fn endings_that_are_neither_and_files_that_cannot_be_made_are_refused_by_name() {
    let error = PredictionFile::create("p.txt", &NAMES)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "`predictions` must be a file that ends in .csv or .jsonl, got p.txt"
    );
    let error = PredictionFile::create("no/such/p.csv", &NAMES)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("cannot write no/such/p.csv"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.csv");
    drop(PredictionFile::create(&path, &NAMES).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
