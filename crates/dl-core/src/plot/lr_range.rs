//! The curve of a learning-rate range test.

use dl_optim::LrCurve;

use super::{Curves, Panel, PlotError, Series};

/// The losses of a range test over the logarithm of the rate, and where it suggests to train.
///
/// Fails when the test took no step.
///
/// ```
/// use dl_core::plot::lr_range;
/// use dl_optim::LrRange;
/// let curve = LrRange::default().run(|lr| Ok::<_, dl_optim::Error>(2. - lr.min(1.) + lr * lr))?;
/// let svg = lr_range("range test", &curve)?;
/// assert!(svg.starts_with("<svg") && svg.contains("suggestion"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn lr_range(title: &str, curve: &LrCurve) -> Result<String, PlotError> {
    if curve.points.is_empty() {
        let what = "the range test took no step";
        return Err(PlotError::Nothing { what });
    }
    let points = |loss: fn(&dl_optim::LrPoint) -> f64| {
        let points = curve.points.iter();
        points.map(move |point| (point.lr.log10(), loss(point)))
    };
    let mut panel = Panel::new("loss")
        .series(Series::new("smoothed", points(|point| point.smoothed)))
        .series(Series::new("loss", points(|point| point.loss)).dashed());
    if let Some(lr) = curve.suggestion() {
        let losses = || curve.points.iter().map(|point| point.smoothed);
        let low = losses().fold(f64::INFINITY, f64::min);
        let high = losses().fold(f64::NEG_INFINITY, f64::max);
        let line = [(lr.log10(), low), (lr.log10(), high)];
        panel = panel.series(Series::new(format!("suggestion {lr:.1e}"), line));
    }
    let mut curves = Curves::new(title).panel(panel);
    curves.axis = "learning rate, logarithm to base 10".to_owned();
    curves.svg()
}
