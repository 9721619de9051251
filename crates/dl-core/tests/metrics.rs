//! Metrics over batches agree with torchmetrics.
#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor};
use dl_core::metrics::{Accuracy, ConfusionMatrix, Mean, TopKAccuracy};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    batches: Vec<Batch>,
    values: Values,
}

#[derive(Deserialize)]
struct Batch {
    logits: Vec<Vec<f32>>,
    labels: Vec<i64>,
}

#[derive(Deserialize)]
struct Values {
    accuracy: f64,
    top_3_accuracy: f64,
    macro_precision: f64,
    macro_recall: f64,
    macro_f1: f64,
    precision: Vec<f64>,
    recall: Vec<f64>,
    f1: Vec<f64>,
    confusion_matrix: Vec<Vec<u64>>,
}

/// Torchmetrics computes in f32: six digits.
fn assert_close(ours: &[f64], theirs: &[f64]) {
    assert_eq!(ours.len(), theirs.len());
    let close = ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(close, "{ours:?} is not {theirs:?}");
}

#[test]
fn three_uneven_batches_give_torchmetrics_values() {
    // `tools/reference/metrics.py` writes this; one class is never true, one never seen at all.
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/metrics.json")).unwrap();
    let (mut accuracy, mut top3) = (Accuracy::new(), TopKAccuracy::new(3).unwrap());
    let mut matrix = ConfusionMatrix::new(6);
    for batch in fixture.batches {
        let logits = Tensor::new(batch.logits, &Device::Cpu).unwrap();
        let labels = Tensor::new(batch.labels, &Device::Cpu).unwrap();
        accuracy.update(&logits, &labels).unwrap();
        top3.update(&logits, &labels).unwrap();
        matrix.update(&logits, &labels).unwrap();
    }
    let wanted = fixture.values;
    let scalars = [
        accuracy.compute(),
        matrix.accuracy(),
        top3.compute(),
        matrix.macro_precision(),
        matrix.macro_recall(),
        matrix.macro_f1(),
    ];
    let wanted_scalars = [
        wanted.accuracy,
        wanted.accuracy,
        wanted.top_3_accuracy,
        wanted.macro_precision,
        wanted.macro_recall,
        wanted.macro_f1,
    ];
    assert_close(&scalars, &wanted_scalars);
    assert_close(&matrix.precision(), &wanted.precision);
    assert_close(&matrix.recall(), &wanted.recall);
    assert_close(&matrix.f1(), &wanted.f1);
    assert!(
        matrix
            .rows()
            .eq(wanted.confusion_matrix.iter().map(Vec::as_slice))
    );
    assert_eq!(matrix.support().iter().sum::<u64>(), 37);
    // A checkpoint holds the counts.
    let saved = serde_json::to_string(&matrix).unwrap();
    assert_eq!(
        serde_json::from_str::<ConfusionMatrix>(&saved).unwrap(),
        matrix
    );
}

#[test]
fn half_precision_and_sequences_are_counted_like_rows() {
    // (batch, time, classes), as a language model gives them.
    let logits = Tensor::new(
        &[[[2f32, 1.], [0., 1.]], [[3., 1.], [1., 0.]]],
        &Device::Cpu,
    )
    .unwrap();
    let labels = Tensor::new(&[[0u8, 1], [1, 0]], &Device::Cpu).unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let mut accuracy = Accuracy::new();
        accuracy
            .update(&logits.to_dtype(dtype).unwrap(), &labels)
            .unwrap();
        assert_eq!((accuracy.correct(), accuracy.total()), (3, 4), "{dtype:?}");
    }
}

#[test]
fn wrong_shapes_and_labels_are_named() {
    let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    let error = |labels: &Tensor| {
        Accuracy::new()
            .update(&logits, labels)
            .unwrap_err()
            .to_string()
    };
    let labels = |values: &[i64]| Tensor::new(values, &Device::Cpu).unwrap();
    assert!(error(&labels(&[0, 3])).contains("label 3 of row 1 is not a class of 0..3"));
    assert!(error(&labels(&[-100, 0])).contains("label -100 of row 0"));
    assert!(error(&labels(&[0])).contains("came [2, 3] and [1]"));
    assert!(error(&labels(&[0, 1]).to_dtype(DType::F32).unwrap()).contains("integer labels"));
    let mut matrix = ConfusionMatrix::new(4);
    let error = matrix
        .update(&logits, &labels(&[0, 1]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("has 4 classes, came logits of 3"), "{error}");
    assert!(TopKAccuracy::new(0).is_err());
}

#[test]
fn nothing_counted_is_not_a_number() {
    assert!(Accuracy::new().compute().is_nan());
    assert!(ConfusionMatrix::new(3).accuracy().is_nan());
    assert!(ConfusionMatrix::new(3).macro_f1().is_nan());
    assert!(Mean::new().compute().is_nan());
}

#[test]
fn a_mean_of_many_small_values_keeps_its_digits() {
    let mut mean = Mean::new();
    (0..1_000_000).for_each(|_| mean.update(0.1, 32.0));
    // A sum in f32 would be off in the second digit; in f64 the rounding of 10⁶ sums is below 10⁻¹⁰.
    assert!((mean.compute() - 0.1).abs() < 1e-10);
}
