//! The model zoo: one file a family, weights named as the pretrained files name them.

mod bert;
mod conv_norm;
mod efficientnet_lite;
mod gpt;
mod heads;
mod image_classifier;
mod lenet;
mod mlp;
mod mobilenet_v2;
mod resnet;
mod segment;
mod vgg;

pub use bert::{Bert, BertConfig};
pub use efficientnet_lite::{EfficientNetLite, EfficientNetLiteConfig};
pub use gpt::{Gpt, GptConfig};
pub use image_classifier::{ClassifierHead, IMAGE_MODELS, ImageClassifier, ImageModel};
pub use lenet::{LeNet, LeNetConfig};
pub use mlp::{Mlp, MlpConfig};
pub use mobilenet_v2::{MobileNetV2, MobileNetV2Config, MobileNetV2Stage};
pub use resnet::{ResNet, ResNetBlock, ResNetConfig, ResNetStem};
pub use vgg::{Vgg, VggConfig, VggFeatures};
