//! What every image classifier of the zoo offers, and finding one by name.

use candle_core::{Result, Tensor, bail};
use candle_nn::{ModuleT, VarBuilder};

use super::{
    EfficientNetLite, EfficientNetLiteConfig, MobileNetV2, MobileNetV2Config, ResNet, ResNetConfig,
    Vgg, VggConfig,
};

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
    build: Build,
}

/// `(x − 127) / 128` for x in 0 to 255.
const fn lite(name: &'static str, image_size: usize, build: Build) -> ImageModel {
    ImageModel {
        name,
        image_size,
        mean: [127. / 255.; 3],
        std: [128. / 255.; 3],
        classifier: EfficientNetLite::CLASSIFIER,
        build,
    }
}

/// Images of 224 with the mean and the deviation of ImageNet, as torchvision has them.
const fn torchvision(name: &'static str, classifier: &'static str, build: Build) -> ImageModel {
    ImageModel {
        name,
        image_size: 224,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        classifier,
        build,
    }
}

type Built = Result<Box<dyn ImageClassifier>>;
type Build = fn(usize, VarBuilder) -> Built;

fn built_lite(config: EfficientNetLiteConfig, classes: usize, vb: VarBuilder) -> Built {
    let config = EfficientNetLiteConfig { classes, ..config };
    Ok(Box::new(EfficientNetLite::new(&config, vb)?))
}

fn built_resnet(config: ResNetConfig, classes: usize, vb: VarBuilder) -> Built {
    let config = ResNetConfig { classes, ..config };
    Ok(Box::new(ResNet::new(&config, vb)?))
}

fn built_mobilenet(classes: usize, vb: VarBuilder) -> Built {
    let config = MobileNetV2Config {
        classes,
        ..Default::default()
    };
    Ok(Box::new(MobileNetV2::new(&config, vb)?))
}

fn built_vgg(config: VggConfig, classes: usize, vb: VarBuilder) -> Built {
    let config = VggConfig { classes, ..config };
    Ok(Box::new(Vgg::new(&config, vb)?))
}

/// Every image classifier of the zoo.
pub const IMAGE_MODELS: [ImageModel; 11] = [
    lite("efficientnet_lite0", 224, |n, vb| {
        built_lite(EfficientNetLiteConfig::lite0(), n, vb)
    }),
    lite("efficientnet_lite1", 240, |n, vb| {
        built_lite(EfficientNetLiteConfig::lite1(), n, vb)
    }),
    lite("efficientnet_lite2", 260, |n, vb| {
        built_lite(EfficientNetLiteConfig::lite2(), n, vb)
    }),
    lite("efficientnet_lite3", 280, |n, vb| {
        built_lite(EfficientNetLiteConfig::lite3(), n, vb)
    }),
    lite("efficientnet_lite4", 300, |n, vb| {
        built_lite(EfficientNetLiteConfig::lite4(), n, vb)
    }),
    torchvision("resnet18", ResNet::CLASSIFIER, |n, vb| {
        built_resnet(ResNetConfig::resnet18(), n, vb)
    }),
    torchvision("resnet34", ResNet::CLASSIFIER, |n, vb| {
        built_resnet(ResNetConfig::resnet34(), n, vb)
    }),
    torchvision("resnet50", ResNet::CLASSIFIER, |n, vb| {
        built_resnet(ResNetConfig::resnet50(), n, vb)
    }),
    torchvision("mobilenet_v2", MobileNetV2::CLASSIFIER, built_mobilenet),
    torchvision("vgg11", Vgg::CLASSIFIER, |n, vb| {
        built_vgg(VggConfig::vgg11(), n, vb)
    }),
    torchvision("vgg16", Vgg::CLASSIFIER, |n, vb| {
        built_vgg(VggConfig::vgg16(), n, vb)
    }),
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
        (self.build)(classes, vb)
    }
}
