//! The loader gives the same batches however it is run, and says what went wrong.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use candle_core::Tensor;
use dl_core::data::{
    Collate, Compose, DataError, DataLoader, Dataset, Image, Normalize, OnError, Position,
    RandomHorizontalFlip, RandomResizedCrop, Sample, SampleDataset, StackImages, StackTensors,
    TensorDataset,
};

/// 23 images, a prime, so that no batch size but 1 divides it.
fn images() -> SampleDataset {
    let sample = |n: usize| {
        let pixels = (0..12 * 10 * 3)
            .map(|i| ((i * 7 + n * 31) % 256) as u8)
            .collect();
        Sample {
            image: Image::new(12, 10, 3, pixels).unwrap(),
            label: n as u32 % 4,
            source: format!("image {n}"),
        }
    };
    let names = (0..4).map(|class| class.to_string()).collect();
    SampleDataset::new((0..23).map(sample).collect(), names).unwrap()
}

fn augmented(workers: usize) -> DataLoader<SampleDataset, StackImages> {
    let crop = RandomResizedCrop {
        height: 6,
        width: 6,
        ..Default::default()
    };
    let transform = Compose::new()
        .then(crop)
        .then(RandomHorizontalFlip::default());
    DataLoader::new(images(), StackImages::new(Normalize::imagenet()))
        .transform(transform)
        .batch_size(4)
        .shuffle(true)
        .seed(42)
        .workers(workers)
}

type Bits = (Vec<u32>, Vec<u32>);

fn bits(batch: Result<(Tensor, Tensor), DataError>) -> Bits {
    let (images, labels) = batch.unwrap();
    let values: Vec<f32> = images.flatten_all().unwrap().to_vec1().unwrap();
    let values = values.into_iter().map(f32::to_bits).collect();
    (values, labels.to_vec1().unwrap())
}

fn epoch(loader: &DataLoader<SampleDataset, StackImages>, epoch: u64) -> Vec<Bits> {
    loader.epoch(epoch).unwrap().map(bits).collect()
}

#[test]
fn batches_have_the_same_bits_for_any_number_of_workers() {
    let alone = epoch(&augmented(0), 0);
    assert_eq!(alone.len(), 6);
    for (workers, prefetch) in [(1, 1), (1, 9), (3, 1), (3, 2), (16, 2)] {
        let loader = augmented(workers).prefetch(prefetch);
        assert_eq!(epoch(&loader, 0), alone, "{workers} workers");
    }
    assert_ne!(epoch(&augmented(0), 1), alone);
    assert_ne!(epoch(&augmented(0).seed(43), 0), alone);
}

#[test]
fn a_saved_position_goes_on_with_the_same_bits_at_every_batch() {
    for workers in [0, 2] {
        let loader = augmented(workers);
        let whole = epoch(&loader, 7);
        for stop in 0..=whole.len() {
            let mut batches = loader.epoch(7).unwrap();
            assert!(
                batches
                    .by_ref()
                    .take(stop)
                    .map(bits)
                    .eq(whole[..stop].iter().cloned())
            );
            let saved = serde_json::to_string(&batches.position()).unwrap();
            drop(batches);
            let position: Position = serde_json::from_str(&saved).unwrap();
            assert_eq!(
                position,
                Position {
                    epoch: 7,
                    batch: stop as u64
                }
            );
            let rest = augmented(workers).batches(position).unwrap().map(bits);
            assert!(
                rest.eq(whole[stop..].iter().cloned()),
                "{workers} workers, batch {stop}"
            );
        }
    }
    let beyond = Position { epoch: 7, batch: 7 };
    let error = augmented(0).batches(beyond).err().unwrap().to_string();
    assert!(
        error.starts_with("the position is batch 7 of an epoch of 6 batches"),
        "{error}"
    );
}

fn numbers(n: u32) -> TensorDataset {
    let x = Tensor::arange(0u32, n, &candle_core::Device::Cpu).unwrap();
    TensorDataset::new(x.clone(), x).unwrap()
}

#[test]
fn an_epoch_shows_every_item_once_in_an_order_of_its_own() {
    let loader = DataLoader::new(numbers(101), StackTensors)
        .batch_size(8)
        .shuffle(true);
    let items = |epoch| -> Vec<u32> {
        let batches = loader.epoch(epoch).unwrap();
        batches
            .flat_map(|b| b.unwrap().0.to_vec1::<u32>().unwrap())
            .collect()
    };
    let (first, second) = (items(0), items(1));
    assert_ne!(first, second);
    for mut order in [first, second] {
        order.sort_unstable();
        assert!(order.into_iter().eq(0..101));
    }
}

#[test]
fn the_last_batch_is_kept_or_dropped() {
    for (n, drop_last, sizes) in [
        (10, false, vec![4, 4, 2]),
        (10, true, vec![4, 4]),
        (8, false, vec![4, 4]),
        (3, true, vec![]),
        (3, false, vec![3]),
    ] {
        let loader = DataLoader::new(numbers(n), StackTensors)
            .batch_size(4)
            .drop_last(drop_last);
        let came: Vec<usize> = (loader.epoch(0).unwrap())
            .map(|batch| batch.unwrap().0.dims()[0])
            .collect();
        assert_eq!(
            (came, loader.len()),
            (sizes.clone(), sizes.len()),
            "{n} {drop_last}"
        );
    }
    let none = DataLoader::new(numbers(4), StackTensors).batch_size(0);
    let error = none.epoch(0).err().unwrap();
    assert_eq!(error.to_string(), "batch_size must be above 0, came 0");
}

/// Numbers, of which 5 fails and 11 panics; counts what was asked for.
struct Faulty {
    asked: Arc<AtomicUsize>,
    pause: Duration,
}

impl Dataset for Faulty {
    type Item = usize;

    fn len(&self) -> usize {
        20
    }

    fn get(&self, index: usize) -> Result<usize, DataError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.pause);
        match index {
            5 => Err(DataError::TruncatedJpeg {
                name: self.name(5),
                bytes: 3,
            }),
            11 => panic!("a bug at {index}"),
            _ => Ok(index),
        }
    }

    fn name(&self, index: usize) -> String {
        format!("pets/{index}.jpg")
    }
}

struct List;

impl Collate<usize> for List {
    type Batch = Vec<usize>;

    fn collate(&self, items: Vec<usize>) -> Result<Vec<usize>, DataError> {
        Ok(items)
    }
}

fn faulty(workers: usize) -> DataLoader<Faulty, List> {
    let faulty = Faulty {
        asked: Arc::default(),
        pause: Duration::ZERO,
    };
    DataLoader::new(faulty, List).batch_size(4).workers(workers)
}

#[test]
fn a_failing_item_stops_the_epoch_and_is_named() {
    for workers in [0, 1, 3] {
        let mut batches = faulty(workers).epoch(0).unwrap();
        assert_eq!(batches.next().unwrap().unwrap(), [0, 1, 2, 3]);
        let error = batches.next().unwrap().unwrap_err().to_string();
        assert!(
            error.starts_with("item 5 (pets/5.jpg): cannot decode"),
            "{error}"
        );
        // Gone on from here, the run meets the bad item again instead of missing its neighbours.
        assert_eq!(batches.position().batch, 1);
        assert!(batches.next().is_none());
    }
}

#[test]
fn a_panic_is_an_error_that_names_its_item() {
    for workers in [0, 1, 3] {
        let start = Position { epoch: 0, batch: 2 };
        let mut batches = faulty(workers).batches(start).unwrap();
        let error = batches.next().unwrap().unwrap_err().to_string();
        assert_eq!(error, "item 11 (pets/11.jpg): panicked: a bug at 11");
    }
}

#[test]
fn skipped_items_are_left_out_counted_and_named() {
    for workers in [0, 1, 3] {
        let loader = faulty(workers).on_error(OnError::Skip);
        let mut batches = loader.epoch(0).unwrap();
        let came: Vec<Vec<usize>> = batches.by_ref().map(Result::unwrap).collect();
        let sizes: Vec<usize> = came.iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 3, 3, 4, 4]);
        assert!(!came.concat().contains(&5) && !came.concat().contains(&11));
        let names: Vec<String> = batches.skipped().iter().map(|e| e.to_string()).collect();
        assert_eq!(names.len(), 2);
        assert!(names[0].contains("pets/5.jpg") && names[1].contains("pets/11.jpg"));
    }
}

#[test]
fn a_batch_of_skipped_items_is_passed_over() {
    for workers in [0, 3] {
        let loader = faulty(workers).batch_size(1).on_error(OnError::Skip);
        let mut batches = loader.epoch(0).unwrap();
        assert_eq!(batches.by_ref().count(), 18);
        assert_eq!(batches.position().batch, 20);
    }
}

#[test]
fn items_of_different_shapes_do_not_make_a_batch() {
    let sample = |n: usize| Sample {
        image: Image::new(n, 2, 1, vec![0; 2 * n]).unwrap(),
        label: 0,
        source: format!("{n}.png"),
    };
    let data = SampleDataset::new(vec![sample(2), sample(3)], vec!["a".into()]).unwrap();
    let loader = DataLoader::new(data, StackImages::new(Normalize::unit()))
        .batch_size(2)
        .workers(1);
    let error = loader
        .epoch(0)
        .unwrap()
        .next()
        .unwrap()
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("3.png has shape [1, 3, 2], but the batch began with [1, 2, 2]"));
}

#[test]
fn dropping_an_epoch_ends_its_threads_without_reading_on() {
    let asked = Arc::new(AtomicUsize::new(0));
    let pause = Duration::from_millis(20);
    let data = Arc::new(Faulty {
        asked: Arc::clone(&asked),
        pause,
    });
    let loader = DataLoader::new(Arc::clone(&data), List)
        .batch_size(4)
        .workers(2);
    let mut batches = loader.epoch(0).unwrap();
    batches.next().unwrap().unwrap();
    drop(batches);
    drop(loader);
    // Every thread held the data set; that ours is the last hold proves that they have ended.
    assert_eq!(Arc::strong_count(&data), 1);
    let at_drop = asked.load(Ordering::SeqCst);
    std::thread::sleep(5 * pause);
    assert_eq!(asked.load(Ordering::SeqCst), at_drop);
}

#[test]
fn workers_run_no_further_ahead_than_allowed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let data = Faulty {
        asked: Arc::clone(&asked),
        pause: Duration::ZERO,
    };
    let loader = DataLoader::new(data, List)
        .batch_size(1)
        .workers(2)
        .prefetch(2)
        .on_error(OnError::Skip);
    let mut batches = loader.epoch(0).unwrap();
    batches.next().unwrap().unwrap();
    // Time enough to overrun 20 items without a bound; one was taken, four may wait.
    std::thread::sleep(Duration::from_millis(100));
    assert!(asked.load(Ordering::SeqCst) <= 5);
    assert_eq!(batches.count(), 17);
}

/// Loses all patience with its second batch.
struct Touchy;

impl Collate<(Tensor, Tensor)> for Touchy {
    type Batch = usize;

    fn collate(&self, items: Vec<(Tensor, Tensor)>) -> Result<usize, DataError> {
        assert_eq!(items[0].0.to_scalar::<u32>()?, 0, "not the first batch");
        Ok(items.len())
    }
}

#[test]
fn a_panic_in_a_collation_is_an_error_and_nobody_waits_for_ever() {
    for workers in [0, 2] {
        let loader = DataLoader::new(numbers(9), Touchy)
            .batch_size(3)
            .workers(workers);
        let mut batches = loader.epoch(0).unwrap();
        assert_eq!(batches.next().unwrap().unwrap(), 3);
        let error = batches.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("not the first batch"), "{error}");
        assert!(batches.next().is_none());
    }
}
