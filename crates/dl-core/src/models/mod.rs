//! The model zoo: one file a family, weights named as the pretrained files name them.

mod efficientnet_lite;
mod image_classifier;
mod mlp;

pub use efficientnet_lite::{EfficientNetLite, EfficientNetLiteConfig};
pub use image_classifier::{ClassifierHead, IMAGE_MODELS, ImageClassifier, ImageModel};
pub use mlp::{Mlp, MlpConfig};
