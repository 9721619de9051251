//! Round numbers along an axis.

/// Marks at multiples of 1, 2 or 5 times a power of ten that span the values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ticks {
    /// The marks in ascending order, two or more.
    pub marks: Vec<f64>,
    step: f64,
}

impl Ticks {
    /// At most `most` marks around `low..=high`, finite; whole numbers only where `whole` is set.
    pub fn new(low: f64, high: f64, most: usize, whole: bool) -> Self {
        let (low, high) = (low.min(high), low.max(high));
        // Equal ends still need an axis; so do ends that differ in their last bits only.
        let least = low.abs().max(high.abs()).max(1e-9) * 1e-6;
        let span = (high - low).max(if whole { 1.0 } else { least });
        let mut step = round_step(span / most.saturating_sub(1).max(1) as f64, whole);
        let mut count = marks_needed(low, high, step);
        while count > most.max(3) {
            step = round_step(step * 1.5, whole);
            count = marks_needed(low, high, step);
        }
        let first = (low / step).floor();
        let marks = (0..count.max(2)).map(|i| (first + i as f64) * step);
        Self {
            marks: marks.collect(),
            step,
        }
    }

    pub fn first(&self) -> f64 {
        self.marks.first().copied().unwrap_or(0.0)
    }

    pub fn last(&self) -> f64 {
        self.marks.last().copied().unwrap_or(1.0)
    }

    /// A mark with the decimals that its step needs.
    pub fn label(&self, mark: f64) -> String {
        let largest = self.first().abs().max(self.last().abs());
        // Minus zero would print its sign.
        let mark = mark + 0.0;
        if mark != 0.0 && !(1e-3..1e6).contains(&largest) {
            return format!("{mark:.1e}");
        }
        let decimals = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
        format!("{mark:.decimals$}")
    }
}

fn marks_needed(low: f64, high: f64, step: f64) -> usize {
    ((high / step).ceil() - (low / step).floor()) as usize + 1
}

/// The least of 1, 2, 5 times a power of ten that is no smaller than `step`.
fn round_step(step: f64, whole: bool) -> f64 {
    let power = 10f64.powi(step.log10().floor() as i32);
    // A step that is round already must not be raised by its rounding error.
    let round = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|&candidate| candidate >= step * (1.0 - 1e-9))
        .unwrap_or(10.0 * power);
    if whole { round.max(1.0) } else { round }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &Ticks) -> Vec<String> {
        ticks.marks.iter().map(|&mark| ticks.label(mark)).collect()
    }

    #[test]
    fn marks_are_round_and_span_the_values() {
        let ticks = Ticks::new(0.83, 0.973, 6, false);
        assert_eq!(labels(&ticks), ["0.80", "0.85", "0.90", "0.95", "1.00"]);
        let ticks = Ticks::new(1.0, 3.0, 10, true);
        assert_eq!(labels(&ticks), ["1", "2", "3"]);
        let ticks = Ticks::new(1.0, 300.0, 8, true);
        assert_eq!(
            labels(&ticks),
            ["0", "50", "100", "150", "200", "250", "300"]
        );
    }

    #[test]
    fn any_finite_ends_give_few_marks_that_span_them() {
        for (low, high) in [
            (0.0, 0.0),
            (5.0, 5.0),
            (-3.0, 1e-300),
            (1e-12, 2e-12),
            (-1e200, 1e200),
            (0.1 + 0.2, 0.3),
            (1e15, 1e15 + 1.0),
        ] {
            for whole in [false, true] {
                let ticks = Ticks::new(low, high, 6, whole);
                assert!((2..=6).contains(&ticks.marks.len()), "{ticks:?}");
                assert!(ticks.first() <= low && high <= ticks.last(), "{ticks:?}");
                assert!(ticks.first() < ticks.last(), "{ticks:?}");
            }
        }
    }
}
