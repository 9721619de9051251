//! What a sampler is.

/// Chooses the items of an epoch and their order: the same for the same seed and epoch.
///
/// ```
/// use dl_core::data::Sampler;
/// /// Every other item.
/// struct Odd(usize);
/// impl Sampler for Odd {
///     fn len(&self) -> usize {
///         self.0 / 2
///     }
///     fn indices(&self, _seed: u64, _epoch: u64) -> Vec<usize> {
///         (0..self.0).skip(1).step_by(2).collect()
///     }
/// }
/// assert_eq!(Odd(5).indices(0, 0), [1, 3]);
/// ```
pub trait Sampler: Send + Sync {
    /// Items of an epoch, the same for all epochs.
    fn len(&self) -> usize;

    /// Whether an epoch has no items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items of an epoch by their indices in the data set; an index may come several times.
    fn indices(&self, seed: u64, epoch: u64) -> Vec<usize>;
}

/// Chooses the items of every batch of an epoch: the same for the same seed and epoch.
///
/// ```
/// use dl_core::data::BatchSampler;
/// /// Pairs of neighbours.
/// struct Pairs(usize);
/// impl BatchSampler for Pairs {
///     fn len(&self) -> usize {
///         self.0
///     }
///     fn batches(&self, _seed: u64, _epoch: u64) -> Vec<Vec<usize>> {
///         (0..self.0).map(|n| vec![2 * n, 2 * n + 1]).collect()
///     }
/// }
/// assert_eq!(Pairs(2).batches(0, 0), [[0, 1], [2, 3]]);
/// ```
pub trait BatchSampler: Send + Sync {
    /// Batches of an epoch, the same for all epochs.
    fn len(&self) -> usize;

    /// Whether an epoch has no batches.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items of each batch by their indices in the data set.
    fn batches(&self, seed: u64, epoch: u64) -> Vec<Vec<usize>>;
}
