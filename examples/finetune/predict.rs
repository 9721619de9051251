//! Using a model that a run has left.

use anyhow::{Context, Result};
use candle_core::{D, DType};
use dl_core::data::{Collate, Draw, Image, Sample, Transform, read_rgb};
use dl_core::models::ImageModel;
use dl_core::train::{Prediction, PredictionFile};

use crate::args::Args;
use crate::images::{Images, same_classes};
use crate::recipe::Setup;
use crate::run_folder::RunFolder;
use crate::table::put;

/// Classes printed for an image.
const TOP: usize = 5;

/// Prints the likeliest classes of each image: file, then class and probability, tab by tab.
pub fn predict(args: &Args) -> Result<()> {
    let (folder, device) = (RunFolder::open(args)?, args.open_device()?);
    let config = folder.config()?;
    let model = folder.load(&config, &device)?;
    let names = config.class_names();
    for path in &args.predict {
        let sample = Sample {
            image: image(path)?,
            label: 0,
            source: path.display().to_string(),
        };
        let sample = config
            .view()
            .transform()
            .apply(sample, &mut Draw::new(0, 0, 0))?;
        let (x, _) = config.view().collate()?.collate(vec![sample])?;
        let logits = model
            .forward_t(&x.to_device(&device)?, false)?
            .to_dtype(DType::F32)?;
        let p = candle_nn::ops::softmax(&logits, D::Minus1)?
            .squeeze(0)?
            .to_vec1::<f32>()?;
        put(&format!("{}\t{}\n", path.display(), likeliest(&p, &names)))?;
    }
    Ok(())
}

fn image(path: &std::path::Path) -> Result<Image> {
    read_rgb(path).with_context(|| format!("cannot classify {}", path.display()))
}

fn likeliest(p: &[f32], names: &[String]) -> String {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    let shown = order
        .iter()
        .take(TOP)
        .map(|&i| format!("{} {:.4}", names[i], p[i]));
    shown.collect::<Vec<_>>().join("\t")
}

/// Writes what was said about each evaluation image to the file of the command line, if one is named.
pub fn write_predictions(args: &Args, names: &[String], found: &[Prediction]) -> Result<()> {
    let Some(path) = &args.predictions else {
        return Ok(());
    };
    let written = PredictionFile::create(path, names).and_then(|mut file| {
        found.iter().try_for_each(|sample| file.write(sample))?;
        file.finish()
    });
    written.context("cannot keep the predictions; name another --predictions")
}

/// Evaluates the model of a run on the evaluation images of the command line.
pub fn evaluate_run(args: &Args) -> Result<()> {
    let (folder, device) = (RunFolder::open(args)?, args.open_device()?);
    let config = folder.config()?;
    let model = ImageModel::named(&config.model_type)?;
    let args = &Args {
        image_size: Some(config.image_size),
        train_dir: args.train_dir.clone().or(args.validation_dir.clone()),
        ..args.clone()
    };
    let images = Images::open(args, &model)?;
    let model_classes = config.class_names();
    same_classes(
        "the images",
        &images.class_names,
        "the model",
        &model_classes,
    )
    .with_context(|| format!("cannot evaluate {} on them", folder.root().display()))?;
    let trained = folder.load(&config, &device)?;
    let setup = Setup {
        args,
        images: &images,
        model,
        device,
        log: None,
        report: None,
    };
    let (found, predictions, _) = setup.predict(trained.as_ref())?;
    write_predictions(args, &model_classes, &predictions)?;
    put(&format!(
        "eval_accuracy\t{}\neval_loss\t{}\n",
        found.accuracy, found.loss
    ))
}
