//! A curve that keeps its shape and stays small.

use serde::{Deserialize, Serialize};

/// Points of a curve; even, since two become one when there are so many.
const MOST: usize = 1000;

/// What can be drawn; it keeps sums finite, which JSON needs.
const LARGEST: f64 = 1e200;

/// Values over steps, each point the mean of so many neighbours that there are never more than
/// [`MOST`]. What was pushed alone decides the points, so a resumed curve is the uninterrupted one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Curve {
    /// Values that make a point.
    width: usize,
    points: Vec<(f64, f64)>,
    /// Those of the point to come: the last x, the sum and the number of values.
    pending: (f64, f64, usize),
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            width: 1,
            points: vec![],
            pending: (0., 0., 0),
        }
    }
}

impl Curve {
    /// Adds a value; one that cannot be drawn, such as NaN, is passed over.
    pub(super) fn push(&mut self, x: f64, y: f64) {
        if y.is_nan() || y.abs() > LARGEST {
            return;
        }
        let (_, sum, count) = self.pending;
        self.pending = (x, sum + y, count + 1);
        if self.pending.2 == self.width {
            self.points.extend(self.begun());
            self.pending = (0., 0., 0);
        }
        if self.points.len() == MOST {
            let pairs = self.points.chunks_exact(2);
            self.points = pairs.map(|p| (p[1].0, (p[0].1 + p[1].1) / 2.)).collect();
            self.width *= 2;
        }
    }

    /// Every point, the one to come among them.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().chain(self.begun())
    }

    fn begun(&self) -> Option<(f64, f64)> {
        let (x, sum, count) = self.pending;
        (count > 0).then(|| (x, sum / count as f64))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_long_curve_keeps_its_ends_and_means_in_few_points() {
        let mut curve = Curve::default();
        // A slope of 1: the mean of a point's values lies half its width before its last x.
        (1..=1_000_000).for_each(|x| curve.push(f64::from(x), f64::from(x)));
        let points: Vec<_> = curve.points().collect();
        assert!(
            (MOST / 2..=MOST).contains(&points.len()),
            "{}",
            points.len()
        );
        assert_eq!(points.last().unwrap().0, 1e6);
        let half = (curve.width - 1) as f64 / 2.;
        let whole = &points[..points.len() - 1];
        assert!(whole.iter().all(|(x, y)| x - y == half));
    }

    #[test]
    fn a_curve_that_is_saved_and_read_goes_on_to_the_same_bits() {
        let (mut whole, mut parts) = (Curve::default(), Curve::default());
        for x in 0..5000 {
            let y = f64::from(x).sin();
            whole.push(f64::from(x), y);
            let text = serde_json::to_string(&parts).unwrap();
            parts = serde_json::from_str(&text).unwrap();
            parts.push(f64::from(x), y);
        }
        assert_eq!(whole, parts);
    }

    #[test]
    fn what_cannot_be_drawn_is_passed_over() {
        let mut curve = Curve::default();
        for y in [1., f64::NAN, f64::INFINITY, -1e300, 3.] {
            curve.push(0., y);
        }
        assert_eq!(Vec::from_iter(curve.points()), [(0., 1.), (0., 3.)]);
    }
}
