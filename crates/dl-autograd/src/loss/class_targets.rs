//! Class indices and class weights, checked and read.

use candle_core::{DType, Result, Tensor, bail};

use crate::host::float;
use crate::view::{contiguous, reshape, transpose};

/// Predictions `(classes,)`, `(n, classes)` or `(n, classes, d1, …)`.
pub(super) struct ClassShape {
    pub(super) classes: usize,
    pub(super) batch: usize,
    /// The shape without the classes: that of the losses and of class indices.
    pub(super) outer: Vec<usize>,
}

impl ClassShape {
    pub(super) fn new(name: &str, (what, prediction): (&str, &Tensor)) -> Result<Self> {
        float(name, (what, prediction))?;
        let mut outer = prediction.dims().to_vec();
        let dim = usize::from(outer.len() > 1);
        if matches!(outer.get(dim), None | Some(0)) {
            bail!(
                "{name} takes {what} (classes,) or (n, classes, …) of 1 class or more, got {:?}",
                prediction.shape()
            )
        }
        let classes = outer.remove(dim);
        Ok(Self {
            classes,
            batch: outer.first().copied().unwrap_or(1),
            outer,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.outer.iter().product()
    }

    /// `(rows, classes)`.
    pub(super) fn to_rows(&self, x: &Tensor) -> Result<Tensor> {
        if x.rank() < 3 {
            return contiguous(&reshape(x, (self.rows(), self.classes))?);
        }
        let inner = self.rows() / self.batch.max(1);
        let x = transpose(&reshape(x, (self.batch, self.classes, inner))?, 1, 2)?;
        reshape(&contiguous(&x)?, (self.rows(), self.classes))
    }

    /// The class of every row, `None` where it is ignored.
    pub(super) fn indices(
        &self,
        name: &str,
        targets: &Tensor,
        ignore_index: i64,
    ) -> Result<Vec<Option<u32>>> {
        if targets.dims() != self.outer || !targets.dtype().is_int() {
            bail!(
                "{name} of {} classes takes targets {:?} of an integer type, got {:?} of {:?}",
                self.classes,
                self.outer,
                targets.shape(),
                targets.dtype()
            )
        }
        let wide = targets.to_dtype(DType::I64)?.flatten_all()?;
        let read = |(row, class): (usize, i64)| match class {
            _ if class == ignore_index => Ok(None),
            _ if (0..self.classes as i64).contains(&class) => Ok(Some(class as u32)),
            _ => bail!(
                "{name} of {} classes got class {class} as target {:?}",
                self.classes,
                self.position(row)
            ),
        };
        wide.to_vec1::<i64>()?
            .into_iter()
            .enumerate()
            .map(read)
            .collect()
    }

    fn position(&self, mut row: usize) -> Vec<usize> {
        let mut position: Vec<usize> = self.outer.clone();
        for place in position.iter_mut().rev() {
            let size = *place;
            (*place, row) = (row % size, row / size);
        }
        position
    }

    /// One weight a class, 1 if none are given.
    pub(super) fn weights(&self, name: &str, weight: Option<&Tensor>) -> Result<Vec<f64>> {
        let Some(weight) = weight else {
            return Ok(vec![1.; self.classes]);
        };
        if weight.dims() != [self.classes] || !weight.dtype().is_float() {
            bail!(
                "{name} of {} classes takes weight (classes,) of a float type, got {:?} of {:?}",
                self.classes,
                weight.shape(),
                weight.dtype()
            )
        }
        constant(name, "weight", weight)?;
        weight.to_dtype(DType::F64)?.to_vec1()
    }
}

/// Refuses a tensor whose gradient would be lost.
pub(super) fn constant(name: &str, what: &str, x: &Tensor) -> Result<()> {
    match x.track_op() {
        true => bail!("{name} gives no gradient to {what}, which is tracked: detach it"),
        false => Ok(()),
    }
}
