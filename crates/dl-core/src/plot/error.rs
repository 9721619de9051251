//! What can go wrong in drawing.

/// Why a picture could not be drawn.
///
/// ```
/// use dl_core::metrics::ConfusionMatrix;
/// let error = dl_core::plot::confusion_matrix(&ConfusionMatrix::new(3), &["cat"], "pets");
/// assert_eq!(error.unwrap_err().to_string(), "the matrix has 3 classes, came 1 class names");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// Class names and classes differ in number.
    #[error("the matrix has {wanted} classes, came {came} class names")]
    ClassNames {
        /// Classes of the matrix.
        wanted: usize,
        /// Names given.
        came: usize,
    },
    /// There is nothing to draw.
    #[error("nothing to draw: {what}")]
    Nothing {
        /// What is missing.
        what: &'static str,
    },
    /// A picture has no pixels, or too many.
    #[error("a picture of {width} × {height} pixels cannot be drawn; a side has 1 to 16384")]
    Size {
        /// Pixels from left to right.
        width: f32,
        /// Pixels from top to bottom.
        height: f32,
    },
    /// The drawing library refused.
    #[error("cannot draw: {message}")]
    Draw {
        /// What it says.
        message: String,
    },
}
