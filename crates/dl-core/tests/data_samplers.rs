//! What samplers, buckets and splits promise, for any data.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use dl_core::data::{
    BatchSampler, ClassBalancedSampler, Collate, Concat, DataError, DataLoader, Dataset, Draw,
    HoldOut, LengthBuckets, OnError, Position, Sampler, StackTensors, Subset, TensorDataset,
    Transform, WeightedSampler, hold_out, k_fold, stratified_hold_out, stratified_k_fold,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn counts(indices: &[usize], len: usize) -> Vec<usize> {
    let mut counts = vec![0; len];
    indices.iter().for_each(|&index| counts[index] += 1);
    counts
}

fn spread(counts: &[usize]) -> usize {
    let most = counts.iter().max().unwrap_or(&0);
    most - counts.iter().min().unwrap_or(&0)
}

fn per_class(labels: &[u32], indices: &[usize]) -> BTreeMap<u32, usize> {
    let mut counts: BTreeMap<u32, usize> = labels.iter().map(|&label| (label, 0)).collect();
    let count = |&index: &usize| *counts.entry(labels[index]).or_default() += 1;
    indices.iter().for_each(count);
    counts
}

/// Every item is in one part, and both are ascending.
fn is_split(split: &HoldOut, len: usize) -> bool {
    let mut all = [split.train.clone(), split.held_out.clone()].concat();
    all.sort_unstable();
    all.into_iter().eq(0..len) && split.train.is_sorted() && split.held_out.is_sorted()
}

/// Every item is held out once, sizes differ by one at most.
fn are_folds(folds: &[HoldOut], len: usize) -> bool {
    let held: Vec<usize> = folds.iter().flat_map(|f| f.held_out.clone()).collect();
    let sizes: Vec<usize> = folds.iter().map(|f| f.held_out.len()).collect();
    folds.iter().all(|fold| is_split(fold, len))
        && counts(&held, len).iter().all(|&n| n == 1)
        && spread(&sizes) <= 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn folds_hold_every_item_out_once(len in 2..200usize, folds in 2..20usize, seed: u64) {
        prop_assume!(folds <= len);
        let split = k_fold(len, folds, seed).unwrap();
        prop_assert!(split.len() == folds && are_folds(&split, len));
        prop_assert_eq!(split, k_fold(len, folds, seed).unwrap());
    }

    #[test]
    fn stratified_folds_share_every_class_to_within_one_item(
        labels in vec(0..5u32, 2..200),
        folds in 2..10usize,
        seed: u64,
    ) {
        let Ok(split) = stratified_k_fold(&labels, folds, seed) else {
            let all: Vec<usize> = (0..labels.len()).collect();
            let largest = per_class(&labels, &all).into_values().max().unwrap();
            prop_assert!(largest < folds);
            return Ok(());
        };
        prop_assert!(split.len() == folds && are_folds(&split, labels.len()));
        let classes: Vec<_> = split.iter().map(|f| per_class(&labels, &f.held_out)).collect();
        for class in classes[0].keys() {
            let numbers: Vec<usize> = classes.iter().map(|c| c[class]).collect();
            prop_assert!(spread(&numbers) <= 1, "{class}: {numbers:?}");
        }
    }

    #[test]
    fn a_hold_out_has_its_share_and_every_class_within_one_item(
        labels in vec(0..4u32, 2..200),
        share in 0.01..0.99f64,
        seed: u64,
    ) {
        let held = (share * labels.len() as f64 - 1e-9).ceil() as usize;
        if let Ok(split) = hold_out(labels.len(), share, seed) {
            prop_assert!(is_split(&split, labels.len()) && split.held_out.len() == held);
        }
        if let Ok(split) = stratified_hold_out(&labels, share, seed) {
            prop_assert!(is_split(&split, labels.len()) && split.held_out.len() == held);
            prop_assert!(per_class(&labels, &split.train).into_values().all(|n| n > 0));
        }
    }

    #[test]
    fn balanced_classes_and_their_items_differ_by_one_draw_at_most(
        labels in vec(0..6u32, 1..80),
        samples in 0..300usize,
        seed: u64,
        epoch in 0..1000u64,
    ) {
        let sampler = ClassBalancedSampler::new(&labels, samples);
        let drawn = sampler.indices(seed, epoch);
        prop_assert_eq!(drawn.len(), samples);
        let classes = per_class(&labels, &drawn);
        let of_classes: Vec<usize> = classes.values().copied().collect();
        prop_assert!(spread(&of_classes) <= 1, "{of_classes:?}");
        let items = counts(&drawn, labels.len());
        for class in classes.keys() {
            let of_class = (0..labels.len()).filter(|&i| labels[i] == *class);
            let of_class: Vec<usize> = of_class.map(|i| items[i]).collect();
            prop_assert!(spread(&of_class) <= 1, "{of_class:?}");
        }
        prop_assert_eq!(drawn, sampler.indices(seed, epoch));
    }

    #[test]
    fn items_of_no_weight_are_never_drawn_and_others_once_without_replacement(
        weights in vec(prop_oneof![Just(0.), 1e-12..1e12f64], 1..60),
        samples in 0..200usize,
        seed: u64,
        epoch: u64,
    ) {
        let drawable = weights.iter().filter(|w| **w > 0.).count();
        let sampler = WeightedSampler::new(weights.clone(), samples);
        prop_assert_eq!(sampler.is_ok(), drawable > 0 || samples == 0);
        if let Ok(sampler) = sampler {
            let drawn = sampler.indices(seed, epoch);
            prop_assert!(drawn.len() == samples && drawn.iter().all(|&i| weights[i] > 0.));
        }
        let sampler = WeightedSampler::without_replacement(weights.clone(), samples);
        prop_assert_eq!(sampler.is_ok(), samples <= drawable);
        if let Ok(sampler) = sampler {
            let drawn = sampler.indices(seed, epoch);
            prop_assert!(drawn.len() == samples && drawn.iter().all(|&i| weights[i] > 0.));
            prop_assert!(counts(&drawn, weights.len()).iter().all(|&n| n <= 1));
        }
    }

    #[test]
    fn buckets_show_every_item_once_among_items_of_its_length(
        lengths in vec(0..100usize, 0..150),
        boundaries in proptest::collection::btree_set(0..100usize, 0..6),
        most in 1..200usize,
        by_tokens: bool,
        seed: u64,
        epoch: u64,
    ) {
        let boundaries: Vec<usize> = boundaries.into_iter().collect();
        let buckets = match by_tokens {
            true => LengthBuckets::by_tokens(&lengths, &boundaries, most),
            false => LengthBuckets::new(&lengths, &boundaries, most),
        }
        .unwrap();
        let batches = buckets.batches(seed, epoch);
        prop_assert_eq!(batches.len(), buckets.len());
        prop_assert!(counts(&batches.concat(), lengths.len()).iter().all(|&n| n == 1));
        for batch in &batches {
            let bucket = |&index: &usize| boundaries.iter().filter(|&&b| b < lengths[index]).count();
            prop_assert!(batch.iter().all(|index| bucket(index) == bucket(&batch[0])));
            let longest = batch.iter().map(|&index| lengths[index]).max().unwrap();
            let size = if by_tokens { batch.len() * longest } else { batch.len() };
            prop_assert!(size <= most || batch.len() == 1, "{size} above {most}");
        }
        prop_assert_eq!(batches, buckets.batches(seed, epoch));
    }

    #[test]
    fn joined_data_sets_are_their_parts_in_order(sizes in vec(0..5usize, 0..8)) {
        let mut first = 0;
        let parts = sizes.iter().map(|&size| {
            first += size as u32;
            numbers(first - size as u32..first)
        });
        let all = Concat::new(parts.collect());
        let came = (0..all.len()).map(|i| value(&all.get(i).unwrap()));
        prop_assert!(came.eq(0..sizes.iter().sum::<usize>() as u32));
        let error = all.get(all.len()).unwrap_err();
        let is_range = matches!(error, DataError::OutOfRange { .. });
        prop_assert!(is_range, "{error}");
    }
}

fn numbers(range: std::ops::Range<u32>) -> TensorDataset {
    let n = range.len();
    let x = Tensor::from_vec(range.collect::<Vec<u32>>(), n, &Device::Cpu).unwrap();
    TensorDataset::new(x.clone(), x).unwrap()
}

fn value(pair: &(Tensor, Tensor)) -> u32 {
    pair.0.to_scalar().unwrap()
}

/// A chi-squared test over 20 epochs of 1,000 draws; weights a thousandfold apart.
#[test]
fn draws_follow_the_weights() {
    let weights = vec![1., 10., 100., 1000., 0., 889.];
    let sampler = WeightedSampler::new(weights.clone(), 1000).unwrap();
    let drawn: Vec<usize> = (0..20)
        .flat_map(|epoch| sampler.indices(3, epoch))
        .collect();
    let chi_squared: f64 = (counts(&drawn, 6).iter().zip(&weights))
        .filter(|(_, weight)| **weight > 0.)
        .map(|(&count, weight)| {
            let expected = weight / 2000. * 20_000.;
            (count as f64 - expected).powi(2) / expected
        })
        .sum();
    // Four degrees of freedom: 18.5 is exceeded once in a thousand.
    assert!(chi_squared < 18.5, "{chi_squared}");
    assert_ne!(sampler.indices(3, 0), sampler.indices(3, 1));
    assert_ne!(sampler.indices(3, 0), sampler.indices(4, 0));
}

/// Two of the weights 1, 2, 3: the chance of a pair is that of drawing one, then one of the others.
#[test]
fn draws_without_replacement_are_those_of_one_draw_after_the_other() {
    let sampler = WeightedSampler::without_replacement(vec![1., 2., 3.], 2).unwrap();
    let n = 20_000;
    let mut seen = BTreeMap::<Vec<usize>, f64>::new();
    for epoch in 0..n {
        *seen.entry(sampler.indices(1, epoch)).or_default() += 1.;
    }
    let w = [1., 2., 3.];
    let chi_squared: f64 = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
        .map(|(i, j)| {
            let expected = n as f64 * w[i] / 6. * w[j] / (6. - w[i]);
            (seen[&vec![i, j]] - expected).powi(2) / expected
        })
        .iter()
        .sum();
    // Five degrees of freedom: 20.5 is exceeded once in a thousand.
    assert!(chi_squared < 20.5, "{chi_squared}");
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let refused = |error: DataError, wanted: &str| {
        assert!(error.to_string().starts_with(wanted), "{error}");
    };
    for weight in [-1., f64::NAN, f64::INFINITY] {
        let error = WeightedSampler::new(vec![1., weight], 1).unwrap_err();
        refused(
            error,
            "the weight of an item must be finite and at least 0, came",
        );
    }
    refused(
        WeightedSampler::new(vec![f64::MAX, f64::MAX], 1).unwrap_err(),
        "the weights of a sampler must be above 0",
    );
    refused(
        LengthBuckets::new(&[1], &[3, 3], 1).unwrap_err(),
        "the boundaries of length buckets must be ascending, came 3 before 3",
    );
    refused(
        LengthBuckets::new(&[1], &[], 0).unwrap_err(),
        "the batch size of length buckets must be above 0, came 0",
    );
    for (len, folds) in [(10, 0), (10, 1), (3, 4), (0, 2)] {
        refused(
            k_fold(len, folds, 0).unwrap_err(),
            "the number of folds must be at least 2",
        );
    }
    refused(
        stratified_k_fold(&[0, 1, 2], 2, 0).unwrap_err(),
        "the number of folds must be no more than the largest class has items, came 2 for a class of 1",
    );
    assert!(ClassBalancedSampler::new(&[], 5).is_empty());
}

/// Replaces the input by a random number.
struct Random;

impl Transform<(Tensor, Tensor)> for Random {
    fn apply(
        &self,
        pair: (Tensor, Tensor),
        draw: &mut Draw,
    ) -> Result<(Tensor, Tensor), DataError> {
        Ok((Tensor::new(draw.uniform(), &Device::Cpu)?, pair.1))
    }
}

type Rows = Vec<(Vec<f32>, Vec<u32>)>;

fn rows(loader: &DataLoader<TensorDataset, StackTensors>, position: Position) -> Rows {
    let batches = loader.batches(position).unwrap().map(Result::unwrap);
    batches
        .map(|(x, y)| (x.to_vec1().unwrap(), y.to_vec1().unwrap()))
        .collect()
}

/// Of each kind: in order, shuffled, with repetitions, in batches of different sizes.
fn loaders(workers: usize) -> Vec<DataLoader<TensorDataset, StackTensors>> {
    let labels: Vec<u32> = (0..23).map(|n| u32::from(n < 3)).collect();
    let lengths: Vec<usize> = (0..23).map(|n| n * 7 % 23).collect();
    let loader = || {
        DataLoader::new(numbers(0..23), StackTensors)
            .transform(Random)
            .batch_size(4)
            .seed(9)
            .workers(workers)
    };
    vec![
        loader(),
        loader().shuffle(true),
        loader().sampler(ClassBalancedSampler::new(&labels, 40)),
        loader()
            .sampler(WeightedSampler::new(vec![1.; 23], 30).unwrap())
            .drop_last(true),
        loader().batch_sampler(LengthBuckets::by_tokens(&lengths, &[5, 12], 30).unwrap()),
    ]
}

#[test]
fn samplers_give_the_same_bits_for_any_number_of_workers_from_any_batch() {
    for (n, alone) in loaders(0).iter().enumerate() {
        let whole = rows(alone, Position { epoch: 2, batch: 0 });
        assert_eq!(whole.len(), alone.len());
        for workers in [1, 3] {
            for batch in 0..=whole.len() {
                let at = Position {
                    epoch: 2,
                    batch: batch as u64,
                };
                let rest = rows(&loaders(workers)[n], at);
                assert_eq!(
                    rest,
                    whole[batch..],
                    "loader {n}, {workers} workers, batch {batch}"
                );
            }
        }
    }
}

#[test]
fn the_indices_of_a_position_are_those_of_its_batch() {
    for loader in loaders(0) {
        let start = Position { epoch: 5, batch: 0 };
        for (batch, (_, y)) in (0..).zip(rows(&loader, start)) {
            let indices = loader.indices(Position { batch, ..start }).unwrap();
            assert!(y.into_iter().map(|y| y as usize).eq(indices));
        }
        let batch = loader.len() as u64;
        let error = loader.indices(Position { batch, ..start }).unwrap_err();
        assert!(matches!(error, DataError::Position { .. }));
    }
}

#[test]
fn an_item_that_a_sampler_repeats_is_transformed_differently_each_time() {
    let loader = DataLoader::new(numbers(0..1), StackTensors)
        .transform(Random)
        .batch_size(50)
        .sampler(WeightedSampler::new(vec![1.], 50).unwrap());
    let start = Position::default();
    let mut drawn = rows(&loader, start).remove(0).0;
    // The first time it has the numbers that it has without a sampler.
    assert_eq!(drawn[0], Draw::new(0, 0, 0).uniform());
    drawn.sort_by(f32::total_cmp);
    drawn.dedup();
    assert_eq!(drawn.len(), 50);
}

/// Says four and gives what it is told to.
struct Liar(Vec<usize>);

impl Sampler for Liar {
    fn len(&self) -> usize {
        4
    }

    fn indices(&self, _: u64, _: u64) -> Vec<usize> {
        self.0.clone()
    }
}

#[test]
fn a_sampler_that_breaks_its_word_is_an_error() {
    let error = |indices| {
        let loader = DataLoader::new(numbers(0..5), StackTensors).sampler(Liar(indices));
        loader.epoch(0).err().unwrap().to_string()
    };
    assert_eq!(
        error(vec![0, 1]),
        "the sampler gave 2 items, its `len` says 4"
    );
    assert_eq!(
        error(vec![0, 1, 2, 5]),
        "item 5 was asked of a data set of 5 items"
    );
}

struct List;

impl Collate<u32> for List {
    type Batch = Vec<u32>;

    fn collate(&self, items: Vec<u32>) -> Result<Vec<u32>, DataError> {
        Ok(items)
    }
}

/// 0 to 9, of which 7 is refused.
fn refusing() -> impl Dataset<Item = u32> {
    numbers(0..10).map(|pair| match value(&pair) {
        7 => Err(DataError::Other("seven is no number".into())),
        n => Ok(n),
    })
}

#[test]
fn a_mapped_item_that_is_refused_is_named_or_skipped() {
    for workers in [0, 2] {
        let loader = || {
            DataLoader::new(refusing(), List)
                .batch_size(5)
                .workers(workers)
        };
        let error = loader().epoch(0).unwrap().nth(1).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "item 7 (#7): seven is no number");
        let loader = loader().on_error(OnError::Skip);
        let mut batches = loader.epoch(0).unwrap();
        assert_eq!(batches.nth(1).unwrap().unwrap(), [5, 6, 8, 9]);
        assert_eq!(batches.skipped().len(), 1);
    }
}

#[test]
fn a_filter_keeps_what_it_is_told_and_names_what_cannot_be_read() {
    let kept = numbers(0..10)
        .filter(|pair| value(pair).is_multiple_of(3))
        .unwrap();
    assert_eq!(kept.indices(), [0, 3, 6, 9]);
    assert_eq!(value(&kept.get(2).unwrap()), 6);
    let error = refusing().filter(|_| true).err().unwrap();
    assert_eq!(error.to_string(), "item 7 (#7): seven is no number");
}

#[test]
fn combinators_go_together_and_keep_the_names_of_the_items() {
    let even = numbers(0..6)
        .filter(|pair| value(pair).is_multiple_of(2))
        .unwrap();
    let odd = Subset::new(numbers(0..6), vec![5, 3]).unwrap();
    let parts: Vec<Box<dyn Dataset<Item = u32>>> = vec![
        Box::new(even.map(|pair| Ok(value(&pair)))),
        Box::new(odd.map(|pair| Ok(value(&pair) * 10))),
    ];
    let all = Concat::new(parts);
    let came: Vec<u32> = (0..5).map(|i| all.get(i).unwrap()).collect();
    assert_eq!(came, [0, 2, 4, 50, 30]);
    assert_eq!(
        (all.name(2), all.name(3), all.name(9)),
        ("#4".into(), "#5".into(), "#9".into())
    );
}
