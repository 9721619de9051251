//! Made-up data: the same bits for the same seed, on any machine and number of threads.
//!
//! | as in scikit-learn | here |
//! |---|---|
//! | `make_blobs`, `make_moons`, `make_circles` | [`Blobs`], [`Moons`], [`Circles`] |
//! | `make_regression` | [`LinearRegression`] |

mod blobs;
mod circles;
mod copy_task;
mod linear_regression;
mod moons;
mod plane;
mod sine_regression;
mod spirals;

pub use blobs::Blobs;
pub use circles::Circles;
pub use copy_task::CopyTask;
pub use linear_regression::LinearRegression;
pub use moons::Moons;
pub use sine_regression::SineRegression;
pub use spirals::Spirals;
