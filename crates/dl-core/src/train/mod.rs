//! The training loop, evaluation and what listens to them.

mod callback;
mod error;
mod evaluate;
mod flow_report;
mod metrics_log;
mod progress;
mod trainer;

pub use callback::{Callback, Epoch, Flow, Plan, Step};
pub use error::TrainError;
pub use evaluate::{Evaluation, evaluate};
pub use flow_report::{FlowReport, GradientFlow, flow_report};
pub use metrics_log::MetricsLog;
pub use progress::Progress;
pub use trainer::{Batch, History, Loss, Trainer, TrainerConfig};
