//! The line search: a step that satisfies the strong Wolfe conditions.

use candle_core::Tensor;

use crate::Result;

/// How much of the decrease that the slope promises there must be.
const C1: f64 = 1e-4;
/// How much of the slope may be left.
const C2: f64 = 0.9;

/// A place on the line: how far, the loss there, its gradient, and the slope along the line.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) t: f64,
    pub(super) loss: f64,
    pub(super) gradient: Tensor,
    pub(super) slope: f64,
}

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The largest element of the direction.
    pub(super) longest: f64,
    /// Brackets that move no element by more are small enough.
    pub(super) tolerance_change: f64,
    /// Evaluations after the first.
    pub(super) rounds: usize,
}

/// Searches from `start` (t = 0), beginning at `first`; also says how often it evaluated.
///
/// As `_strong_wolfe` of torch/optim/lbfgs.py, step by step.
pub(super) fn strong_wolfe(
    start: &Point,
    first: f64,
    limits: Limits,
    mut evaluate: impl FnMut(f64) -> Result<Point>,
) -> Result<(Point, usize)> {
    let mut search = Search {
        start,
        limits,
        rounds: 0,
        evaluate: &mut evaluate,
    };
    let found = match search.bracket(first)? {
        Found::Point(point) => point,
        Found::Bracket(bracket) => search.zoom(bracket)?,
    };
    Ok((found, search.rounds + 1))
}

enum Found {
    Point(Point),
    Bracket([Point; 2]),
}

struct Search<'a, E> {
    start: &'a Point,
    limits: Limits,
    rounds: usize,
    evaluate: &'a mut E,
}

impl<E: FnMut(f64) -> Result<Point>> Search<'_, E> {
    fn is_too_high(&self, point: &Point) -> bool {
        point.loss > self.start.loss + C1 * point.t * self.start.slope
    }

    fn is_flat(&self, point: &Point) -> bool {
        point.slope.abs() <= -C2 * self.start.slope
    }

    fn next(&mut self, t: f64) -> Result<Point> {
        self.rounds += 1;
        (self.evaluate)(t)
    }

    /// Goes on until a point will do, or two have one between them.
    fn bracket(&mut self, first: f64) -> Result<Found> {
        let mut previous = self.start.clone();
        let mut point = (self.evaluate)(first)?;
        while self.rounds < self.limits.rounds {
            let rises = self.rounds > 1 && point.loss >= previous.loss;
            if self.is_too_high(&point) || rises {
                return Ok(Found::Bracket([previous, point]));
            }
            if self.is_flat(&point) {
                return Ok(Found::Point(point));
            }
            if point.slope >= 0.0 {
                return Ok(Found::Bracket([previous, point]));
            }
            let nearest = point.t + 0.01 * (point.t - previous.t);
            let t = minimum(&previous, &point, nearest, point.t * 10.0);
            previous = point;
            point = self.next(t)?;
        }
        Ok(Found::Bracket([self.start.clone(), point]))
    }

    /// Narrows a bracket down to the point.
    fn zoom(&mut self, mut bracket: [Point; 2]) -> Result<Point> {
        let (mut low, mut high) = order(&bracket);
        let mut stuck = false;
        while self.rounds < self.limits.rounds {
            let width = (bracket[1].t - bracket[0].t).abs();
            if width * self.limits.longest < self.limits.tolerance_change {
                break;
            }
            let t = trial(&bracket, &mut stuck);
            let point = self.next(t)?;
            if self.is_too_high(&point) || point.loss >= bracket[low].loss {
                bracket[high] = point;
                (low, high) = order(&bracket);
                continue;
            }
            let done = self.is_flat(&point);
            if !done && point.slope * (bracket[high].t - bracket[low].t) >= 0.0 {
                bracket[high] = bracket[low].clone();
            }
            bracket[low] = point;
            if done {
                break;
            }
        }
        let [first, second] = bracket;
        Ok(if low == 0 { first } else { second })
    }
}

/// The places of the lower and of the higher point.
fn order([first, second]: &[Point; 2]) -> (usize, usize) {
    if first.loss <= second.loss {
        (0, 1)
    } else {
        (1, 0)
    }
}

/// Where to look next: the cubic's minimum, moved away from the ends if the last one was near an
/// end too.
fn trial([first, second]: &[Point; 2], stuck: &mut bool) -> f64 {
    let (left, right) = (first.t.min(second.t), first.t.max(second.t));
    let (t, margin) = (minimum(first, second, left, right), 0.1 * (right - left));
    let near = (right - t).min(t - left) < margin;
    let moved = near && (*stuck || t >= right || t <= left);
    *stuck = near && !moved;
    match moved {
        false => t,
        true if (t - right).abs() < (t - left).abs() => right - margin,
        true => left + margin,
    }
}

/// The minimum of the cubic through two points with their slopes, kept between two bounds.
fn minimum(a: &Point, b: &Point, lowest: f64, highest: f64) -> f64 {
    let d1 = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.t - b.t);
    let square = d1 * d1 - a.slope * b.slope;
    if square.is_nan() || square < 0.0 {
        return (lowest + highest) / 2.0;
    }
    let d2 = square.sqrt();
    let (near, far) = if a.t <= b.t { (a, b) } else { (b, a) };
    let share = (far.slope + d2 - d1) / (far.slope - near.slope + 2.0 * d2);
    // Not `clamp`, which refuses bounds that are not numbers.
    (far.t - (far.t - near.t) * share).max(lowest).min(highest)
}
