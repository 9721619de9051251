//! Splits for cross-validation.

use dl_autograd::{Purpose, Rng};

use super::split::{by_class, parted};
use super::{DataError, HoldOut};

/// Splits `len` items into `folds` parts at random, each of which is held out once.
///
/// The sizes of the parts differ by one item at most. Fails unless `folds` is in `2..=len`.
///
/// ```
/// use dl_core::data::k_fold;
/// let folds = k_fold(10, 3, 42)?;
/// let sizes: Vec<usize> = folds.iter().map(|fold| fold.held_out.len()).collect();
/// assert_eq!(sizes, [4, 3, 3]);
/// assert_eq!(folds[0].train.len(), 6);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
pub fn k_fold(len: usize, folds: usize, seed: u64) -> Result<Vec<HoldOut>, DataError> {
    check(len, folds)?;
    let order = Rng::new(seed, Purpose::Split, 0).permutation(len);
    Ok(dealt(&order, folds))
}

/// Splits as [`k_fold`] does, so that every fold has its share of every class.
///
/// The sizes of the parts, and the numbers of each class in them, differ by one item at most. A class
/// of fewer items than `folds` is held out in some of them only. Fails unless `folds` is in `2..=len`,
/// and when no class has an item for every fold, as scikit-learn does.
///
/// ```
/// use dl_core::data::stratified_k_fold;
/// let labels = [0, 0, 0, 0, 1, 1];
/// for fold in stratified_k_fold(&labels, 2, 42)? {
///     let ones = fold.held_out.iter().filter(|&&index| labels[index] == 1);
///     assert_eq!(ones.count(), 1);
/// }
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
pub fn stratified_k_fold(
    labels: &[u32],
    folds: usize,
    seed: u64,
) -> Result<Vec<HoldOut>, DataError> {
    check(labels.len(), folds)?;
    let mut order = Vec::with_capacity(labels.len());
    let mut largest = 0;
    for (class, members) in (0u64..).zip(by_class(labels).into_values()) {
        let rng = Rng::new(seed, Purpose::Split, 1 + class);
        let shuffled = rng.permutation(members.len());
        order.extend(shuffled.into_iter().map(|at| members[at]));
        largest = largest.max(members.len());
    }
    if largest < folds {
        return Err(DataError::Option {
            option: "the number of folds",
            wanted: "no more than the largest class has items",
            came: format!("{folds} for a class of {largest}"),
        });
    }
    Ok(dealt(&order, folds))
}

fn check(len: usize, folds: usize) -> Result<(), DataError> {
    match folds {
        2.. if folds <= len => Ok(()),
        _ => Err(DataError::Option {
            option: "the number of folds",
            wanted: "at least 2 and no more than there are items",
            came: format!("{folds} for {len} items"),
        }),
    }
}

/// Deals the items to the folds in turn: consecutive ones, such as those of a class, spread evenly.
fn dealt(order: &[usize], folds: usize) -> Vec<HoldOut> {
    let held = |fold| -> Vec<usize> { order.iter().copied().skip(fold).step_by(folds).collect() };
    (0..folds)
        .map(|fold| parted(order.len(), &held(fold)))
        .collect()
}
