//! The table at the end.

use crate::recipe::Outcome;
use crate::run_folder::{RunFolder, best};

/// Prints one line a training to standard output.
pub fn print(outcomes: &[Outcome], folder: &RunFolder) {
    println!(
        "{:<16} {:>10} {:>10} {:>13} {:>13} {:>10} {:>8}",
        "mode", "train_loss", "eval_loss", "eval_accuracy", "trainable", "samples/s", "seconds"
    );
    for outcome in outcomes {
        let train_loss = outcome.epochs.last().map_or(f64::NAN, |e| e.train_loss);
        println!(
            "{:<16} {:>10.4} {:>10.4} {:>13.4} {:>13} {:>10.0} {:>8.1}",
            outcome.mode.name(),
            train_loss,
            outcome.evaluation.loss,
            outcome.evaluation.accuracy,
            outcome.trainable,
            outcome.samples_per_second(),
            outcome.seconds,
        );
    }
    if let Some(best) = best(outcomes) {
        println!("kept {} in {}", best.mode.name(), folder.root().display());
    }
}
