//! Evaluations of models that are no classifiers: on named sets, and sample by sample into files.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::func;
use dl_core::data::{DataLoader, StackTensors, TensorDataset};
use dl_core::losses::{MultiTaskLoss, Reduction, cross_entropy, l1_loss, mse_loss};
use dl_core::metrics::{Accuracy, Mean};
use dl_core::train::{
    Evaluator, MetricEvaluator, PredictionFile, TrainError, Trainer, TrainerConfig, ValuePrediction,
};
use serde_json::Value;

type Loader = DataLoader<TensorDataset, StackTensors>;

fn loader(x: Tensor, y: Tensor) -> Loader {
    DataLoader::new(TensorDataset::new(x, y).unwrap(), StackTensors)
}

fn column(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, (values.len(), 1), &Device::Cpu).unwrap()
}

fn squares(z: &Tensor, y: &Tensor) -> Result<Tensor> {
    mse_loss(z, y, Reduction::None)
}

fn mae(z: &Tensor, y: &Tensor) -> Result<Mean> {
    let sum = l1_loss(z, y, Reduction::Sum)?;
    let sum = sum.to_dtype(DType::F64)?.to_scalar()?;
    Ok(Mean::of(sum, z.elem_count() as f64))
}

/// 2x + 1 of these is 1, 3, 5, 7, 9: wrong by 0, 1, 0, −2, 0.
fn near() -> Loader {
    loader(column(&[0., 1., 2., 3., 4.]), column(&[1., 2., 5., 9., 9.]))
}

/// 2x + 1 of these is 21, 41, −1: wrong by 1, 0, −3.
fn far() -> Loader {
    loader(column(&[10., 20., -1.]), column(&[20., 41., 2.]))
}

#[test]
fn a_regression_has_its_means_on_each_set_whatever_the_batches() {
    let model = func(|x| x.affine(2., 1.));
    let evaluator = MetricEvaluator::new(&model, squares).metric("mae", mae);
    // Sums of small whole numbers are exact.
    for size in [1, 2, 3, 4, 8] {
        let (near, far) = (near().batch_size(size), far().batch_size(size));
        let found = evaluator
            .evaluate_sets(&[("near", &near), ("far", &far)])
            .unwrap();
        let metrics = found.metrics();
        assert_eq!(metrics.len(), 4, "{size}");
        assert_eq!(metrics["near_loss"], 5. / 5., "{size}");
        assert_eq!(metrics["near_mae"], 3. / 5., "{size}");
        assert_eq!(metrics["far_loss"], 10. / 3., "{size}");
        assert_eq!(metrics["far_mae"], 4. / 3., "{size}");
        let samples: Vec<_> = found.iter().map(|(name, e)| (name, e.samples)).collect();
        assert_eq!(samples, [("near", 5), ("far", 3)]);
    }
}

#[test]
fn the_table_has_a_row_for_each_set_and_a_column_for_each_metric() {
    let model = func(|x| x.affine(2., 1.));
    let evaluator = MetricEvaluator::new(&model, squares)
        .metric("mae", mae)
        .metric("bias", |_, y| Ok(Mean::of(0., y.dim(0)? as f64)));
    let found = evaluator.evaluate_sets(&[("near", &near()), ("far", &far())]);
    let table = found.unwrap().to_string();
    let cells = |line: &str| -> Vec<String> { line.split_whitespace().map(String::from).collect() };
    let rows: Vec<_> = table.lines().map(cells).collect();
    assert_eq!(
        rows[0],
        ["set", "samples", "loss", "bias", "mae", "samples/s"]
    );
    assert_eq!(rows[1][..5], ["near", "5", "1.0000", "0", "0.6000"]);
    assert_eq!(rows[2][..5], ["far", "3", "3.3333", "0", "1.3333"]);
}

/// A depth and two scores for each sample; the model gives them back.
fn depths_and_scores() -> Loader {
    let three = 3f64.ln();
    let x = [[1., 0., 0.], [2., three, 0.], [4., three, 0.]];
    let y = [[1f64, 0.], [3., 0.], [4., 1.]];
    let tensor = |rows| Tensor::new(rows, &Device::Cpu).unwrap();
    loader(tensor(&x), Tensor::new(&y, &Device::Cpu).unwrap())
}

fn scores(z: &Tensor, y: &Tensor) -> Result<(Tensor, Tensor)> {
    let class = y.narrow(1, 1, 1)?.squeeze(1)?.to_dtype(DType::U32)?;
    Ok((z.narrow(1, 1, 2)?.contiguous()?, class))
}

fn tasks() -> MultiTaskLoss<'static> {
    let depth = |z: &Tensor, y: &Tensor| {
        let first = |t: &Tensor| t.narrow(1, 0, 1)?.flatten_all();
        squares(&first(z)?, &first(y)?)
    };
    let class = |z: &Tensor, y: &Tensor| {
        let (z, y) = scores(z, y)?;
        cross_entropy(&z, &y, &Default::default(), Reduction::None)
    };
    let loss = MultiTaskLoss::new().task("depth", 1., depth).unwrap();
    loss.task("class", 0.5, class).unwrap()
}

/// Logits (0, 0) are ½ and ½, (ln 3, 0) are ¾ and ¼.
fn class_losses() -> [f64; 3] {
    [2f64.ln(), (4f64 / 3.).ln(), 4f64.ln()]
}

#[test]
fn several_tasks_have_their_losses_beside_the_sum_and_metrics_of_their_own() {
    let model = func(|x| Ok(x.clone()));
    let right = |z: &Tensor, y: &Tensor| {
        let ((z, y), mut right) = (scores(z, y)?, Accuracy::new());
        right.update(&z, &y)?;
        Ok(Mean::of(right.correct() as f64, right.total() as f64))
    };
    let evaluator = MetricEvaluator::multi_task(&model, tasks()).metric("accuracy", right);
    let class = class_losses().iter().sum::<f64>() / 3.;
    for size in [1, 2, 3] {
        let found = evaluator
            .evaluate(&depths_and_scores().batch_size(size))
            .unwrap();
        let names: Vec<_> = found.metrics.keys().map(String::as_str).collect();
        assert_eq!(names, ["accuracy", "loss", "loss_class", "loss_depth"]);
        let metric = |name| found.metric(name).unwrap();
        // Wrong by 0, 1, 0; of equal scores the first counts.
        assert_eq!(metric("loss_depth"), 1. / 3.);
        assert_eq!(metric("accuracy"), 2. / 3.);
        // A few roundings of f64.
        assert!((metric("loss_class") - class).abs() < 1e-14);
        assert!((metric("loss") - (1. / 3. + 0.5 * class)).abs() < 1e-14);
    }
}

fn predicted(by: &MetricEvaluator, data: &Loader) -> Vec<ValuePrediction> {
    let mut all = vec![];
    let found = by.predict(data, |sample| {
        all.push(sample);
        Ok(())
    });
    let (found, again) = (found.unwrap(), by.evaluate(data).unwrap());
    // As text, for NaN is not equal to itself.
    assert_eq!(
        format!("{:?}", found.metrics),
        format!("{:?}", again.metrics)
    );
    assert_eq!((found.samples, again.samples), (all.len(), all.len()));
    all
}

#[test]
fn every_sample_has_its_values_and_its_loss_in_the_order_of_the_data() {
    let model = func(|x| Ok(x.clone()));
    let evaluator = MetricEvaluator::multi_task(&model, tasks());
    let found = predicted(&evaluator, &depths_and_scores().batch_size(2));
    assert_eq!(found[1].predicted, [2., 3f64.ln(), 0.]);
    assert_eq!(found[1].target, [3., 0.]);
    for (i, (sample, class)) in found.iter().zip(class_losses()).enumerate() {
        assert_eq!((sample.index, sample.name.as_str()), (i, &*format!("#{i}")));
        let depth = (sample.predicted[0] - sample.target[0]).powi(2);
        assert!((sample.loss - (depth + 0.5 * class)).abs() < 1e-14);
    }
    // Shuffled, the index goes with the sample.
    let double = func(|x| x.affine(2., 1.));
    let evaluator = MetricEvaluator::new(&double, squares);
    let shuffled = predicted(&evaluator, &near().batch_size(2).shuffle(true).seed(3));
    let order: Vec<_> = shuffled.iter().map(|sample| sample.index).collect();
    assert_ne!(order, [0, 1, 2, 3, 4]);
    for sample in shuffled {
        assert_eq!(sample.predicted, [2. * sample.index as f64 + 1.]);
        assert_eq!(sample.loss, [0., 1., 0., 4., 0.][sample.index]);
    }
}

/// Two values a sample, in f32, with a dimension between.
fn pairs() -> Loader {
    let x = Tensor::new(&[[[0.1f32], [2.]], [[-3.5], [f32::NAN]]], &Device::Cpu).unwrap();
    let y = Tensor::new(&[[[0.1f32], [4.]], [[0.5], [1.]]], &Device::Cpu).unwrap();
    loader(x, y).batch_size(2)
}

fn written(path: &Path, names: &[&str], samples: &[ValuePrediction]) {
    let mut file = PredictionFile::values(path, names).unwrap();
    samples.iter().for_each(|s| file.write(s).unwrap());
    assert!(!path.exists());
    file.finish().unwrap();
}

#[test]
fn a_table_of_values_is_read_back_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.csv");
    let model = func(|x| Ok(x.clone()));
    let samples = predicted(&MetricEvaluator::new(&model, squares), &pairs());
    assert_eq!(samples[0].loss, 2.);
    written(&path, &["left", "right"], &samples);
    let mut reader = csv::Reader::from_path(&path).unwrap();
    let header = reader.headers().unwrap().clone();
    let wanted = "index,name,target_left,target_right,prediction_left,prediction_right,loss";
    assert_eq!(header.iter().collect::<Vec<_>>().join(","), wanted);
    for (row, sample) in reader.records().zip(&samples) {
        let row = row.unwrap();
        assert_eq!(
            (&row[0], &row[1]),
            (&*sample.index.to_string(), &*sample.name)
        );
        let numbers = row.iter().skip(2).map(|n| n.parse::<f64>().unwrap());
        let wanted = sample
            .target
            .iter()
            .chain(&sample.predicted)
            .chain([&sample.loss]);
        let bits = |n: f64| if n.is_nan() { None } else { Some(n.to_bits()) };
        assert!(numbers.map(bits).eq(wanted.copied().map(bits)), "{row:?}");
    }
}

#[test]
fn json_lines_of_values_have_the_columns_of_the_table_and_null_for_nan() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.jsonl");
    let model = func(|x| Ok(x.clone()));
    let samples = predicted(&MetricEvaluator::new(&model, squares), &pairs());
    written(&path, &["left", "right"], &samples);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["name"], "#0");
    assert_eq!(lines[0]["prediction_left"], f64::from(0.1f32));
    assert_eq!(lines[1]["target_right"], 1.);
    assert_eq!(lines[1]["prediction_right"], Value::Null);
    assert_eq!(lines[1]["loss"], Value::Null);
    assert_eq!(lines[1].as_object().unwrap().len(), 7);
}

#[test]
fn values_without_names_have_numbers_and_one_alone_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let header = |names: &[&str], target: usize, predicted: usize| {
        let path = folder.path().join("p.csv");
        let _ = std::fs::remove_file(&path);
        let sample = ValuePrediction {
            index: 0,
            name: "a".to_string(),
            target: vec![0.; target],
            predicted: vec![0.; predicted],
            loss: 0.,
        };
        written(&path, names, &[sample]);
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().next().unwrap().to_string()
    };
    assert_eq!(header(&[], 1, 1), "index,name,target,prediction,loss");
    assert_eq!(
        header(&["y"], 1, 1),
        "index,name,target_y,prediction_y,loss"
    );
    // A class beside its scores: the name is the target's alone.
    assert_eq!(
        header(&["y"], 1, 2),
        "index,name,target_y,prediction_0,prediction_1,loss"
    );
}

#[test]
fn a_file_of_values_refuses_what_would_make_no_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.csv");
    let sample = |values| ValuePrediction {
        index: 0,
        name: "a".to_string(),
        target: vec![0.; values],
        predicted: vec![0.; values],
        loss: 0.,
    };
    let mut file = PredictionFile::values::<&str>(&path, &[]).unwrap();
    file.write(&sample(1)).unwrap();
    let error = file.write(&sample(2)).unwrap_err().to_string();
    assert!(
        error.ends_with("the table has 5 columns, came a sample of 7"),
        "{error}"
    );
    let error = PredictionFile::values(&path, &["a", "b", "a"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`value_names` must be names of which no two are the same, got a, b, a"
    );
    let error = PredictionFile::values(path.with_extension("txt"), &["a"]).unwrap_err();
    assert!(error.to_string().contains("ends in .csv or .jsonl"));
}

#[test]
fn targets_of_another_shape_are_refused_with_both() {
    let model = func(|x| Ok(x.clone()));
    let evaluator = MetricEvaluator::new(&model, squares);
    let flat = Tensor::new(&[1f64, 2., 3.], &Device::Cpu).unwrap();
    let data = loader(column(&[1., 2., 3.]), flat).batch_size(3);
    let error = evaluator.evaluate(&data).unwrap_err().to_string();
    assert!(error.contains("[3, 1]") && error.contains("[3]"), "{error}");
    let error = evaluator.predict(&data, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("[3, 1]"), "{error}");
    // Losses that are not of each sample can be averaged and not told apart.
    let whole = MetricEvaluator::new(&model, |z, _| z.mean_all());
    assert_eq!(whole.evaluate(&data).unwrap().metrics["loss"], 2.);
    let error = whole.predict(&data, |_| Ok(())).unwrap_err().to_string();
    let wanted = "for each of n = 3 samples, came outputs [3, 1], targets [3] and losses []";
    assert!(error.contains(wanted), "{error}");
}

#[test]
fn sets_without_a_batch_and_names_that_come_twice_are_refused_by_name() {
    let model = func(|x| x.affine(2., 1.));
    let evaluator = MetricEvaluator::new(&model, squares);
    let twice = evaluator.evaluate_sets(&[("near", &near()), ("near", &far())]);
    assert!(matches!(twice, Err(TrainError::DuplicateSet { name }) if name == "near"));
    let empty = loader(column(&[]), column(&[]));
    let error = evaluator.evaluate_sets(&[("near", &near()), ("void", &empty)]);
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "the data set `void` gives no batch");
    let classifier = Evaluator::new(&model).evaluate_sets(&[("void", &empty)]);
    assert_eq!(classifier.unwrap_err().to_string(), error);
    for name in ["loss", "mae"] {
        let evaluator = MetricEvaluator::new(&model, squares)
            .metric("mae", mae)
            .metric(name, mae);
        let error = evaluator.evaluate(&near()).unwrap_err().to_string();
        assert_eq!(error, format!("two metrics are called `{name}`"));
    }
    let clash = MetricEvaluator::multi_task(&model, tasks()).metric("loss_depth", mae);
    assert!(clash.evaluate(&near()).is_err());
}

/// The evaluator and the evaluations of a training are one.
#[test]
fn the_evaluator_finds_what_the_trainer_found() {
    use dl_core::{Params, layers::linear};
    use dl_optim::{Optimizer, Sgd};
    let params = Params::new(0, &Device::Cpu);
    let model = linear(1, 1, params.vb()).unwrap();
    let single = |values: &[f64]| column(values).to_dtype(DType::F32).unwrap();
    let data = loader(single(&[0., 1., 2., 3.]), single(&[1., 2., 5., 9.])).batch_size(3);
    let optimizer = Optimizer::new(params.trainable(), Sgd::default()).unwrap();
    let history = Trainer::new(&model, optimizer, TrainerConfig::default())
        .loss(squares)
        .no_metrics()
        .metric("mae", mae)
        .fit(&data, &data)
        .unwrap();
    let evaluator = MetricEvaluator::new(&model, squares).metric("mae", mae);
    let found = evaluator.evaluate(&data).unwrap();
    let last = history.last().unwrap();
    for name in ["loss", "mae"] {
        let trained = last.metric(&format!("eval_{name}")).unwrap();
        assert_eq!(found.metric(name).unwrap(), trained);
    }
}
