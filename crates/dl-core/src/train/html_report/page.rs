//! The page of a report. Everything between parentheses is escaped; only pictures are not, which
//! escape their own text.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::run::Run;
use super::sample_card::{SampleCard, View};
use super::utc::utc;
use super::{HtmlReport, Set, Status, pictures};
use crate::metrics::ConfusionMatrix;
use crate::plot::{PlotError, confusion_matrix};
use crate::text_table::thousands;
use crate::train::Epoch;
use crate::train::confusion::MOST_CLASSES;
use crate::train::sizes::{bytes, duration, number, percent};

/// Rows of a table of epochs.
const MOST_EPOCHS: usize = 200;
/// Rows of a table of confusions.
const MOST_CONFUSIONS: usize = 10;

/// Nothing from elsewhere is loaded, and no script runs.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";

pub(super) fn page(report: &HtmlReport, now: u64) -> Result<Markup, PlotError> {
    Ok(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (report.title) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                (head(report, now))
                main {
                    (trainings(report))
                    (curves(report)?)
                    @for set in &report.sets { (evaluation(report, set)?) }
                    @if report.sets.is_empty() {
                        @for run in &report.drawn.runs { (latest(report, run)?) }
                    }
                    (times(&report.drawn.runs))
                    (configuration(report))
                    (checkpoints(report))
                    (versions(report))
                }
                footer { "Written by dl-core " (env!("CARGO_PKG_VERSION")) ", " (utc(now)) "." }
            }
        }
    })
}

fn head(report: &HtmlReport, now: u64) -> Markup {
    let (class, word) = match &report.status {
        Status::Running => ("running", "running"),
        Status::Finished => ("finished", "finished"),
        Status::Broken(_) => ("broken", "broken off"),
    };
    let begun = report.drawn.runs.iter().map(|run| run.begun).min();
    html! {
        header {
            h1 { (report.title) }
            p.muted {
                span class={ "status " (class) } { (word) }
                @if let Some(begun) = begun { " begun " (utc(begun)) ", " }
                " as of " (utc(now))
            }
            @if let Status::Broken(reason) = &report.status { p.reason { (reason) } }
            ul.figures {
                @for (name, value) in figures(report) { li { span.muted { (name) } b { (value) } } }
            }
        }
    }
}

/// What a reader looks for first: the last evaluation, else the last epoch.
fn figures(report: &HtmlReport) -> Vec<(String, String)> {
    let mut figures = vec![];
    if let Some(set) = report.sets.last() {
        let found = &set.found;
        figures.push((format!("accuracy, {}", set.name), percent(found.accuracy)));
        figures.push(("macro F1".into(), percent(found.confusion.macro_f1())));
        figures.push((format!("loss, {}", set.name), number(found.loss)));
    } else if let Some(epoch) = report
        .drawn
        .runs
        .iter()
        .rev()
        .find_map(|run| run.epochs.last())
    {
        let metrics = epoch.metrics().iter();
        figures.extend(metrics.map(|(name, value)| (name.replace('_', " "), number(*value))));
    }
    let runs = &report.drawn.runs;
    let seconds: f64 = runs.iter().map(|run| run.total(|e| e.train_seconds)).sum();
    let steps: usize = runs.iter().map(|run| run.step).sum();
    figures.push(("steps".into(), thousands(steps)));
    figures.push(("training".into(), duration(seconds)));
    figures
}

fn trainings(report: &HtmlReport) -> Markup {
    let runs = &report.drawn.runs;
    let mut metrics: Vec<&String> = vec![];
    for name in runs
        .iter()
        .filter_map(|run| run.epochs.last())
        .flat_map(|e| e.metrics().keys())
    {
        if !metrics.contains(&name) {
            metrics.push(name);
        }
    }
    html! {
        @if !runs.is_empty() {
            h2 { "Training" }
            div.scroll { table {
                thead { tr {
                    th { "run" } th { "epochs" } th { "steps" } th { "of" } th { "trainable" }
                    @for name in &metrics { th { (name.replace('_', " ")) } }
                    th { "samples/s" } th { "training" }
                } }
                tbody { @for run in runs { (training(run, &metrics)) } }
            } }
            @for run in runs { @if !run.resumed.is_empty() { p.muted {
                (named(run)) " went on from the checkpoint of step "
                (run.resumed.iter().map(|s| thousands(*s)).collect::<Vec<_>>().join(", ")) "."
            } } }
        }
    }
}

fn training(run: &Run, metrics: &[&String]) -> Markup {
    let last = |name: &str| run.epochs.last().and_then(|epoch| epoch.metric(name).ok());
    html! {
        tr {
            td { (named(run)) }
            td { (run.epochs.len()) }
            td { (thousands(run.step)) }
            td { (thousands(run.planned)) }
            td { (thousands(run.trainable)) }
            @for name in metrics { td { (last(name).map_or("–".to_string(), number)) } }
            td { (format!("{:.0}", run.samples_per_second())) }
            td { (duration(run.total(|e| e.train_seconds))) }
        }
    }
}

fn named(run: &Run) -> &str {
    if run.name.is_empty() {
        "this run"
    } else {
        &run.name
    }
}

fn curves(report: &HtmlReport) -> Result<Markup, PlotError> {
    let runs = &report.drawn.runs;
    let (by_epoch, by_step) = (pictures::by_epoch(runs)?, pictures::by_step(runs)?);
    Ok(html! {
        @if !by_epoch.is_empty() || !by_step.is_empty() {
            h2 { "Curves" }
            div.curves {
                @for svg in by_epoch.iter().chain(&by_step) { figure { (PreEscaped(svg)) } }
            }
        }
    })
}

fn evaluation(report: &HtmlReport, set: &Set) -> Result<Markup, PlotError> {
    let found = &set.found;
    let rate = found.samples as f64 / found.seconds;
    Ok(html! {
        h2 { "Evaluation: " (set.name) }
        p {
            (thousands(found.samples)) " samples in " (duration(found.seconds))
            " (" (format!("{rate:.0}")) " a second): loss " (number(found.loss))
            ", accuracy " (percent(found.accuracy)) ", macro F1 " (percent(found.confusion.macro_f1())) "."
        }
        (matrix(report, &found.confusion)?)
        (confusions(report, &found.confusion))
        (classes(report, &found.confusion))
        (worst(report, set))
    })
}

/// The latest evaluation of a training, if it was one of classes.
fn latest(report: &HtmlReport, run: &Run) -> Result<Markup, PlotError> {
    let Some((step, confusion)) = &run.confusion else {
        return Ok(html! {});
    };
    Ok(html! {
        h2 { "Evaluation of " (named(run)) " at step " (thousands(*step)) }
        p {
            "Accuracy " (percent(confusion.accuracy()))
            ", macro F1 " (percent(confusion.macro_f1())) "."
        }
        (matrix(report, confusion)?)
        (confusions(report, confusion))
        (classes(report, confusion))
    })
}

fn matrix(report: &HtmlReport, confusion: &ConfusionMatrix) -> Result<Markup, PlotError> {
    if !(1..=MOST_CLASSES).contains(&confusion.classes()) {
        return Ok(html! {});
    }
    let svg = confusion_matrix(confusion, &report.classes(confusion), "Confusion matrix")?;
    Ok(html! { figure.matrix { (PreEscaped(svg)) } })
}

/// The pairs of classes that are taken for each other most often.
fn confusions(report: &HtmlReport, confusion: &ConfusionMatrix) -> Markup {
    let mut pairs: Vec<(u64, usize, usize)> = vec![];
    for (truth, row) in confusion.rows().enumerate() {
        let wrong = row
            .iter()
            .enumerate()
            .filter(|&(p, &n)| p != truth && n > 0);
        pairs.extend(wrong.map(|(predicted, &count)| (count, truth, predicted)));
    }
    pairs.sort_by_key(|&(count, truth, predicted)| (std::cmp::Reverse(count), truth, predicted));
    pairs.truncate(MOST_CONFUSIONS);
    let support = confusion.support();
    html! {
        @if !pairs.is_empty() {
            h3 { "Most frequent confusions" }
            div.scroll { table {
                thead { tr { th { "true class" } th { "taken for" } th { "samples" } th { "of the class" } } }
                tbody { @for (count, truth, predicted) in pairs {
                    tr {
                        td { (report.class(truth)) }
                        td { (report.class(predicted)) }
                        td { (thousands(count as usize)) }
                        (share(count as f64 / support[truth] as f64))
                    }
                } }
            } }
        }
    }
}

fn classes(report: &HtmlReport, confusion: &ConfusionMatrix) -> Markup {
    let support = confusion.support();
    let samples: u64 = support.iter().sum();
    let scores = [confusion.precision(), confusion.recall(), confusion.f1()];
    let macros = [
        confusion.macro_precision(),
        confusion.macro_recall(),
        confusion.macro_f1(),
    ];
    html! {
        h3 { "Scores by class" }
        div.scroll { table {
            thead { tr { th { "class" } th { "samples" } th { "precision" } th { "recall" } th { "F1" } } }
            tbody {
                @for (class, support) in support.into_iter().enumerate() {
                    tr {
                        td { (report.class(class)) }
                        td { (thousands(support as usize)) }
                        @for score in &scores { (share(score[class])) }
                    }
                }
                tr.total {
                    td { "macro average" }
                    td { (thousands(samples as usize)) }
                    @for score in macros { (share(score)) }
                }
            }
        } }
    }
}

/// A share as a number and as the length of a bar.
fn share(share: f64) -> Markup {
    let width = if share.is_finite() { share * 100. } else { 0. };
    html! { td.bar style=(format!("--share: {width:.1}%")) { (percent(share)) } }
}

fn worst(report: &HtmlReport, set: &Set) -> Markup {
    html! {
        @if !set.worst.is_empty() {
            h3 { "Worst classified" }
            ul.samples { @for card in &set.worst { (sample(report, card)) } }
        }
    }
}

fn sample(report: &HtmlReport, card: &SampleCard) -> Markup {
    let found = &card.prediction;
    let p = |class: usize| {
        found
            .probabilities
            .get(class)
            .map(|p| percent(f64::from(*p)))
    };
    html! {
        li.sample {
            @match &card.view {
                View::Png(uri) => { img src=(uri) alt=(found.name); }
                View::Text(text) => { blockquote { (text) } }
            }
            p {
                b.wrong { (report.class(found.predicted)) } " " (p(found.predicted).unwrap_or_default())
                br;
                b.right { (report.class(found.target)) } " " (p(found.target).unwrap_or_default())
            }
            p.muted title=(found.name) { (file_name(&found.name)) ", loss " (number(found.loss)) }
        }
    }
}

/// What is behind the folders of a file; other names have none.
fn file_name(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

fn times(runs: &[Run]) -> Markup {
    html! {
        @if runs.iter().any(|run| !run.epochs.is_empty()) {
            h2 { "Times" }
            @for run in runs { @if !run.epochs.is_empty() { (times_of(run)) } }
        }
    }
}

fn times_of(run: &Run) -> Markup {
    let epochs = &run.epochs;
    let hidden = epochs.len().saturating_sub(MOST_EPOCHS);
    let sums: [f64; 4] = TIMES.map(|(_, seconds)| run.total(seconds));
    html! {
        h3 { (named(run)) @if hidden > 0 { ", the last " (MOST_EPOCHS) " of " (epochs.len()) " epochs" } }
        div.scroll { table {
            thead { tr {
                th { "epoch" }
                @for (name, _) in TIMES { th { (name) } }
                th { "samples/s" } th { "tokens/s" } th { "memory" } th { "skipped steps" }
            } }
            tbody {
                @for epoch in &epochs[hidden..] { (time(epoch)) }
                tr.total {
                    td { "all" }
                    @for seconds in sums { td { (duration(seconds)) } }
                    td { (format!("{:.0}", run.samples_per_second())) }
                    td {} td {} td { (epochs.iter().map(|e| e.skipped_steps).sum::<usize>()) }
                }
            }
        } }
    }
}

/// What an epoch's time was spent on.
type Seconds = fn(&Epoch) -> f64;
const TIMES: [(&str, Seconds); 4] = [
    ("training", |e| e.train_seconds),
    ("of it waiting for data", |e| e.data_seconds),
    ("evaluation", |e| e.eval_seconds),
    ("checkpoints", |e| e.checkpoint_seconds),
];

fn time(epoch: &Epoch) -> Markup {
    html! {
        tr {
            td { (epoch.epoch) }
            @for (_, seconds) in TIMES { td { (duration(seconds(epoch))) } }
            td { (format!("{:.0}", epoch.train_samples_per_second)) }
            td { (epoch.train_tokens_per_second.map_or("–".into(), |n| format!("{n:.0}"))) }
            td { (epoch.resident_bytes.map_or("–".into(), |n| bytes(n as f64))) }
            td { (epoch.skipped_steps) }
        }
    }
}

fn configuration(report: &HtmlReport) -> Markup {
    html! {
        @if !report.configuration.is_empty() {
            h2 { "Configuration" }
            (pairs(&report.configuration))
        }
    }
}

fn checkpoints(report: &HtmlReport) -> Markup {
    html! {
        @if !report.checkpoints.is_empty() {
            h2 { "Checkpoints" }
            div.scroll { table.words {
                thead { tr { th { "step" } th { "folder" } th { "size" } th { "metrics" } } }
                tbody { @for saved in &report.checkpoints {
                    tr {
                        td { (thousands(saved.manifest.step)) }
                        td { (saved.path.display()) }
                        td { (bytes(saved.manifest.files.values().map(|f| f.bytes as f64).sum())) }
                        td { (metrics(saved.manifest.metrics().iter())) }
                    }
                } }
            } }
        }
    }
}

fn metrics<'a>(metrics: impl Iterator<Item = (&'a String, &'a f64)>) -> String {
    let shown =
        metrics.map(|(name, value)| format!("{} {}", name.replace('_', " "), number(*value)));
    shown.collect::<Vec<_>>().join(", ")
}

fn versions(report: &HtmlReport) -> Markup {
    html! {
        h2 { "Versions" }
        (pairs(&report.versions))
    }
}

fn pairs(pairs: &[(String, String)]) -> Markup {
    html! {
        div.scroll { table.words {
            tbody { @for (name, value) in pairs { tr { td { (name) } td { (value) } } } }
        } }
    }
}
