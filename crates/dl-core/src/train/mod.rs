//! The training loop, evaluation and what listens to them.

mod callback;
mod error;
mod evaluate;
mod metrics_log;
mod progress;
mod trainer;
mod update_batch_norm;

pub use callback::{Callback, Epoch, Flow, Plan, Step};
pub use error::TrainError;
pub use evaluate::{Evaluation, evaluate};
pub use metrics_log::MetricsLog;
pub use progress::Progress;
pub use trainer::{Batch, History, Loss, Trainer, TrainerConfig};
pub use update_batch_norm::update_batch_norm;
