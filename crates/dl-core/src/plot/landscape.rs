//! Paths over a function of two numbers.

use plotters::prelude::RGBColor;
use plotters::style::text_anchor::HPos;

use super::PlotError;
use super::Series;
use super::canvas::{Canvas, INK, Label, MUTED, PALETTE, clip, text_width};
use super::ticks::Ticks;

const SIDE: i32 = 480;
const LEFT: i32 = 56;
const TOP: i32 = 96;
const CELLS: i32 = 60;
/// Shades between low, light, and high, dark.
const SHADES: usize = 12;
const SMALL: i32 = 12;

/// A function of two numbers as shades, light where it is low, and the paths that were taken over
/// it, from a dot.
///
/// `window` is the least and greatest of the first number, then of the second. Each shade covers as
/// much of the window as any other, so that valleys and peaks of any height show. What leaves the
/// window is not drawn.
///
/// Fails on a window that is empty or not finite.
///
/// ```
/// use dl_core::plot::{Series, landscape};
/// let path = Series::new("sgd", [(2., 1.), (1., 0.5), (0.5, 0.25)]);
/// let window = [(-3., 3.), (-2., 2.)];
/// let svg = landscape("bowl", window, |x, y| x * x + y * y, &[path])?;
/// assert!(svg.starts_with("<svg") && svg.contains("sgd"));
/// # Ok::<(), dl_core::plot::PlotError>(())
/// ```
pub fn landscape(
    title: &str,
    window: [(f64, f64); 2],
    value: impl FnMut(f64, f64) -> f64,
    paths: &[Series],
) -> Result<String, PlotError> {
    let drawable = |(low, high): (f64, f64)| low < high && (high - low).is_finite();
    if !window.into_iter().all(drawable) {
        let what = "the window is empty or not finite";
        return Err(PlotError::Nothing { what });
    }
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, LEFT + SIDE + 24, TOP + SIDE + 40)?;
    let plane = Plane { window };
    let label = Label::new(18, HPos::Left).bold();
    canvas.text((LEFT, 28), &clip(title, 48), label)?;
    plane.draw_shades(&canvas, value)?;
    plane.draw_marks(&canvas)?;
    draw_legend(&canvas, paths)?;
    for (n, path) in paths.iter().enumerate() {
        plane.draw_path(&canvas, path, color_of(path, n))?;
    }
    canvas.finish()?;
    Ok(svg)
}

struct Plane {
    window: [(f64, f64); 2],
}

impl Plane {
    fn at(&self, (x, y): (f64, f64)) -> (i32, i32) {
        let share = |v: f64, (low, high): (f64, f64)| (v - low) / (high - low) * f64::from(SIDE);
        let (right, up) = (share(x, self.window[0]), share(y, self.window[1]));
        (LEFT + right.round() as i32, TOP + SIDE - up.round() as i32)
    }

    fn holds(&self, &(x, y): &(f64, f64)) -> bool {
        let inside = |v: f64, (low, high): (f64, f64)| (low..=high).contains(&v);
        inside(x, self.window[0]) && inside(y, self.window[1])
    }

    fn draw_shades(
        &self,
        canvas: &Canvas,
        mut value: impl FnMut(f64, f64) -> f64,
    ) -> Result<(), PlotError> {
        let middle = |cell: i32, (low, high): (f64, f64)| {
            low + (high - low) * (f64::from(cell) + 0.5) / f64::from(CELLS)
        };
        let cells = (0..CELLS).flat_map(|row| (0..CELLS).map(move |column| (column, row)));
        let cells: Vec<(i32, i32)> = cells.collect();
        let values = cells.iter().map(|&(column, row)| {
            value(middle(column, self.window[0]), middle(row, self.window[1]))
        });
        let values: Vec<f64> = values.collect();
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let mut shades = vec![0; values.len()];
        for (rank, &cell) in order.iter().enumerate() {
            // Equal values, a plateau, have one shade: that of the first of them.
            let same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan());
            let equal = rank > 0 && same(values[order[rank - 1]], values[cell]);
            shades[cell] = match equal {
                true => shades[order[rank - 1]],
                false => rank * SHADES / values.len(),
            };
        }
        let edge = |cell: i32| cell * SIDE / CELLS;
        // Neighbours of one shade in a row are one rectangle.
        let mut begin = 0;
        for end in 1..=cells.len() {
            let (column, row) = cells[begin];
            let goes_on = end < cells.len() && cells[end].1 == row && shades[end] == shades[begin];
            if goes_on {
                continue;
            }
            let right = LEFT + edge(column + (end - begin) as i32);
            let (top, bottom) = (edge(CELLS - row - 1), edge(CELLS - row));
            let corners = [(LEFT + edge(column), TOP + top), (right, TOP + bottom)];
            canvas.fill(corners, shade(shades[begin]))?;
            begin = end;
        }
        canvas.frame([(LEFT, TOP), (LEFT + SIDE, TOP + SIDE)], MUTED)
    }

    fn draw_marks(&self, canvas: &Canvas) -> Result<(), PlotError> {
        let [(left, right), (low, high)] = self.window;
        let along = Ticks::new(left, right, 9, false);
        for &mark in along.marks.iter().filter(|m| (left..=right).contains(*m)) {
            let (x, y) = self.at((mark, low));
            let label = Label::new(SMALL, HPos::Center).muted();
            canvas.text((x, y + 16), &along.label(mark), label)?;
        }
        let up = Ticks::new(low, high, 9, false);
        for &mark in up.marks.iter().filter(|m| (low..=high).contains(*m)) {
            let (x, y) = self.at((left, mark));
            let label = Label::new(SMALL, HPos::Right).muted();
            canvas.text((x - 8, y), &up.label(mark), label)?;
        }
        Ok(())
    }

    fn draw_path(&self, canvas: &Canvas, path: &Series, color: RGBColor) -> Result<(), PlotError> {
        for run in path.points.split(|point| !self.holds(point)) {
            let mut run: Vec<_> = run.iter().map(|&point| self.at(point)).collect();
            run.dedup();
            if run.len() > 1 {
                canvas.line(run, color, 2)?;
            }
        }
        if let Some(start) = path.points.first().filter(|point| self.holds(point)) {
            canvas.dot(self.at(*start), INK)?;
        }
        match path.points.last().filter(|point| self.holds(point)) {
            Some(end) => canvas.dot(self.at(*end), color),
            None => Ok(()),
        }
    }
}

fn draw_legend(canvas: &Canvas, paths: &[Series]) -> Result<(), PlotError> {
    let (mut x, mut y) = (LEFT, 56);
    for (n, path) in paths.iter().enumerate() {
        let name = clip(&path.name, 30);
        let width = 32 + text_width(&name, SMALL) + 18;
        if x > LEFT && x + width > LEFT + SIDE {
            (x, y) = (LEFT, y + 20);
        }
        canvas.line(vec![(x, y), (x + 25, y)], color_of(path, n), 2)?;
        canvas.text((x + 32, y), &name, Label::new(SMALL, HPos::Left))?;
        x += width;
    }
    Ok(())
}

fn color_of(path: &Series, place: usize) -> RGBColor {
    PALETTE[path.color.unwrap_or(place) % PALETTE.len()]
}

/// From white to a grey that lines of every colour stand out from.
fn shade(level: usize) -> RGBColor {
    let dark = |from: usize, to: usize| (from - (from - to) * level / (SHADES - 1)) as u8;
    RGBColor(dark(0xfb, 0xb4), dark(0xfc, 0xbc), dark(0xfd, 0xc8))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WINDOW: [(f64, f64); 2] = [(-1., 1.), (0., 2.)];

    #[test]
    fn what_leaves_the_window_parts_the_path_and_is_not_drawn() {
        let points = [
            (0., 1.),
            (0.5, 1.),
            (9., 9.),
            (0.5, 0.5),
            (0., 0.5),
            (f64::NAN, 1.),
        ];
        let path = Series::new("sgd", points);
        let svg = landscape("t", WINDOW, |x, _| x, &[path]).unwrap();
        // Two parts and the legend; a dot at the start, none at an end that is no number.
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 3);
        assert_eq!(svg.matches("<circle").count(), 1);
    }

    #[test]
    fn a_plateau_has_one_shade_and_a_slope_has_all() {
        let shades = |value: fn(f64, f64) -> f64| {
            let svg = landscape("t", WINDOW, value, &[]).unwrap();
            (0..SHADES)
                .filter(|&level| {
                    let RGBColor(r, g, b) = shade(level);
                    svg.contains(&format!("#{r:02X}{g:02X}{b:02X}"))
                })
                .count()
        };
        assert_eq!((shades(|_, _| 7.), shades(|x, _| x)), (1, SHADES));
        assert_eq!(shades(|_, _| f64::NAN), 1);
    }

    #[test]
    fn an_empty_window_is_refused() {
        for window in [[(1., 1.), (0., 1.)], [(0., f64::INFINITY), (0., 1.)]] {
            assert!(landscape("t", window, |x, _| x, &[]).is_err());
        }
    }
}
