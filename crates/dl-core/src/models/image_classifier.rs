//! What every image classifier of the zoo offers, and finding one by name.

use candle_core::{Result, Tensor, bail};
use candle_nn::{ModuleT, VarBuilder};

use super::{EfficientNetLite, EfficientNetLiteConfig};

/// A network that ends in a linear classifier over a feature vector.
pub trait ImageClassifier: ModuleT {
    /// The vector in front of the classifier: `(n, 3, h, w)` → `(n, features)`.
    fn forward_features(&self, x: &Tensor, train: bool) -> Result<Tensor>;

    /// The classifier alone: `(n, features)` → logits `(n, classes)`.
    fn forward_head(&self, features: &Tensor, train: bool) -> Result<Tensor>;

    /// Globs over all weights in order of depth, the classifier first.
    fn depth_patterns(&self) -> Vec<String>;
}

/// The classifier of a network as a model of its own, to train on features computed once.
pub struct ClassifierHead<'a>(pub &'a dyn ImageClassifier);

impl ModuleT for ClassifierHead<'_> {
    fn forward_t(&self, features: &Tensor, train: bool) -> Result<Tensor> {
        self.0.forward_head(features, train)
    }
}

/// An entry of the zoo: how to build a classifier and what images it was pretrained on.
#[derive(Clone, Copy, Debug)]
pub struct ImageModel {
    /// The name one asks for it by.
    pub name: &'static str,
    /// Height and width of the images it was pretrained on.
    pub image_size: usize,
    /// Mean of each channel that is subtracted, of values in 0 to 1.
    pub mean: [f32; 3],
    /// What each channel is divided by after that.
    pub std: [f32; 3],
    /// The prefix of the classifier's weights.
    pub classifier: &'static str,
    config: fn() -> EfficientNetLiteConfig,
}

/// `(x − 127) / 128` for x in 0 to 255.
const fn lite(
    name: &'static str,
    image_size: usize,
    config: fn() -> EfficientNetLiteConfig,
) -> ImageModel {
    ImageModel {
        name,
        image_size,
        mean: [127. / 255.; 3],
        std: [128. / 255.; 3],
        classifier: EfficientNetLite::CLASSIFIER,
        config,
    }
}

/// Every image classifier of the zoo.
pub const IMAGE_MODELS: [ImageModel; 5] = [
    lite("efficientnet_lite0", 224, EfficientNetLiteConfig::lite0),
    lite("efficientnet_lite1", 240, EfficientNetLiteConfig::lite1),
    lite("efficientnet_lite2", 260, EfficientNetLiteConfig::lite2),
    lite("efficientnet_lite3", 280, EfficientNetLiteConfig::lite3),
    lite("efficientnet_lite4", 300, EfficientNetLiteConfig::lite4),
];

impl ImageModel {
    /// The model of this name; an error that lists the names there are.
    ///
    /// ```
    /// use dl_core::models::ImageModel;
    /// assert_eq!(ImageModel::named("efficientnet_lite0")?.image_size, 224);
    /// assert!(ImageModel::named("resnet").unwrap_err().to_string().contains("efficientnet_lite0"));
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    pub fn named(name: &str) -> Result<Self> {
        match IMAGE_MODELS.iter().find(|model| model.name == name) {
            Some(model) => Ok(*model),
            None => {
                let known: Vec<_> = IMAGE_MODELS.iter().map(|model| model.name).collect();
                bail!("no image model `{name}`; there are {}", known.join(", "))
            }
        }
    }

    /// Builds the network for `classes` classes on `vb`.
    pub fn build(&self, classes: usize, vb: VarBuilder) -> Result<Box<dyn ImageClassifier>> {
        let config = EfficientNetLiteConfig {
            classes,
            ..(self.config)()
        };
        Ok(Box::new(EfficientNetLite::new(&config, vb)?))
    }
}
