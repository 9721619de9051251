//! The picture of a confusion matrix.

use plotters::prelude::{RGBColor, WHITE};
use plotters::style::text_anchor::HPos;

use super::PlotError;
use super::canvas::{Canvas, INK, Label, MUTED, clip, text_width};
use crate::metrics::ConfusionMatrix;

/// Draws true classes as rows and predicted classes as columns, as the text of an SVG file.
///
/// A cell's colour is its share of its row, so that rare classes can be read too; its number is the
/// count, left out where it is 0 and, for all cells, where there are too many classes to read it.
/// Fails when names and classes differ in number or there are no classes.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use dl_core::metrics::ConfusionMatrix;
/// let mut matrix = ConfusionMatrix::new(2);
/// let logits = Tensor::new(&[[2f32, 1.], [2., 1.], [0., 1.]], &Device::Cpu)?;
/// matrix.update(&logits, &Tensor::new(&[0u32, 1, 1], &Device::Cpu)?)?;
/// let svg = dl_core::plot::confusion_matrix(&matrix, &["cat", "dog"], "pets").unwrap();
/// assert_eq!(svg.matches("cat").count(), 2);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn confusion_matrix<S: AsRef<str>>(
    matrix: &ConfusionMatrix,
    class_names: &[S],
    title: &str,
) -> Result<String, PlotError> {
    let (wanted, came) = (matrix.classes(), class_names.len());
    if wanted != came {
        return Err(PlotError::ClassNames { wanted, came });
    }
    if wanted == 0 {
        let what = "the matrix has no classes";
        return Err(PlotError::Nothing { what });
    }
    let names: Vec<String> = class_names.iter().map(|n| clip(n.as_ref(), 24)).collect();
    let layout = Layout::new(&names);
    let mut svg = String::new();
    let canvas = Canvas::new(&mut svg, layout.width(), layout.height())?;
    layout.draw_titles(&canvas, title, matrix)?;
    layout.draw_cells(&canvas, matrix)?;
    layout.draw_names(&canvas, &names)?;
    layout.draw_scale(&canvas)?;
    canvas.finish()?;
    Ok(svg)
}

const TOP: i32 = 68;
const BAR: i32 = 14;

/// Sizes that follow from the number of classes and the length of their names.
struct Layout {
    classes: i32,
    cell: i32,
    font: i32,
    left: i32,
    bottom: i32,
    /// Whether the names of the columns read from bottom to top.
    upright: bool,
    /// Every how many classes a name has room.
    every: usize,
}

impl Layout {
    fn new(names: &[String]) -> Self {
        let classes = names.len() as i32;
        let cell = match classes {
            ..=5 => 72,
            6..=12 => 52,
            _ => (760 / classes).clamp(2, 44),
        };
        let font = (cell * 4 / 5).clamp(10, 13);
        let longest = names.iter().map(|n| text_width(n, font)).max().unwrap_or(0);
        let upright = longest > cell - 6;
        Self {
            classes,
            cell,
            font,
            left: 44 + longest + 8,
            bottom: if upright { longest + 8 } else { font + 8 } + 34,
            upright,
            every: ((font + 1 + cell - 1) / cell).max(1) as usize,
        }
    }

    fn side(&self) -> i32 {
        self.classes * self.cell
    }

    fn width(&self) -> i32 {
        // The title and the accuracy below it need room even above two classes.
        (self.left + self.side() + 100).max(420)
    }

    fn height(&self) -> i32 {
        TOP + self.side() + self.bottom
    }

    fn draw_titles(
        &self,
        canvas: &Canvas,
        title: &str,
        matrix: &ConfusionMatrix,
    ) -> Result<(), PlotError> {
        let title = clip(title, (self.width() / 11) as usize);
        canvas.text((20, 26), &title, Label::new(18, HPos::Left).bold())?;
        let total: u64 = matrix.support().iter().sum();
        let summary = if total == 0 {
            "no samples".to_owned()
        } else {
            let (accuracy, f1) = (matrix.accuracy() * 100.0, matrix.macro_f1() * 100.0);
            format!("{total} samples, accuracy {accuracy:.2} %, macro F1 {f1:.2} %")
        };
        canvas.text((20, 48), &summary, Label::new(12, HPos::Left).muted())
    }

    fn draw_cells(&self, canvas: &Canvas, matrix: &ConfusionMatrix) -> Result<(), PlotError> {
        let corner = |row: i32, column: i32| {
            let (x, y) = (column * self.cell, row * self.cell);
            (self.left + x, TOP + y)
        };
        canvas.fill(
            [corner(0, 0), corner(self.classes, self.classes)],
            shade(0.0),
        )?;
        let size = self.number_size(matrix);
        for (row, counts) in (0..).zip(matrix.rows()) {
            let total: u64 = counts.iter().sum();
            for (column, &count) in (0..).zip(counts).filter(|(_, count)| **count > 0) {
                let share = count as f64 / total as f64;
                let cell = [corner(row, column), corner(row + 1, column + 1)];
                canvas.fill(cell, shade(share))?;
                if let Some(size) = size {
                    let (x, y) = corner(row, column);
                    let color = if share > 0.5 { WHITE } else { INK };
                    let label = Label::new(size, HPos::Center).color(color);
                    let middle = (x + self.cell / 2, y + self.cell / 2);
                    canvas.text(middle, &count.to_string(), label)?;
                }
            }
        }
        canvas.frame([corner(0, 0), corner(self.classes, self.classes)], MUTED)
    }

    /// The size at which the longest count fits into a cell, if it can be read.
    fn number_size(&self, matrix: &ConfusionMatrix) -> Option<i32> {
        let largest = matrix.rows().flatten().max().copied().unwrap_or(0);
        let fits = |size: &i32| text_width(&largest.to_string(), *size) <= self.cell - 4;
        (8..=14)
            .rev()
            .find(fits)
            .filter(|size| size + 4 <= self.cell)
    }

    fn draw_names(&self, canvas: &Canvas, names: &[String]) -> Result<(), PlotError> {
        let below = TOP + self.side() + 8;
        for (n, name) in (0..).zip(names).step_by(self.every) {
            let middle = n * self.cell + self.cell / 2;
            let right = Label::new(self.font, HPos::Right);
            canvas.text((self.left - 8, TOP + middle), name, right)?;
            let (at, label) = if self.upright {
                ((self.left + middle, below), right.upright())
            } else {
                let label = Label::new(self.font, HPos::Center);
                ((self.left + middle, below + self.font / 2), label)
            };
            canvas.text(at, name, label)?;
        }
        let label = Label::new(13, HPos::Center).muted();
        let middle = self.side() / 2;
        let bottom = (self.left + middle, self.height() - 16);
        canvas.text(bottom, "predicted class", label)?;
        canvas.text((24, TOP + middle), "true class", label.upright())
    }

    fn draw_scale(&self, canvas: &Canvas) -> Result<(), PlotError> {
        const STEPS: i32 = 50;
        let x = self.left + self.side() + 24;
        let height = self.side().clamp(100, 240);
        for step in 0..STEPS {
            let y = |step: i32| TOP + height - height * step / STEPS;
            let share = (f64::from(step) + 0.5) / f64::from(STEPS);
            canvas.fill([(x, y(step + 1)), (x + BAR, y(step))], shade(share))?;
        }
        canvas.frame([(x, TOP), (x + BAR, TOP + height)], MUTED)?;
        let label = Label::new(11, HPos::Left).muted();
        for (share, text) in [(0, "0 %"), (1, "50 %"), (2, "100 %")] {
            let y = TOP + height - height * share / 2;
            canvas.text((x + BAR + 6, y), text, label)?;
        }
        let label = Label::new(11, HPos::Center).muted().upright();
        canvas.text((x + BAR + 50, TOP + height / 2), "share of the row", label)
    }
}

/// From near white to dark blue, by the stops of ColorBrewer's "Blues" (Harrower and Brewer, 2003).
fn shade(share: f64) -> RGBColor {
    const STOPS: [[u8; 3]; 5] = [
        [0xf7, 0xfb, 0xff],
        [0xc6, 0xdb, 0xef],
        [0x6b, 0xae, 0xd6],
        [0x21, 0x71, 0xb5],
        [0x08, 0x30, 0x6b],
    ];
    let place = share.clamp(0.0, 1.0) * 4.0;
    let stop = (place as usize).min(3);
    let (from, to) = (STOPS[stop], STOPS[stop + 1]);
    let mix = |c: usize| {
        let (a, b) = (f64::from(from[c]), f64::from(to[c]));
        (a + (b - a) * (place - stop as f64)).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{Device, Tensor};

    use super::*;

    fn drawn(classes: usize) -> String {
        let mut matrix = ConfusionMatrix::new(classes);
        let logits = Tensor::eye(classes, candle_core::DType::F32, &Device::Cpu).unwrap();
        let labels = Tensor::arange(0u32, classes as u32, &Device::Cpu).unwrap();
        (0..12).for_each(|_| matrix.update(&logits, &labels).unwrap());
        let names: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
        confusion_matrix(&matrix, &names, "all right").unwrap()
    }

    #[test]
    fn numbers_are_drawn_while_they_can_be_read() {
        for (classes, numbers) in [
            (1, 1),
            (2, 2),
            (10, 10),
            (40, 40),
            (50, 50),
            (100, 0),
            (200, 0),
        ] {
            let svg = drawn(classes);
            assert_eq!(svg.matches("\n12\n").count(), numbers, "{classes} classes");
        }
    }

    #[test]
    fn every_class_is_named_twice_up_to_fifty() {
        let svg = drawn(50);
        assert_eq!(svg.matches("\nclass ").count(), 100);
    }

    #[test]
    fn a_matrix_without_samples_is_drawn_empty() {
        let names = ["a", "b"];
        let svg = confusion_matrix(&ConfusionMatrix::new(2), &names, "").unwrap();
        assert!(svg.contains("no samples"));
        assert!(confusion_matrix(&ConfusionMatrix::new(0), &[""; 0], "").is_err());
    }

    #[test]
    fn shades_run_from_light_to_dark() {
        let light = |share| {
            let RGBColor(r, g, b) = shade(share);
            u32::from(r) + u32::from(g) + u32::from(b)
        };
        assert!((0..100).all(|i| light(f64::from(i) / 100.0) > light(f64::from(i + 1) / 100.0)));
    }
}
