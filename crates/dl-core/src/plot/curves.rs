//! Loss and metrics over the epochs.

use plotters::prelude::RGBColor;
use plotters::style::text_anchor::HPos;

use super::PlotError;
use super::canvas::{Canvas, GRID, Label, MUTED, PALETTE, clip, text_width};
use super::ticks::Ticks;

/// One line of a panel: a name and its points, such as (epoch, loss).
///
/// A point that is not finite leaves a gap. Colours follow the order of the lines; lines that
/// belong together may share one, such as a run's training (dashed) and evaluation.
///
/// ```
/// use dl_core::plot::Series;
/// let train = Series::new("train", [(1., 0.9), (2., f64::NAN), (3., 0.7)]).dashed().color(0);
/// assert_eq!(train.points.len(), 3);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// The points, in order of x.
    pub points: Vec<(f64, f64)>,
    /// Whether the line is dashed. Default `false`.
    pub dashed: bool,
    /// Which colour of the palette; `None` is that of its place in the panel. Default `None`.
    pub color: Option<usize>,
}

impl Series {
    /// A solid line.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points: points.into_iter().collect(),
            dashed: false,
            color: None,
        }
    }

    /// Makes the line dashed.
    pub fn dashed(mut self) -> Self {
        self.dashed = true;
        self
    }

    /// Chooses a colour; lines of one number have one colour.
    pub fn color(mut self, color: usize) -> Self {
        self.color = Some(color);
        self
    }

    fn finite(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().copied().filter(is_drawable)
    }
}

/// One pair of axes with its lines.
///
/// ```
/// use dl_core::plot::{Panel, Series};
/// let panel = Panel::new("accuracy").series(Series::new("eval", [(1., 0.8)]));
/// assert_eq!(panel.lines.len(), 1);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// The quantity, written along the vertical axis.
    pub quantity: String,
    /// What is drawn.
    pub lines: Vec<Series>,
}

impl Panel {
    /// An empty panel for a quantity such as `loss`.
    pub fn new(quantity: impl Into<String>) -> Self {
        Self {
            quantity: quantity.into(),
            lines: Vec::new(),
        }
    }

    /// Adds a line.
    pub fn series(mut self, series: Series) -> Self {
        self.lines.push(series);
        self
    }
}

/// Panels side by side over a common kind of horizontal axis; `curves.svg` of a run.
///
/// ```
/// use dl_core::plot::{Curves, Panel, Series};
/// let panel = Panel::new("loss").series(Series::new("train", [(1., 2.), (2., 1.)]));
/// let svg = Curves::new("a run").panel(panel).svg()?;
/// assert!(svg.starts_with("<svg") && svg.contains("a run"));
/// # Ok::<(), dl_core::plot::PlotError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// Written above the panels.
    pub title: String,
    /// What the horizontal axes count. Default `epoch`.
    pub axis: String,
    /// The panels, from left to right.
    pub panels: Vec<Panel>,
}

const PANEL_WIDTH: i32 = 500;
const PLOT_HEIGHT: i32 = 300;
const LEFT: i32 = 76;
const RIGHT: i32 = 24;
const LEGEND_ROW: i32 = 20;
const SMALL: i32 = 12;

impl Curves {
    /// A picture without panels yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            axis: "epoch".to_owned(),
            panels: Vec::new(),
        }
    }

    /// Adds a panel to the right.
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    /// The picture as the text of an SVG file. Fails when there is no panel.
    pub fn svg(&self) -> Result<String, PlotError> {
        if self.panels.is_empty() {
            let what = "no panel was added";
            return Err(PlotError::Nothing { what });
        }
        let legend_rows = self
            .panels
            .iter()
            .map(|p| legend(p).1 + 1)
            .max()
            .unwrap_or(1);
        let top = 56 + legend_rows * LEGEND_ROW;
        let width = PANEL_WIDTH * self.panels.len() as i32;
        let mut svg = String::new();
        let canvas = Canvas::new(&mut svg, width, top + PLOT_HEIGHT + 60)?;
        let title = clip(&self.title, (width / 11) as usize);
        canvas.text((LEFT, 28), &title, Label::new(18, HPos::Left).bold())?;
        for (n, panel) in (0..).zip(&self.panels) {
            let axes = Axes::new(panel, n * PANEL_WIDTH + LEFT, top);
            axes.draw(&canvas, panel, &self.axis)?;
        }
        canvas.finish()?;
        Ok(svg)
    }
}

/// Where the plot of a panel lies and what its axes span.
struct Axes {
    left: i32,
    top: i32,
    x: Ticks,
    y: Ticks,
    /// Least and greatest x; the plot ends there and not at a mark.
    ends: (f64, f64),
}

impl Axes {
    fn new(panel: &Panel, left: i32, top: i32) -> Self {
        let points = || panel.lines.iter().flat_map(Series::finite);
        let (x_low, x_high) = span(points().map(|p| p.0));
        let (y_low, y_high) = span(points().map(|p| p.1));
        let (x_low, x_high) = if x_low < x_high {
            (x_low, x_high)
        } else {
            (x_low - 1.0, x_high + 1.0)
        };
        Self {
            left,
            top,
            x: Ticks::new(x_low, x_high, 9, true),
            y: Ticks::new(y_low, y_high, 7, false),
            ends: (x_low, x_high),
        }
    }

    fn width(&self) -> i32 {
        PANEL_WIDTH - LEFT - RIGHT
    }

    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        let share = |v: f64, (low, high): (f64, f64)| ((v - low) / (high - low)).clamp(0.0, 1.0);
        let right = share(x, self.ends) * f64::from(self.width());
        let up = share(y, (self.y.first(), self.y.last())) * f64::from(PLOT_HEIGHT);
        let (right, up) = (right.round() as i32, up.round() as i32);
        (self.left + right, self.top + PLOT_HEIGHT - up)
    }

    fn draw(&self, canvas: &Canvas, panel: &Panel, axis: &str) -> Result<(), PlotError> {
        self.draw_grid(canvas)?;
        self.draw_names(canvas, panel, axis)?;
        for (n, series) in panel.lines.iter().enumerate() {
            self.draw_series(canvas, series, color_of(series, n))?;
        }
        if panel.lines.iter().all(|s| s.finite().next().is_none()) {
            let middle = (self.left + self.width() / 2, self.top + PLOT_HEIGHT / 2);
            let label = Label::new(14, HPos::Center).muted();
            canvas.text(middle, "no finite value", label)?;
        }
        draw_legend(canvas, panel, self.left)
    }

    fn draw_grid(&self, canvas: &Canvas) -> Result<(), PlotError> {
        let (right, bottom) = (self.left + self.width(), self.top + PLOT_HEIGHT);
        for &mark in &self.y.marks {
            let (_, y) = self.at((self.ends.0, mark));
            canvas.line(vec![(self.left, y), (right, y)], GRID, 1)?;
            let label = Label::new(SMALL, HPos::Right).muted();
            canvas.text((self.left - 8, y), &self.y.label(mark), label)?;
        }
        let inside = |mark: &&f64| (self.ends.0..=self.ends.1).contains(*mark);
        for &mark in self.x.marks.iter().filter(inside) {
            let (x, _) = self.at((mark, self.y.first()));
            canvas.line(vec![(x, bottom), (x, bottom + 5)], MUTED, 1)?;
            let label = Label::new(SMALL, HPos::Center).muted();
            canvas.text((x, bottom + 17), &self.x.label(mark), label)?;
        }
        canvas.line(vec![(self.left, bottom), (right, bottom)], MUTED, 1)
    }

    fn draw_names(&self, canvas: &Canvas, panel: &Panel, axis: &str) -> Result<(), PlotError> {
        let label = Label::new(13, HPos::Center);
        let bottom = (self.left + self.width() / 2, self.top + PLOT_HEIGHT + 41);
        canvas.text(bottom, &clip(axis, 50), label)?;
        let side = (self.left - LEFT + 16, self.top + PLOT_HEIGHT / 2);
        canvas.text(side, &clip(&panel.quantity, 38), label.upright())
    }

    fn draw_series(
        &self,
        canvas: &Canvas,
        series: &Series,
        color: RGBColor,
    ) -> Result<(), PlotError> {
        const MOST_DOTS: usize = 40;
        let dots = series.points.len() <= MOST_DOTS;
        for run in series.points.split(|point| !is_drawable(point)) {
            let path: Vec<_> = run.iter().map(|&point| self.at(point)).collect();
            for &at in path.iter().filter(|_| dots || path.len() == 1) {
                canvas.dot(at, color)?;
            }
            if path.len() > 1 {
                draw_path(canvas, path, color, series.dashed)?;
            }
        }
        Ok(())
    }
}

fn draw_path(
    canvas: &Canvas,
    path: Vec<(i32, i32)>,
    color: RGBColor,
    dashed: bool,
) -> Result<(), PlotError> {
    if !dashed {
        return canvas.line(path, color, 2);
    }
    for dash in dashes(&path) {
        canvas.line(dash, color, 2)?;
    }
    Ok(())
}

/// Cuts a path into strokes of 7 pixels with gaps of 4.
fn dashes(path: &[(i32, i32)]) -> Vec<Vec<(i32, i32)>> {
    const STROKE: f64 = 7.0;
    const GAP: f64 = 4.0;
    let (mut dashes, mut dash) = (Vec::new(), Vec::new());
    let (mut drawing, mut left) = (true, STROKE);
    dash.extend(path.first());
    for pair in path.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let length = f64::from(x1 - x0).hypot(f64::from(y1 - y0));
        let mut gone = 0.0;
        while length - gone >= left {
            gone += left;
            let along = |a: i32, b: i32| a + (f64::from(b - a) * gone / length).round() as i32;
            let here = (along(x0, x1), along(y0, y1));
            if drawing {
                dash.push(here);
                dashes.push(std::mem::take(&mut dash));
            } else {
                dash = vec![here];
            }
            drawing = !drawing;
            left = if drawing { STROKE } else { GAP };
        }
        left -= length - gone;
        if drawing {
            dash.push((x1, y1));
        }
    }
    dashes.extend(Some(dash).filter(|dash| dash.len() > 1));
    dashes
}

/// Where each name of the legend begins, (x, row), and the last row; rows break at the panel's edge.
fn legend(panel: &Panel) -> (Vec<(i32, i32)>, i32) {
    let (mut places, mut x, mut row) = (Vec::new(), 0, 0);
    for series in &panel.lines {
        let width = 32 + text_width(&legend_name(series), SMALL) + 18;
        if x > 0 && x + width > PANEL_WIDTH - LEFT {
            (x, row) = (0, row + 1);
        }
        places.push((x, row));
        x += width;
    }
    (places, row)
}

fn legend_name(series: &Series) -> String {
    clip(&series.name, 40)
}

fn draw_legend(canvas: &Canvas, panel: &Panel, left: i32) -> Result<(), PlotError> {
    for (n, (series, (x, row))) in panel.lines.iter().zip(legend(panel).0).enumerate() {
        let (x, y) = (left + x, 58 + row * LEGEND_ROW);
        let stroke = vec![(x, y), (x + 25, y)];
        draw_path(canvas, stroke, color_of(series, n), series.dashed)?;
        let label = Label::new(SMALL, HPos::Left);
        canvas.text((x + 32, y), &legend_name(series), label)?;
    }
    Ok(())
}

fn color_of(series: &Series, place: usize) -> RGBColor {
    PALETTE[series.color.unwrap_or(place) % PALETTE.len()]
}

/// Least and greatest of finite values; 0 and 1 when there are none.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values.fold(None, |ends: Option<(f64, f64)>, v| {
        Some(ends.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
    });
    ends.unwrap_or((0.0, 1.0))
}

/// Larger values would overflow the axis.
fn is_drawable(&(x, y): &(f64, f64)) -> bool {
    const LARGEST: f64 = 1e200;
    x.abs() <= LARGEST && y.abs() <= LARGEST
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dashes_follow_the_path_round_its_corners() {
        // 10 pixels right, then 10 down: strokes 0..7 and 11..18, the second begins after the corner.
        let strokes = dashes(&[(0, 0), (10, 0), (10, 10)]);
        assert_eq!(strokes, [vec![(0, 0), (7, 0)], vec![(10, 1), (10, 8)]]);
        // A stroke that meets the corner bends there: 5 right, then 5 down.
        assert_eq!(
            dashes(&[(0, 0), (5, 0), (5, 5)])[0],
            [(0, 0), (5, 0), (5, 2)]
        );
    }

    #[test]
    fn a_gap_parts_a_line_and_odd_values_are_left_out() {
        let holes = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX];
        for hole in holes {
            let points = [(1.0, 1.0), (2.0, 2.0), (3.0, hole), (4.0, 3.0), (5.0, 1.0)];
            let panel = Panel::new("loss").series(Series::new("train", points));
            let svg = Curves::new("gap").panel(panel).svg().unwrap();
            let thick = svg.matches("stroke-width=\"2\"").count();
            // Two parts and the legend.
            assert_eq!(thick, 3, "{hole}");
            assert_eq!(svg.matches("<circle").count(), 4, "{hole}");
        }
    }

    #[test]
    fn names_are_escaped_and_control_characters_dropped() {
        let panel = Panel::new("a<b").series(Series::new("x&y\u{0}", [(1.0, 1.0)]));
        let svg = Curves::new("\u{7}\"t\"").panel(panel).svg().unwrap();
        assert!(svg.contains("a&lt;b") && svg.contains("x&amp;y"));
        assert!(!svg.contains(|c: char| c.is_control() && c != '\n'));
    }

    #[test]
    fn panels_without_values_say_so() {
        let svg = Curves::new("").panel(Panel::new("loss")).svg().unwrap();
        assert!(svg.contains("no finite value"));
        assert!(Curves::new("").svg().is_err());
    }
}
