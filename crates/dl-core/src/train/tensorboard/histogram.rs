//! How the values of a tensor are spread.

use std::sync::LazyLock;

use candle_core::{DType, Result, Tensor};

/// Counts of values between limits that grow by a tenth, as TensorFlow and PyTorch write them.
///
/// ```text
/// limits = …, −1.1 b, −b, 0, b, 1.1 b, …    b = 10⁻¹² · 1.1ᵏ ≤ 10²⁰
/// ```
///
/// A value counts in the interval that it begins; what is not finite or beyond ±10²⁰ counts in none.
/// Only the intervals between the least and the greatest value are kept, with an empty one in front.
///
/// ```
/// use dl_core::train::Histogram;
/// let histogram = Histogram::of([0.5, -0.25, 0.5, f64::NAN]).unwrap();
/// assert_eq!((histogram.count, histogram.sum, histogram.max), (3, 0.75, 0.5));
/// assert_eq!(histogram.counts.iter().sum::<u64>(), 3);
/// assert!(Histogram::of([]).is_none());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The least finite value.
    pub min: f64,
    /// The greatest finite value.
    pub max: f64,
    /// Number of finite values.
    pub count: u64,
    /// Sum of the finite values.
    pub sum: f64,
    /// Sum of their squares.
    pub sum_of_squares: f64,
    /// The upper end of each interval.
    pub limits: Vec<f64>,
    /// Values in each interval.
    pub counts: Vec<u64>,
}

static LIMITS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let positive = std::iter::successors(Some(1e-12), |limit| Some(limit * 1.1));
    let positive: Vec<f64> = positive.take_while(|limit| *limit < 1e20).collect();
    let negative = positive.iter().rev().map(|limit| -limit);
    negative
        .chain([0.])
        .chain(positive.iter().copied())
        .collect()
});

impl Histogram {
    /// Counts these values; `None` if none of them is finite and within the limits.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut bins = vec![0u64; LIMITS.len() - 1];
        let mut found = Self {
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            count: 0,
            sum: 0.,
            sum_of_squares: 0.,
            limits: vec![],
            counts: vec![],
        };
        for value in values.into_iter().filter(|value| value.is_finite()) {
            found.add(value);
            if let Some(bin) = bin(value) {
                bins[bin] += 1;
            }
        }
        found.keep(&bins)
    }

    /// Counts the values of a tensor of any float type and shape.
    pub fn of_tensor(tensor: &Tensor) -> Result<Option<Self>> {
        let values = tensor.flatten_all()?.to_dtype(DType::F64)?;
        Ok(Self::of(values.to_vec1::<f64>()?))
    }

    fn add(&mut self, value: f64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.count += 1;
        self.sum += value;
        self.sum_of_squares += value * value;
    }

    /// With the intervals from the one before the first that is not empty to the last.
    fn keep(mut self, bins: &[u64]) -> Option<Self> {
        let first = bins.iter().position(|count| *count > 0)?;
        let end = bins.iter().rposition(|count| *count > 0)? + 1;
        self.limits = LIMITS[first..=end].to_vec();
        self.counts = match first {
            0 => [&[0], &bins[..end]].concat(),
            first => bins[first - 1..end].to_vec(),
        };
        Some(self)
    }
}

/// The interval of a value; the last one has both its ends.
fn bin(value: f64) -> Option<usize> {
    let above = LIMITS.partition_point(|limit| *limit <= value);
    match above {
        0 => None,
        n if n < LIMITS.len() => Some(n - 1),
        n => (LIMITS.last() == Some(&value)).then_some(n - 2),
    }
}
