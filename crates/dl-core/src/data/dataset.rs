//! What a source of items offers.

use std::sync::Arc;

use super::map::Map;
use super::{DataError, Subset};

/// A finite, indexed collection of items; the same index always gives the same item.
///
/// Randomness belongs to a [`Transform`](super::Transform), which is told the epoch.
///
/// ```
/// use dl_core::data::{DataError, Dataset};
/// struct Squares;
/// impl Dataset for Squares {
///     type Item = usize;
///     fn len(&self) -> usize {
///         10
///     }
///     fn get(&self, index: usize) -> Result<usize, DataError> {
///         Ok(index * index)
///     }
/// }
/// assert_eq!(Squares.get(3)?, 9);
/// # Ok::<(), DataError>(())
/// ```
pub trait Dataset: Send + Sync {
    /// What one index gives.
    type Item;

    /// Number of items.
    fn len(&self) -> usize;

    /// Whether there are no items.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads one item. Fails on an index beyond the end and on an unreadable item; called from any thread.
    fn get(&self, index: usize) -> Result<Self::Item, DataError>;

    /// What an error calls the item, such as its file.
    fn name(&self, index: usize) -> String {
        format!("#{index}")
    }

    /// Passes every item through a function when it is asked for, such as to tokenize or to parse.
    fn map<T, F>(self, change: F) -> Map<Self, F>
    where
        Self: Sized,
        F: Fn(Self::Item) -> Result<T, DataError> + Send + Sync,
    {
        Map::new(self, change)
    }

    /// The items for which `keep` holds, in their order. Reads every item once, here and now; fails on
    /// the first that cannot be read and names it.
    fn filter(self, keep: impl Fn(&Self::Item) -> bool) -> Result<Subset<Self>, DataError>
    where
        Self: Sized,
    {
        let mut indices = Vec::new();
        for index in 0..self.len() {
            let item = self.get(index).map_err(|reason| DataError::Item {
                index,
                name: self.name(index),
                reason: Box::new(reason),
            })?;
            if keep(&item) {
                indices.push(index);
            }
        }
        Subset::new(self, indices)
    }
}

/// A data set that knows the class of an item without reading it.
///
/// ```
/// use dl_core::data::{Image, Labelled, Sample, SampleDataset};
/// let image = Image::new(1, 1, 1, vec![0])?;
/// let sample = Sample { image, label: 1, source: "one".into() };
/// let dataset = SampleDataset::new(vec![sample], vec!["cat".into(), "dog".into()])?;
/// assert_eq!(dataset.labels(), [1]);
/// # Ok::<(), dl_core::data::DataError>(())
/// ```
pub trait Labelled: Dataset {
    /// The class of every item, in the order of the items.
    fn labels(&self) -> &[u32];

    /// The name of every class.
    fn class_names(&self) -> &[String];
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<D::Item, DataError> {
        (**self).get(index)
    }

    fn name(&self, index: usize) -> String {
        (**self).name(index)
    }
}

impl<D: Dataset + ?Sized> Dataset for Box<D> {
    type Item = D::Item;

    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<D::Item, DataError> {
        (**self).get(index)
    }

    fn name(&self, index: usize) -> String {
        (**self).name(index)
    }
}

impl<D: Labelled + ?Sized> Labelled for Arc<D> {
    fn labels(&self) -> &[u32] {
        (**self).labels()
    }

    fn class_names(&self) -> &[String] {
        (**self).class_names()
    }
}
