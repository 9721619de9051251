//! Pictures of a run, as the text of SVG files; with the feature `png` as PNG files too.
//!
//! ```
//! use dl_core::plot::{Curves, Panel, Series};
//! let loss = Series::new("train", [(1., 2.3), (2., 1.1), (3., 0.8)]);
//! let svg = Curves::new("LeNet").panel(Panel::new("loss").series(loss)).svg()?;
//! assert_eq!(svg.matches("<circle").count(), 3);
//! # Ok::<(), dl_core::plot::PlotError>(())
//! ```

mod canvas;
mod confusion_matrix;
mod curves;
mod error;
mod landscape;
mod lr_range;
#[cfg(feature = "png")]
mod png;
mod ticks;

pub use confusion_matrix::confusion_matrix;
pub use curves::{Curves, Panel, Series};
pub use error::PlotError;
pub use landscape::landscape;
pub use lr_range::lr_range;
#[cfg(feature = "png")]
pub use png::png;
