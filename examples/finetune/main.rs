//! Fine-tunes an ImageNet-pretrained network on images, three ways side by side.
//!
//! ```text
//! cargo run --release --example finetune                                    the shipped data
//! cargo run --release --example finetune -- --train-dir pets/train          one's own
//! cargo run --release --example finetune -- --output-dir RUN --predict cat.jpg
//! ```
//!
//! The first compares training from scratch, a new classifier on frozen features, and fine-tuning of
//! everything, on the same images for the same number of epochs. It prints a table and leaves the
//! best model with its curves, confusion matrix, results, log and `report.html` in a folder under
//! `runs/`.

#![allow(missing_docs)]

mod args;
mod images;
mod predict;
mod recipe;
mod run_folder;
mod table;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use dl_core::allocator::{MiMalloc, keep_freed_memory};
use dl_core::models::ImageModel;
use tracing_subscriber::EnvFilter;

use args::Args;
use images::Images;
use recipe::{Outcome, Setup};
use run_folder::{ModelConfig, RunFolder};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    keep_freed_memory();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    match Args::read().and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not eprintln: it panics where standard error cannot be written.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    if !args.predict.is_empty() {
        return predict::predict(args);
    }
    if args.eval_only {
        return predict::evaluate_run(args);
    }
    train(args)
}

/// What can be known to fail does so before the output folder is touched.
fn train(args: &Args) -> Result<()> {
    let (model, device) = (ImageModel::named(&args.model)?, args.open_device()?);
    RunFolder::check(args)?;
    let images = Images::open(args, &model)?;
    let mut setup = Setup {
        args,
        images: &images,
        model,
        device,
        log: None,
        report: None,
    };
    setup.check()?;
    let folder = RunFolder::create(args)?;
    setup.log = Some(folder.metrics());
    setup.report = Some(folder.report(args, &setup)?.into());
    let outcomes = match train_into(&folder, &setup) {
        Ok(outcomes) => outcomes,
        Err(error) => {
            if let Some(report) = &setup.report {
                report.borrow_mut().broken_off(format!("{error:#}"));
            }
            folder.abandon();
            return Err(error);
        }
    };
    table::print(&outcomes, &folder)
}

fn train_into(folder: &RunFolder, setup: &Setup) -> Result<Vec<Outcome>> {
    let (train, eval) = setup.images.counts();
    tracing::info!(
        "{} on {train} images of {} classes, evaluated on {eval}, at {}² on {:?}",
        setup.model.name,
        setup.images.class_names.len(),
        setup.images.view().size,
        setup.device.location(),
    );
    let modes = setup.args.mode.parts().into_iter();
    let outcomes = modes
        .map(|mode| setup.run(mode))
        .collect::<Result<Vec<_>>>()?;
    let config = ModelConfig::new(&setup.model, setup.images);
    folder.write(setup, &config, &outcomes)?;
    Ok(outcomes)
}
