//! Batches of items of like length.

use dl_autograd::{Purpose, Rng};

use super::BatchSampler;
use crate::data::DataError;
use crate::data::option::above_zero;

/// Puts items of like length into the same batches, so that little is padded.
///
/// ```text
/// bucket b = {i : boundaryᵦ₋₁ < lengthᵢ ≤ boundaryᵦ}, the last one what is longer than all
/// ```
///
/// Every epoch shuffles the items of each bucket, cuts them into batches, and shuffles the batches of
/// all buckets; the last batch of a bucket may be smaller. Every item is shown once.
///
/// ```
/// use dl_core::data::{BatchSampler, LengthBuckets};
/// let buckets = LengthBuckets::new(&[3, 40, 5, 38, 4], &[10], 2)?;
/// assert_eq!(buckets.len(), 3);
/// let long = buckets.batches(0, 0).into_iter().find(|batch| batch.contains(&1)).unwrap();
/// assert!(long == [1, 3] || long == [3, 1]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct LengthBuckets {
    buckets: Vec<Bucket>,
}

#[derive(Clone, Debug)]
struct Bucket {
    members: Vec<usize>,
    batch_size: usize,
}

impl LengthBuckets {
    /// Batches of `batch_size` items, `> 0`. Fails unless `boundaries` ascend.
    pub fn new(
        lengths: &[usize],
        boundaries: &[usize],
        batch_size: usize,
    ) -> Result<Self, DataError> {
        above_zero("the batch size of length buckets", batch_size)?;
        Self::with(lengths, boundaries, |_| batch_size)
    }

    /// Batches of as many items as fit into `max_tokens`, `> 0`, when all are padded to the longest
    /// of their bucket, at least one item. Fails unless `boundaries` ascend.
    pub fn by_tokens(
        lengths: &[usize],
        boundaries: &[usize],
        max_tokens: usize,
    ) -> Result<Self, DataError> {
        above_zero("the tokens of a batch", max_tokens)?;
        Self::with(lengths, boundaries, |longest| {
            (max_tokens / longest.max(1)).max(1)
        })
    }

    fn with(
        lengths: &[usize],
        boundaries: &[usize],
        batch_size: impl Fn(usize) -> usize,
    ) -> Result<Self, DataError> {
        if let Some(pair) = boundaries.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(DataError::Option {
                option: "the boundaries of length buckets",
                wanted: "ascending",
                came: format!("{} before {}", pair[0], pair[1]),
            });
        }
        let mut members = vec![Vec::new(); boundaries.len() + 1];
        for (index, &length) in lengths.iter().enumerate() {
            members[boundaries.partition_point(|&boundary| boundary < length)].push(index);
        }
        let bucket = |members: Vec<usize>| {
            let longest = members.iter().map(|&index| lengths[index]).max();
            Bucket {
                members,
                batch_size: batch_size(longest.unwrap_or(0)),
            }
        };
        Ok(Self {
            buckets: members.into_iter().map(bucket).collect(),
        })
    }
}

impl Bucket {
    fn batches(&self, rng: Rng) -> Vec<Vec<usize>> {
        let order = rng.permutation(self.members.len());
        let order: Vec<usize> = order.into_iter().map(|at| self.members[at]).collect();
        order
            .chunks(self.batch_size)
            .map(<[usize]>::to_vec)
            .collect()
    }
}

impl BatchSampler for LengthBuckets {
    fn len(&self) -> usize {
        let batches = |bucket: &Bucket| bucket.members.len().div_ceil(bucket.batch_size);
        self.buckets.iter().map(batches).sum()
    }

    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
        let rng = Rng::new(seed, Purpose::Shuffle, epoch);
        let buckets = self.buckets.iter().zip(0u64..);
        let mut batches: Vec<Vec<usize>> = buckets
            .flat_map(|(bucket, number)| bucket.batches(rng.fork(number)))
            .collect();
        let order = rng.permutation(batches.len());
        order
            .into_iter()
            .map(|at| std::mem::take(&mut batches[at]))
            .collect()
    }
}
