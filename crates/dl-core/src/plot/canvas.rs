//! Lines, rectangles and text on an SVG, in pixels from the top left.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::PlotError;

pub(super) const INK: RGBColor = RGBColor(0x22, 0x26, 0x2b);
pub(super) const MUTED: RGBColor = RGBColor(0x5c, 0x65, 0x70);
pub(super) const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);

/// Okabe and Ito's colours (2008), which the colour-blind tell apart; without yellow, which white drowns.
pub(super) const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x22, 0x26, 0x2b),
];

/// How a text lies and looks.
#[derive(Clone, Copy)]
pub(super) struct Label {
    pub size: i32,
    pub color: RGBColor,
    pub anchor: HPos,
    pub bold: bool,
    /// Whether it reads from bottom to top.
    pub upright: bool,
}

impl Label {
    pub fn new(size: i32, anchor: HPos) -> Self {
        Self {
            size,
            color: INK,
            anchor,
            bold: false,
            upright: false,
        }
    }

    pub fn muted(self) -> Self {
        self.color(MUTED)
    }

    pub fn color(mut self, color: RGBColor) -> Self {
        self.color = color;
        self
    }

    pub fn bold(mut self) -> Self {
        self.bold = true;
        self
    }

    pub fn upright(mut self) -> Self {
        self.upright = true;
        self
    }
}

/// A white sheet.
pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

impl<'a> Canvas<'a> {
    pub fn new(svg: &'a mut String, width: i32, height: i32) -> Result<Self, PlotError> {
        let size = (width.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        Ok(Self(area))
    }

    pub fn text(&self, at: (i32, i32), text: &str, label: Label) -> Result<(), PlotError> {
        // Plotters divides by 1.24 what it is given.
        let size = f64::from(label.size) * 1.24;
        let transform = if label.upright {
            FontTransform::Rotate270
        } else {
            FontTransform::None
        };
        let weight = if label.bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let font = FontDesc::new(FontFamily::SansSerif, size, weight).transform(transform);
        let style = TextStyle::from(font)
            .color(&label.color)
            .pos(Pos::new(label.anchor, VPos::Center));
        self.0
            .draw(&Text::new(printable(text), at, style))
            .map_err(failed)
    }

    pub fn line(
        &self,
        points: Vec<(i32, i32)>,
        color: RGBColor,
        width: u32,
    ) -> Result<(), PlotError> {
        let style = color.stroke_width(width);
        self.0
            .draw(&PathElement::new(points, style))
            .map_err(failed)
    }

    pub fn dot(&self, at: (i32, i32), color: RGBColor) -> Result<(), PlotError> {
        self.0
            .draw(&Circle::new(at, 3, color.filled()))
            .map_err(failed)
    }

    pub fn fill(&self, corners: [(i32, i32); 2], color: RGBColor) -> Result<(), PlotError> {
        let rectangle = Rectangle::new(corners, color.filled());
        self.0.draw(&rectangle).map_err(failed)
    }

    pub fn frame(&self, corners: [(i32, i32); 2], color: RGBColor) -> Result<(), PlotError> {
        let rectangle = Rectangle::new(corners, color.stroke_width(1));
        self.0.draw(&rectangle).map_err(failed)
    }

    pub fn finish(self) -> Result<(), PlotError> {
        self.0.present().map_err(failed)
    }
}

/// About how many pixels a text is wide: sans-serif letters are a little over half as wide as high.
pub(super) fn text_width(text: &str, size: i32) -> i32 {
    (text.chars().count() as f64 * f64::from(size) * 0.58) as i32
}

/// The text, shortened with an ellipsis to at most so many characters.
pub(super) fn clip(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// XML has no place for control characters, not even escaped.
fn printable(text: &str) -> String {
    let allowed = |c: char| !c.is_control() && c != '\u{fffe}' && c != '\u{ffff}';
    let plain = text.chars().map(|c| if allowed(c) { c } else { ' ' });
    plain.collect()
}

fn failed(reason: impl std::fmt::Display) -> PlotError {
    PlotError::Draw {
        message: reason.to_string(),
    }
}
