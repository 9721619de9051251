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
        let style = "{prefix} [{bar:30}] {pos}/{len} steps, {msg}, {eta} left";
        // The template is a constant that a test parses.
        let style =
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
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
        self.bar.suspend(|| {
            tracing::info!(
                run = %self.name,
                epoch = epoch.epoch,
                step = epoch.step,
                "{}",
                metrics(epoch)
            );
        });
        Ok(Flow::Continue)
    }

    fn on_train_end(&mut self) -> Result<(), TrainError> {
        self.bar.finish_and_clear();
        Ok(())
    }
}

/// `eval_loss=0.1234 train_loss=0.2345`.
fn metrics(epoch: &Epoch) -> String {
    let each = epoch.metrics().iter();
    let each = each.map(|(name, value)| format!("{name}={value:.4}"));
    each.collect::<Vec<_>>().join(" ")
}
