//! The training loop, evaluation and what listens to them.

mod batch_source;
mod callback;
mod config;
mod early_stopping;
mod error;
mod evaluate;
mod flow_report;
mod metrics_log;
mod progress;
mod state;
mod stop_on_signal;
mod supervised;
mod train_step;
mod trainer;
mod update_batch_norm;

pub use batch_source::{BatchSource, BatchStream};
pub use callback::{Callback, Epoch, Evaluated, Flow, Plan, Step};
pub use config::{CheckpointOptions, Every, Resume, TrainerConfig};
pub use early_stopping::EarlyStopping;
pub use error::TrainError;
pub use evaluate::{Evaluation, evaluate};
pub use flow_report::{FlowReport, GradientFlow, flow_report};
pub use metrics_log::MetricsLog;
pub use progress::Progress;
pub use stop_on_signal::StopOnSignal;
pub use supervised::{Metric, Supervised};
pub use train_step::{StepReport, TrainStep, Window};
pub use trainer::{Batch, History, Loss, Trainer};
pub use update_batch_norm::update_batch_norm;
