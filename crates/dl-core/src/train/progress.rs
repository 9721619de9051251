//! A progress bar on the terminal.

use indicatif::{ProgressBar, ProgressStyle};

use super::{Callback, Epoch, Flow, Plan, Step, TrainError};

/// Shows epoch, loss, rate, samples per second and the time left on standard error.
///
/// Where that is not a terminal nothing is drawn.
#[derive(Debug)]
pub struct Progress {
    name: String,
    bar: ProgressBar,
    epochs: usize,
    samples: usize,
    loss: Option<f64>,
}

/// A constant that a test parses.
const LINE: &str = "{prefix} [{bar:30}] {pos}/{len} steps, {msg}, {eta} left";

/// Weight of the newest loss in the one that is shown.
const SMOOTHING: f64 = 0.1;

impl Progress {
    /// A bar with a name in front.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            bar: ProgressBar::hidden(),
            epochs: 0,
            samples: 0,
            loss: None,
        }
    }
}

impl Callback for Progress {
    fn on_train_begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        let style = ProgressStyle::with_template(LINE);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar =
            ProgressBar::new(plan.total_steps as u64).with_style(style.progress_chars("=> "));
        self.bar.set_prefix(self.name.clone());
        self.epochs = plan.epochs;
        let done = plan.resumed.unwrap_or(0) as u64;
        self.bar.set_position(done);
        self.bar.reset_eta();
        Ok(())
    }

    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        self.samples += step.samples;
        let loss = match self.loss {
            Some(loss) => loss + SMOOTHING * (step.loss - loss),
            None => step.loss,
        };
        self.loss = Some(loss);
        let rate = self.samples as f64 / self.bar.elapsed().as_secs_f64().max(1e-9);
        self.bar.set_message(format!(
            "epoch {}/{}, loss {loss:.4}, rate {:.2e}, {rate:.0} samples/s",
            step.epoch, self.epochs, step.lr
        ));
        self.bar.set_position(step.step as u64);
        Ok(Flow::Continue)
    }

    fn on_epoch_end(&mut self, epoch: &Epoch) -> Result<Flow, TrainError> {
        self.bar.suspend(|| log_epoch(&self.name, epoch));
        Ok(Flow::Continue)
    }

    fn on_train_end(&mut self) -> Result<(), TrainError> {
        self.bar.finish_and_clear();
        Ok(())
    }

    fn on_error(&mut self, _: &TrainError) {
        self.bar.finish_and_clear();
    }
}

/// An epoch as a line of the log.
pub(super) fn log_epoch(run: &str, epoch: &Epoch) {
    let metrics = metrics(epoch);
    tracing::info!(run = %run, epoch = epoch.epoch, step = epoch.step, "{metrics}");
}

/// `eval_loss=0.1234 train_loss=0.2345`.
fn metrics(epoch: &Epoch) -> String {
    let each = epoch.metrics().iter();
    let each = each.map(|(name, value)| format!("{name}={value:.4}"));
    each.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_line_has_loss_rate_and_speed_and_is_quiet_without_a_terminal() {
        ProgressStyle::with_template(LINE).unwrap();
        let mut progress = Progress::new("run");
        let plan = Plan {
            epochs: 2,
            total_steps: 100,
            trainable: 1,
            resumed: Some(10),
            cut_after: Some(10),
        };
        progress.on_train_begin(&plan).unwrap();
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        assert!(progress.bar.is_hidden() || terminal);
        assert_eq!(progress.bar.position(), 10);
        for (step, loss) in [(11, 2.), (12, 1.)] {
            let step = Step {
                epoch: 1,
                step,
                loss,
                lr: 0.001,
                samples: 32,
                tokens: None,
                grad_norm: None,
                skipped: false,
                seconds: 0.1,
                data_seconds: 0.,
            };
            progress.on_step_end(&step).unwrap();
        }
        // 2 + 0.1 (1 − 2).
        let shown = progress.bar.message();
        let wanted = "epoch 1/2, loss 1.9000, rate 1.00e-3, ";
        assert!(
            shown.starts_with(wanted) && shown.ends_with(" samples/s"),
            "{shown}"
        );
        assert_eq!(progress.bar.position(), 12);
    }
}
