//! The table at the end.

use std::io::Write;

use anyhow::{Context, Result};

use crate::recipe::Outcome;
use crate::run_folder::{RunFolder, best};

/// Prints one line a training to standard output.
pub fn print(outcomes: &[Outcome], folder: &RunFolder) -> Result<()> {
    let mut text = format!(
        "{:<16} {:>10} {:>10} {:>13} {:>13} {:>10} {:>8}\n",
        "mode", "train_loss", "eval_loss", "eval_accuracy", "trainable", "samples/s", "seconds"
    );
    outcomes.iter().for_each(|outcome| text += &line(outcome));
    if let Some(best) = best(outcomes) {
        text += &format!("kept {} in {}\n", best.mode.name(), folder.root().display());
    }
    put(&text)
}

fn line(outcome: &Outcome) -> String {
    format!(
        "{:<16} {:>10.4} {:>10.4} {:>13.4} {:>13} {:>10.0} {:>8.1}\n",
        outcome.mode.name(),
        outcome.last("train_loss"),
        outcome.evaluation.loss,
        outcome.evaluation.accuracy,
        outcome.trainable,
        outcome.samples_per_second(),
        outcome.seconds,
    )
}

/// Writes to standard output; unlike `print!`, a closed pipe or a full disk is an error, not a panic.
pub fn put(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
