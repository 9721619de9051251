//! Parts of a data set: held out, stratified, or the first few of each class.

use std::collections::BTreeMap;

use dl_autograd::{Purpose, Rng};

use super::DataError;

/// The two parts of a split, as indices in ascending order; pass them to [`Subset`](super::Subset).
///
/// ```
/// use dl_core::data::hold_out;
/// let split = hold_out(10, 0.25, 42)?;
/// assert_eq!((split.train.len(), split.held_out.len()), (7, 3));
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldOut {
    /// What to train on.
    pub train: Vec<usize>,
    /// What to evaluate on.
    pub held_out: Vec<usize>,
}

/// Holds out a random `share` of `len` items, `⌈share · len⌉` as scikit-learn does.
///
/// Fails unless `share` is in `(0, 1)` and both parts get an item.
pub fn hold_out(len: usize, share: f64, seed: u64) -> Result<HoldOut, DataError> {
    let held = held_count(len, share)?;
    let order = Rng::new(seed, Purpose::Split, 0).permutation(len);
    Ok(parted(len, &order[..held]))
}

/// Holds out a random `share` of the items so that every class keeps its share.
///
/// The `⌈share · len⌉` held-out items are dealt to the classes by largest remainder, the lower class
/// first where remainders tie; a class never loses its last item, so a class with one item is
/// trained on only. Fails as [`hold_out`] does, and when every class has one item.
pub fn stratified_hold_out(labels: &[u32], share: f64, seed: u64) -> Result<HoldOut, DataError> {
    let held = held_count(labels.len(), share)?;
    let classes: Vec<Vec<usize>> = by_class(labels).into_values().collect();
    let quotas = deal(&classes, held)?;
    let mut chosen = Vec::with_capacity(held);
    for (class, (members, quota)) in classes.iter().zip(quotas).enumerate() {
        let rng = Rng::new(seed, Purpose::Split, 1 + class as u64);
        let order = rng.permutation(members.len());
        chosen.extend(order[..quota].iter().map(|&i| members[i]));
    }
    Ok(parted(labels.len(), &chosen))
}

/// The indices of the first `max_samples` items, dealt to the classes in turn so that none is left out.
///
/// ```
/// use dl_core::data::first_per_class;
/// assert_eq!(first_per_class(&[0, 0, 0, 1, 1, 2], 5), [0, 1, 3, 4, 5]);
/// ```
pub fn first_per_class(labels: &[u32], max_samples: usize) -> Vec<usize> {
    let classes = by_class(labels);
    let longest = classes.values().map(Vec::len).max().unwrap_or(0);
    let rounds = (0..longest).flat_map(|round| {
        let of_round = move |members: &Vec<usize>| members.get(round).copied();
        classes.values().filter_map(of_round)
    });
    let mut chosen: Vec<usize> = rounds.take(max_samples).collect();
    chosen.sort_unstable();
    chosen
}

fn held_count(len: usize, share: f64) -> Result<usize, DataError> {
    if !(share > 0.0 && share < 1.0) {
        return Err(DataError::Option {
            option: "the held-out share",
            wanted: "in (0, 1)",
            came: share.to_string(),
        });
    }
    // 0.15 · 100 is 15.000000000000002 in f64, and that is meant to be 15.
    let held = (share * len as f64 - 1e-9).ceil() as usize;
    if held == 0 || held >= len {
        return Err(DataError::Option {
            option: "the held-out share",
            wanted: "such that both parts get an item",
            came: format!("{share} of {len} items"),
        });
    }
    Ok(held)
}

/// The items of each class, ascending.
pub(super) fn by_class(labels: &[u32]) -> BTreeMap<u32, Vec<usize>> {
    let mut classes = BTreeMap::<u32, Vec<usize>>::new();
    for (index, &label) in labels.iter().enumerate() {
        classes.entry(label).or_default().push(index);
    }
    classes
}

/// How many of each class are held out: whole shares first, then by largest remainder.
fn deal(classes: &[Vec<usize>], held: usize) -> Result<Vec<usize>, DataError> {
    let len: usize = classes.iter().map(Vec::len).sum();
    let whole = |members: &Vec<usize>| (members.len() as u128 * held as u128, len as u128);
    let mut quotas: Vec<usize> = (classes.iter().map(whole))
        .zip(classes)
        .map(|((share, len), members)| ((share / len) as usize).min(members.len() - 1))
        .collect();
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.sort_by_key(|&c| {
        let (share, len) = whole(&classes[c]);
        std::cmp::Reverse(share % len)
    });
    let mut left = held - quotas.iter().sum::<usize>();
    while left > 0 {
        let before = left;
        for &c in &order {
            if left > 0 && quotas[c] + 1 < classes[c].len() {
                quotas[c] += 1;
                left -= 1;
            }
        }
        if left == before {
            return Err(DataError::Option {
                option: "the held-out share",
                wanted: "such that every class keeps an item to train on",
                came: format!("{held} of {len} items in {} classes", classes.len()),
            });
        }
    }
    Ok(quotas)
}

pub(super) fn parted(len: usize, chosen: &[usize]) -> HoldOut {
    let mut is_held = vec![false; len];
    chosen.iter().for_each(|&i| is_held[i] = true);
    let (held_out, train) = (0..len).partition(|&i| is_held[i]);
    HoldOut { train, held_out }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// 60, 30 and 10 items: the classes of a skewed set, none of whose shares is whole at 15 %.
    fn skewed() -> Vec<u32> {
        (0..100)
            .map(|i| [0, 0, 0, 0, 0, 0, 1, 1, 1, 2][i % 10])
            .collect()
    }

    fn counts(labels: &[u32], indices: &[usize]) -> [usize; 3] {
        let count = |class| indices.iter().filter(|&&i| labels[i] == class).count();
        [count(0), count(1), count(2)]
    }

    #[test]
    fn a_split_holds_every_item_once_and_depends_on_the_seed_alone() {
        let split = hold_out(100, 0.15, 7).unwrap();
        assert_eq!(split.held_out.len(), 15);
        let mut all = [split.train.clone(), split.held_out.clone()].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..100));
        assert_eq!(split, hold_out(100, 0.15, 7).unwrap());
        assert_ne!(split, hold_out(100, 0.15, 8).unwrap());
    }

    #[test]
    fn a_stratified_split_gives_each_class_its_share_by_largest_remainder() {
        let labels = skewed();
        let split = stratified_hold_out(&labels, 0.15, 7).unwrap();
        // Shares 9, 4.5 and 1.5; the fifteenth item goes to the lower of the classes that tie.
        assert_eq!(counts(&labels, &split.held_out), [9, 5, 1]);
        assert_eq!(counts(&labels, &split.train), [51, 25, 9]);
    }

    #[test]
    fn a_class_never_loses_its_last_item() {
        let split = stratified_hold_out(&[0, 0, 0, 1], 0.75, 0).unwrap_err();
        assert!(split.to_string().contains("every class keeps an item"));
        let split = stratified_hold_out(&[0, 0, 0, 1], 0.5, 0).unwrap();
        assert!(split.train.contains(&3));
    }

    #[test]
    fn shares_that_leave_a_part_empty_are_refused() {
        for (len, share) in [
            (10, 0.0),
            (10, 1.0),
            (10, f64::NAN),
            (1, 0.5),
            (0, 0.5),
            (3, 0.9),
        ] {
            assert!(hold_out(len, share, 0).is_err(), "{share} of {len}");
        }
    }

    #[test]
    fn the_first_of_each_class_are_chosen_in_turn() {
        let labels = skewed();
        let chosen = first_per_class(&labels, 9);
        assert_eq!(counts(&labels, &chosen), [3, 3, 3]);
        assert_eq!(first_per_class(&labels, 1000).len(), 100);
        assert!(first_per_class(&[], 5).is_empty());
    }
}
