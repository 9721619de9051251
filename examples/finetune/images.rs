//! The images to train and to evaluate on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use dl_core::data::{
    CenterCrop, Compose, DataError, DataLoader, Dataset, IdxImages, Image, ImageFolder, Labelled,
    MnistPart, Normalize, RandomHorizontalFlip, RandomResizedCrop, Resize, Sample, StackImages,
    Subset, ToRgb, first_per_class, stratified_hold_out,
};
use dl_core::models::ImageModel;

use crate::args::Args;

type Source = Arc<dyn Labelled<Item = Sample>>;
/// A loader of image batches.
pub type Loader = DataLoader<Subset<Source>, StackImages>;

const FASHION: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// Data sets and how their images become tensors.
pub struct Images {
    train: Subset<Source>,
    eval: Subset<Source>,
    /// The names of the classes, by label.
    pub class_names: Vec<String>,
    view: View,
    photos: bool,
    args: Args,
}

/// What a model sees of an image.
#[derive(Clone, Copy)]
pub struct View {
    /// Height and width.
    pub size: usize,
    /// Of each channel, in 0 to 1.
    pub mean: [f32; 3],
    /// Of each channel, in 0 to 1.
    pub std: [f32; 3],
}

impl View {
    /// Colour, the shorter side brought to the size, the middle cut out.
    pub fn transform(&self) -> Compose {
        Compose::new()
            .then(ToRgb)
            .then(Resize::Shorter(self.size))
            .then(CenterCrop {
                height: self.size,
                width: self.size,
            })
    }

    /// The tensors of a batch.
    pub fn collate(&self) -> Result<StackImages> {
        Ok(StackImages::new(Normalize::new(self.mean, self.std)?))
    }
}

/// A file or folder that the repository ships.
pub fn asset(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("assets").join(path)
}

fn fashion(part: MnistPart) -> Result<Source> {
    let folder = asset("fashion_mnist");
    let images = IdxImages::open(&folder, part)?.with_class_names(FASHION)?;
    Ok(Arc::new(images))
}

fn folder(path: &Path) -> Result<Source> {
    Ok(Arc::new(ImageFolder::open(path)?))
}

impl Images {
    /// Opens the folders of the command line, or the data of the repository.
    pub fn open(args: &Args, model: &ImageModel) -> Result<Self> {
        let (train, eval) = match (&args.train_dir, &args.validation_dir) {
            (None, _) => (
                whole(fashion(MnistPart::Train)?)?,
                whole(fashion(MnistPart::Test)?)?,
            ),
            (Some(train), Some(eval)) => (whole(folder(train)?)?, whole(folder(eval)?)?),
            (Some(train), None) => split(folder(train)?, args)?,
        };
        let class_names = train.dataset().class_names().to_vec();
        ensure!(
            class_names.len() > 1,
            "the training images are all of one class, {class_names:?}; give each class a folder"
        );
        let others = eval.dataset().class_names();
        same_classes(
            "the validation images",
            others,
            "the training images",
            &class_names,
        )?;
        let photos = args.train_dir.is_some();
        let size = args
            .image_size
            .unwrap_or(if photos { model.image_size } else { 64 });
        let (mean, std) = (model.mean, model.std);
        Ok(Self {
            train: limit(train, args.max_train_samples)?,
            eval: limit(eval, args.max_eval_samples)?,
            class_names,
            view: View { size, mean, std },
            photos,
            args: args.clone(),
        })
    }

    /// Number of training and evaluation images.
    pub fn counts(&self) -> (usize, usize) {
        (self.train.len(), self.eval.len())
    }

    /// What the model sees.
    pub fn view(&self) -> View {
        self.view
    }

    /// Training images in random order, augmented.
    pub fn training(&self) -> Result<Loader> {
        let size = self.view.size;
        let (height, width) = (size, size);
        let transform = match self.photos {
            true => Compose::new()
                .then(ToRgb)
                .then(RandomResizedCrop {
                    height,
                    width,
                    scale: (0.35, 1.),
                    ..Default::default()
                })
                .then(RandomHorizontalFlip::default()),
            false => self.view.transform().then(RandomHorizontalFlip::default()),
        };
        let loader = DataLoader::new(self.train.clone(), self.view.collate()?);
        Ok(loader
            .transform(transform)
            .batch_size(self.args.per_device_train_batch_size)
            .shuffle(true)
            .seed(self.args.seed)
            .drop_last(self.train.len() > self.args.per_device_train_batch_size)
            .workers(self.args.dataloader_num_workers))
    }

    /// Training images in order, not augmented.
    pub fn training_as_is(&self) -> Result<Loader> {
        self.in_order(&self.train)
    }

    /// An evaluation image as it was before anything was done to it.
    pub fn original(&self, index: usize) -> Result<Image, DataError> {
        Ok(self.eval.get(index)?.image)
    }

    /// Evaluation images.
    pub fn evaluation(&self) -> Result<Loader> {
        self.in_order(&self.eval)
    }

    fn in_order(&self, images: &Subset<Source>) -> Result<Loader> {
        Ok(DataLoader::new(images.clone(), self.view.collate()?)
            .transform(self.view.transform())
            .batch_size(self.args.per_device_eval_batch_size)
            .workers(self.args.dataloader_num_workers))
    }
}

/// Fails with the names that one side has and the other lacks.
pub fn same_classes(of: &str, found: &[String], model: &str, wanted: &[String]) -> Result<()> {
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|name| !b.contains(name)).cloned().collect()
    };
    ensure!(
        found == wanted,
        "the classes of {of} are not those of {model}: {:?} are missing and {:?} are unknown; \
         give both the same class folders",
        only(wanted, found),
        only(found, wanted),
    );
    Ok(())
}

fn whole(source: Source) -> Result<Subset<Source>> {
    let all = (0..source.len()).collect();
    Ok(Subset::new(source, all)?)
}

fn split(source: Source, args: &Args) -> Result<(Subset<Source>, Subset<Source>)> {
    let parts = stratified_hold_out(source.labels(), args.validation_split, args.seed)
        .context("cannot split the training images; name a --validation-dir")?;
    let train = Subset::new(source.clone(), parts.train)?;
    Ok((train, Subset::new(source, parts.held_out)?))
}

fn limit(images: Subset<Source>, max: Option<usize>) -> Result<Subset<Source>> {
    let Some(max) = max.filter(|max| *max < images.len()) else {
        return Ok(images);
    };
    let kept = first_per_class(&images.labels(), max);
    let indices = kept.into_iter().map(|i| images.indices()[i]).collect();
    Ok(Subset::new(images.dataset().clone(), indices)?)
}
