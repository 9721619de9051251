//! Initialisations of parameters that exist already, chosen by name.
//!
//! Layers come with PyTorch's defaults; these functions replace them. Each takes a glob over names
//! (`*` crosses dots), leaves buffers alone, sets frozen parameters too, and returns how many
//! matched; a pattern that matches nothing is an error, and after an error nothing has changed.
//! Values depend on the store's seed and the parameter's name alone: not on the order of the calls,
//! not on other parameters, not on the number of threads. The same call again gives the same values.
//!
//! | PyTorch | here |
//! |---|---|
//! | `kaiming_uniform_`, `kaiming_normal_` | [`kaiming_uniform`], [`kaiming_normal`] |
//! | `xavier_uniform_`, `xavier_normal_` | [`xavier_uniform`], [`xavier_normal`] |
//! | `trunc_normal_` | [`trunc_normal`] |
//! | `orthogonal_` | [`orthogonal`] |
//! | `uniform_`, `normal_` | [`uniform`], [`normal`] |
//! | `constant_`, `zeros_`, `ones_` | [`constant`], [`zeros`], [`ones`] |
//! | `eye_`, `dirac_` | [`eye`], [`dirac`] |
//! | `calculate_gain` | [`Nonlinearity::gain`] |
//! | one's own | [`with`] |

mod constant;
mod dirac;
mod eye;
mod fan;
mod kaiming;
mod nonlinearity;
mod normal;
mod orthogonal;
mod trunc_normal;
mod uniform;
mod with;
mod xavier;

pub use constant::{constant, ones, zeros};
pub use dirac::dirac;
pub use eye::eye;
pub use fan::Fan;
pub use kaiming::{kaiming_normal, kaiming_uniform};
pub use nonlinearity::Nonlinearity;
pub use normal::normal;
pub use orthogonal::orthogonal;
pub use trunc_normal::trunc_normal;
pub use uniform::uniform;
pub use with::with;
pub use xavier::{xavier_normal, xavier_uniform};

pub(crate) use normal::normal_values;
pub(crate) use uniform::uniform_values;
