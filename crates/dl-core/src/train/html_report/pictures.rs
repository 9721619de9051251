//! The curves of a report.

use std::collections::BTreeSet;

use super::run::Run;
use crate::plot::{Curves, Panel, PlotError, Series};
use crate::train::Epoch;

/// Colour of evaluations beside the training of a single run.
const EVALUATION: usize = 1;

/// SVGs over steps: losses, rates, gradient norms; those without a value are left out.
pub(super) fn by_step(runs: &[Run]) -> Result<Vec<String>, PlotError> {
    let titles = [
        ("train_loss", "Loss by step"),
        ("learning_rate", "Learning rate by step"),
        ("grad_norm", "Gradient norm by step"),
    ];
    let picture = |(name, title): (&str, &str)| {
        let mut panel = Panel::new(title.trim_end_matches(" by step").to_lowercase());
        for (color, run) in runs.iter().enumerate() {
            let curve = |name: &str| run.by_step.get(name).into_iter().flat_map(|c| c.points());
            let named = match (runs.len(), name) {
                (1, "train_loss") => "training",
                (1, _) => title.trim_end_matches(" by step"),
                _ => &run.name,
            };
            panel = panel.series(Series::new(named, curve(name)).color(color));
            if runs.len() == 1 && name == "train_loss" {
                let eval = Series::new("evaluation", curve("eval_loss"));
                panel = panel.series(eval.color(EVALUATION));
            }
        }
        drawn(title, "step", panel)
    };
    titles
        .into_iter()
        .filter_map(|t| picture(t).transpose())
        .collect()
}

/// SVGs over epochs: losses and metrics of training and evaluation, throughput, memory.
pub(super) fn by_epoch(runs: &[Run]) -> Result<Vec<String>, PlotError> {
    let mut pictures = vec![];
    for metric in metrics(runs) {
        let mut panel = Panel::new(&metric);
        for (color, run) in runs.iter().enumerate() {
            let value = |part: &str| {
                let name = format!("{part}_{metric}");
                points(run, move |epoch| epoch.metric(&name).ok())
            };
            let several = runs.len() > 1;
            let of = |part: &str| match several {
                true => format!("{}, {part}", run.name),
                false => part.to_string(),
            };
            let (train, eval) = (value("train"), value("eval"));
            panel = panel.series(Series::new(of("training"), train).dashed().color(color));
            panel = panel.series(Series::new(of("evaluation"), eval).color(color));
        }
        pictures.extend(drawn(&title(&metric), "epoch", panel)?);
    }
    let speed = |epoch: &Epoch| Some(epoch.train_samples_per_second);
    pictures.extend(measured(runs, "Training samples a second", speed)?);
    let memory = |epoch: &Epoch| Some(epoch.resident_bytes? as f64 / 1e6);
    pictures.extend(measured(runs, "Memory in MB", memory)?);
    Ok(pictures)
}

fn measured(
    runs: &[Run],
    title: &str,
    value: impl Fn(&Epoch) -> Option<f64>,
) -> Result<Option<String>, PlotError> {
    let mut panel = Panel::new(title.to_lowercase().replace("mb", "MB"));
    for (color, run) in runs.iter().enumerate() {
        let name = if runs.len() > 1 { &run.name } else { title };
        panel = panel.series(Series::new(name, points(run, &value)).color(color));
    }
    drawn(&format!("{title} by epoch"), "epoch", panel)
}

fn points(run: &Run, value: impl Fn(&Epoch) -> Option<f64>) -> Vec<(f64, f64)> {
    let epochs = run.epochs.iter();
    epochs
        .filter_map(|e| Some((e.epoch as f64, value(e)?)))
        .collect()
}

/// `loss` of `train_loss` and `eval_loss`; the loss first.
fn metrics(runs: &[Run]) -> Vec<String> {
    let epochs = runs.iter().flat_map(|run| &run.epochs);
    let names = epochs.flat_map(|epoch| epoch.metrics().keys());
    let plain = |name: &String| {
        let plain = name.strip_prefix("train_").or(name.strip_prefix("eval_"));
        plain.map(String::from)
    };
    let names: BTreeSet<_> = names.filter_map(plain).collect();
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|name| name != "loss");
    names
}

/// `Loss by epoch`.
fn title(metric: &str) -> String {
    let mut letters = metric.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let name: String = first.chain(letters).collect();
    format!("{} by epoch", name.replace('_', " "))
}

fn drawn(title: &str, axis: &str, mut panel: Panel) -> Result<Option<String>, PlotError> {
    panel.lines.retain(|line| !line.points.is_empty());
    if panel.lines.is_empty() {
        return Ok(None);
    }
    let mut curves = Curves::new(title).panel(panel);
    curves.axis = axis.to_string();
    curves.svg().map(Some)
}
