//! The confusion matrix of an evaluation that may be one of classes.

use candle_core::Tensor;

use crate::metrics::ConfusionMatrix;

/// More are not counted: a matrix has their square, and no page has the room to show it.
pub(super) const MOST_CLASSES: usize = 100;

/// Counts which class was taken for which, as long as what comes is logits `(n, classes)` and one class
/// for each sample. Anything else ends the counting at no cost, and is no error: who asks cannot know
/// what a model is for.
pub(super) enum Confusion {
    Counting(Option<ConfusionMatrix>),
    Ended,
}

impl Confusion {
    pub(super) fn new(wanted: bool) -> Self {
        match wanted {
            true => Self::Counting(None),
            false => Self::Ended,
        }
    }

    pub(super) fn add(&mut self, output: &Tensor, targets: &Tensor) {
        let Self::Counting(matrix) = self else {
            return;
        };
        let counted = classes(output, targets).is_some_and(|classes| {
            let matrix = matrix.get_or_insert_with(|| ConfusionMatrix::new(classes));
            // Such as labels that a loss ignores.
            matrix.update(output, targets).is_ok()
        });
        if !counted {
            *self = Self::Ended;
        }
    }

    /// What was counted, if every batch could be.
    pub(super) fn finish(self) -> Option<ConfusionMatrix> {
        match self {
            Self::Counting(matrix) => matrix,
            Self::Ended => None,
        }
    }
}

/// The number of classes, if outputs and targets have the shapes and types of a classification.
fn classes(output: &Tensor, targets: &Tensor) -> Option<usize> {
    let (n, classes) = output.dims2().ok()?;
    let fits = targets.dims() == [n] && targets.dtype().is_int();
    (fits && (1..=MOST_CLASSES).contains(&classes)).then_some(classes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn zeros(shape: &[usize], dtype: DType) -> Tensor {
        Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()
    }

    #[test]
    fn what_is_no_classification_is_not_counted() {
        let scores = |shape: &[usize]| zeros(shape, DType::F32);
        let labels = |shape: &[usize]| zeros(shape, DType::U32);
        for (output, targets, counted) in [
            (scores(&[4, 3]), labels(&[4]), true),
            // A regression, shares of classes, tokens, pixels, two labels each, too many classes.
            (scores(&[4, 1]), scores(&[4, 1]), false),
            (scores(&[4, 3]), scores(&[4]), false),
            (scores(&[4, 2, 3]), labels(&[4, 2]), false),
            (scores(&[2, 2, 2, 2]), labels(&[2, 2, 2]), false),
            (scores(&[4, 3]), labels(&[4, 2]), false),
            (scores(&[4, MOST_CLASSES + 1]), labels(&[4]), false),
        ] {
            let mut confusion = Confusion::new(true);
            confusion.add(&output, &targets);
            assert_eq!(confusion.finish().is_some(), counted, "{output:?}");
        }
    }

    #[test]
    fn a_batch_that_cannot_be_counted_leaves_no_matrix() {
        let (scores, labels) = (zeros(&[1, 3], DType::F32), zeros(&[1], DType::U32));
        let ignored = Tensor::new(&[255u32], &Device::Cpu).unwrap();
        let mut confusion = Confusion::new(true);
        for labels in [&labels, &ignored, &labels] {
            confusion.add(&scores, labels);
        }
        assert_eq!(confusion.finish(), None);
        let mut unwanted = Confusion::new(false);
        unwanted.add(&scores, &labels);
        assert_eq!(unwanted.finish(), None);
    }
}
