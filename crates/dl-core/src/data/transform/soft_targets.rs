//! Targets between classes.

use candle_core::{DType, Tensor};

use crate::data::DataError;

/// Shares of each class, `f32 (b, classes)`: of class indices `u32 (b,)`, or of shares as they are.
pub(super) fn soft_targets(targets: &Tensor, classes: usize) -> Result<Tensor, DataError> {
    match targets.dims() {
        [_, n] if targets.dtype().is_float() && *n == classes => Ok(targets.to_dtype(DType::F32)?),
        [_] if targets.dtype().is_int() => one_hot(targets, classes),
        dims => Err(DataError::Option {
            option: "the targets of a mixed batch",
            wanted: "integers (b,) or floats (b, classes)",
            came: format!("{:?} {dims:?} for {classes} classes", targets.dtype()),
        }),
    }
}

fn one_hot(targets: &Tensor, classes: usize) -> Result<Tensor, DataError> {
    let labels = targets.to_dtype(DType::I64)?.to_vec1::<i64>()?;
    let mut shares = vec![0f32; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        match usize::try_from(*label) {
            Ok(label) if label < classes => shares[row * classes + label] = 1.0,
            _ => {
                return Err(DataError::Option {
                    option: "the targets of a mixed batch",
                    wanted: "classes below the number of classes",
                    came: format!("{label} of {classes} at {row}"),
                });
            }
        }
    }
    Ok(Tensor::from_vec(
        shares,
        (labels.len(), classes),
        targets.device(),
    )?)
}

/// `λ a + (1 − λ) b`
pub(super) fn blend(a: &Tensor, b: &Tensor, lambda: f64) -> Result<Tensor, DataError> {
    Ok(((a * lambda)? + (b * (1.0 - lambda))?)?)
}

/// The batch in another order, by its first dimension.
pub(super) fn reordered(batch: &Tensor, order: &[usize]) -> Result<Tensor, DataError> {
    let order: Vec<u32> = order.iter().map(|&row| row as u32).collect();
    let order = Tensor::from_vec(order, batch.dim(0)?, batch.device())?;
    Ok(batch.index_select(&order, 0)?)
}

/// Refuses what no beta distribution has.
pub(super) fn check_alpha(option: &'static str, alpha: f64) -> Result<(), DataError> {
    match alpha.is_finite() && alpha > 0.0 {
        true => Ok(()),
        false => Err(DataError::Option {
            option,
            wanted: "finite and above 0",
            came: alpha.to_string(),
        }),
    }
}
