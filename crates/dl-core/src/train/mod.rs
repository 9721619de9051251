//! The training loop, evaluation and what listens to them.

mod batch_source;
mod callback;
mod config;
mod csv_log;
mod curve;
#[cfg(feature = "dashboard")]
mod dashboard;
mod early_stopping;
mod error;
mod evaluate;
mod evaluator;
mod flow_report;
mod freezing;
mod html_report;
mod metrics_log;
mod prediction;
mod prediction_file;
mod progress;
mod reduce_lr_on_plateau;
mod resident_memory;
mod sizes;
mod state;
mod stop_on_signal;
mod supervised;
mod tensorboard;
mod train_step;
mod trainer;
mod update_batch_norm;
mod worst;

pub use batch_source::{BatchSource, BatchStream};
pub use callback::{Callback, Epoch, Evaluated, Flow, Gradients, Plan, Step};
pub use config::{CheckpointOptions, Every, Resume, TrainerConfig};
pub use csv_log::CsvLog;
#[cfg(feature = "dashboard")]
pub use dashboard::Dashboard;
pub use early_stopping::EarlyStopping;
pub use error::TrainError;
pub use evaluate::{Evaluation, evaluate};
pub use evaluator::{Evaluations, Evaluator};
pub use flow_report::{FlowReport, GradientFlow, flow_report};
pub use freezing::Freezing;
pub use html_report::{HtmlReport, Shown};
pub use metrics_log::MetricsLog;
pub use prediction::Prediction;
pub use prediction_file::PredictionFile;
pub use progress::Progress;
pub use reduce_lr_on_plateau::ReduceLrOnPlateau;
pub use stop_on_signal::StopOnSignal;
pub use supervised::{Metric, Supervised};
pub use tensorboard::{EventFile, Histogram, TensorBoard};
pub use train_step::{StepReport, TrainStep, Window};
pub use trainer::{Batch, History, Loss, Trainer};
pub use update_batch_norm::update_batch_norm;
pub use worst::Worst;
