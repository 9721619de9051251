//! The model zoo: one file a family, weights named as the pretrained files name them.

mod efficientnet_lite;
mod mlp;

pub use efficientnet_lite::{EfficientNetLite, EfficientNetLiteConfig};
pub use mlp::{Mlp, MlpConfig};
