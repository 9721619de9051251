//! Every class equally often.

use dl_autograd::{Purpose, Rng};

use super::Sampler;
use crate::data::split::by_class;

/// Shows every class equally often, whatever its size, and within a class every item equally often.
///
/// An epoch of n samples has `⌊n / classes⌋` or one more of each class; which classes get the one
/// more is drawn anew each epoch. The items of a class follow in random order, all of them before
/// the first comes again. So the counts are exact, where a sampler by inverse class frequency has
/// them on average and misses a third of the items in an epoch of as many draws.
///
/// ```
/// use dl_core::data::{ClassBalancedSampler, Sampler};
/// let sampler = ClassBalancedSampler::new(&[0, 0, 0, 0, 0, 1], 6);
/// let ones = sampler.indices(0, 0).into_iter().filter(|&index| index == 5);
/// assert_eq!(ones.count(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct ClassBalancedSampler {
    /// The items of each class.
    classes: Vec<Vec<usize>>,
    samples: usize,
}

impl ClassBalancedSampler {
    /// Draws `samples` items an epoch, usually as many as there are labels. Without labels there is
    /// nothing to draw, and an epoch is empty.
    pub fn new(labels: &[u32], samples: usize) -> Self {
        let classes: Vec<Vec<usize>> = by_class(labels).into_values().collect();
        let samples = if classes.is_empty() { 0 } else { samples };
        Self { classes, samples }
    }

    /// `count` items of a class: permutation after permutation, as many as it takes.
    fn of_class(&self, class: usize, count: usize, rng: Rng) -> impl Iterator<Item = usize> {
        let members = &self.classes[class];
        let rounds = count.div_ceil(members.len());
        let orders = (0..rounds as u64).flat_map(move |n| rng.fork(n).permutation(members.len()));
        orders.take(count).map(|at| members[at])
    }
}

impl Sampler for ClassBalancedSampler {
    fn len(&self) -> usize {
        self.samples
    }

    fn indices(&self, seed: u64, epoch: u64) -> Vec<usize> {
        let rng = Rng::new(seed, Purpose::Shuffle, epoch);
        let classes = self.classes.len().max(1);
        let (each, over) = (self.samples / classes, self.samples % classes);
        let lucky = rng.fork(0).permutation(self.classes.len());
        let drawn: Vec<usize> = (lucky.into_iter().enumerate())
            .flat_map(|(place, class)| {
                let count = each + usize::from(place < over);
                self.of_class(class, count, rng.fork(1 + class as u64))
            })
            .collect();
        let order = rng.permutation(drawn.len());
        order.into_iter().map(|at| drawn[at]).collect()
    }
}
