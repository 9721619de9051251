//! How a dashboard looks.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph, Row, Table};

use super::screen::Screen;
use super::terminal::Wish;
use crate::text_table::thousands;
use crate::train::sizes::{bytes, duration, number, percent};

/// Curves that a chart shows, with their colours.
const COLORS: [Color; 3] = [Color::Cyan, Color::Yellow, Color::Green];

/// Draws what there is, `elapsed` seconds after the beginning, with `memory` in bytes.
pub(super) fn draw(frame: &mut Frame, screen: &Screen, elapsed: f64, memory: Option<u64>) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(6),
        Constraint::Length(9),
        Constraint::Length(1),
    ];
    let [head, bar, charts, numbers, keys] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(title(screen), head);
    frame.render_widget(progress(screen, elapsed), bar);
    let halves = [Constraint::Fill(1), Constraint::Fill(1)];
    let [left, right] = Layout::horizontal(halves).areas(charts);
    draw_chart(frame, left, screen, "loss", &["train_loss", "eval_loss"]);
    match screen.curves.keys().find(|name| is_metric(name)) {
        Some(metric) => draw_chart(frame, right, screen, shown(metric), &[metric]),
        None => draw_chart(frame, right, screen, "rate", &["learning_rate"]),
    }
    let [left, right] = Layout::horizontal(halves).areas(numbers);
    frame.render_widget(rates(screen, memory), left);
    frame.render_widget(epochs(screen), right);
    frame.render_widget(hints(screen.wish), keys);
}

fn is_metric(name: &str) -> bool {
    name.starts_with("eval_") && name != "eval_loss"
}

fn shown(metric: &str) -> &str {
    metric.trim_start_matches("eval_")
}

fn title(screen: &Screen) -> Line<'_> {
    let epoch = screen.last.map_or(0, |step| step.epoch);
    let (epochs, steps) = (screen.plan.epochs, screen.plan.total_steps);
    let step = thousands(screen.at());
    Line::from(vec![
        Span::from(screen.name.as_str()).bold(),
        format!("  epoch {epoch}/{epochs}, step {step}/{}", thousands(steps)).into(),
    ])
}

fn progress(screen: &Screen, elapsed: f64) -> Gauge<'static> {
    let share = screen.at() as f64 / screen.plan.total_steps.max(1) as f64;
    let left = screen.left(elapsed).map_or("–".to_string(), duration);
    let label = format!(
        "{:.0} %, {} so far, {left} left",
        share * 100.,
        duration(elapsed)
    );
    Gauge::default()
        .gauge_style(Style::new().fg(Color::Blue).bg(Color::DarkGray))
        .ratio(share.clamp(0., 1.))
        .label(Span::from(label).white())
}

fn draw_chart(frame: &mut Frame, area: Rect, screen: &Screen, title: &str, names: &[&str]) {
    let points = |name: &&str| -> Vec<(f64, f64)> {
        let curve = screen.curves.get(*name);
        curve.into_iter().flat_map(|curve| curve.points()).collect()
    };
    let curves: Vec<_> = names.iter().map(points).collect();
    let all = || curves.iter().flatten();
    let [x, y] = [span(all().map(|p| p.0)), span(all().map(|p| p.1))];
    let lines = names.iter().zip(&curves).zip(COLORS);
    let lines = lines.filter(|((_, points), _)| !points.is_empty());
    // In the title, since a legend inside would hide a curve.
    let mut heading = vec![Span::from(format!(" {title} "))];
    let mut drawn = vec![];
    for ((name, points), color) in lines {
        heading.push(Span::from(format!("─ {} ", name.replace('_', " "))).fg(color));
        let line = Dataset::default().marker(Marker::Braille);
        let line = line.graph_type(GraphType::Line).fg(color);
        drawn.push(line.data(points));
    }
    let step = |x: f64| thousands(x as usize);
    let chart = Chart::new(drawn)
        .block(Block::bordered().title(Line::from(heading)))
        .x_axis(Axis::default().bounds(x).labels([step(x[0]), step(x[1])]))
        .y_axis(Axis::default().bounds(y).labels(y.map(number)));
    frame.render_widget(chart, area);
}

/// The least and the greatest, somewhat apart.
fn span(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let ends = values.fold(None, |ends: Option<[f64; 2]>, v| {
        Some(ends.map_or([v, v], |[low, high]| [low.min(v), high.max(v)]))
    });
    match ends {
        None => [0., 1.],
        Some([low, high]) if low < high => [low, high],
        Some([low, _]) => [low, low + low.abs().max(1.) * 1e-3],
    }
}

fn rates(screen: &Screen, memory: Option<u64>) -> Table<'static> {
    let none = || "–".to_string();
    let of_last = |value: fn(&super::Step) -> Option<f64>| {
        let value = screen.last.as_ref().and_then(value);
        value.map_or_else(none, number)
    };
    let rate = screen
        .last
        .map_or_else(none, |step| format!("{:.2e}", step.lr));
    let whole = |value: f64| {
        if value.is_finite() {
            format!("{value:.0}")
        } else {
            none()
        }
    };
    let rows = [
        ("loss", of_last(|step| Some(step.loss))),
        ("learning rate", rate),
        ("gradient norm", of_last(|step| step.grad_norm)),
        ("samples/s", whole(screen.samples_per_second())),
        (
            "tokens/s",
            screen.tokens_per_second().map_or_else(none, whole),
        ),
        ("waiting for data", percent(screen.waiting())),
        ("memory", memory.map_or_else(none, |n| bytes(n as f64))),
    ];
    let rows = rows.map(|(name, value)| Row::new([name.to_string(), value]));
    let widths = [Constraint::Length(18), Constraint::Fill(1)];
    Table::new(rows, widths).block(Block::bordered().title(" now "))
}

/// The newest epochs, the newest first.
fn epochs(screen: &Screen) -> Paragraph<'static> {
    let line = |epoch: &super::Epoch| {
        let metrics = epoch.metrics().iter();
        let metrics = metrics.map(|(name, v)| format!("{} {}", name.replace('_', " "), number(*v)));
        let metrics = metrics.collect::<Vec<_>>().join(", ");
        Line::from(format!("{}: {metrics}", epoch.epoch))
    };
    let lines: Vec<_> = screen.epochs.iter().rev().take(7).map(line).collect();
    Paragraph::new(lines).block(Block::bordered().title(" epochs "))
}

fn hints(wish: Wish) -> Line<'static> {
    match wish {
        Wish::GoOn => Line::from("q: stop after this epoch   s: stop now, with a checkpoint"),
        Wish::StopAfterEpoch => {
            Line::from("stops after this epoch   q: go on   s: stop now").yellow()
        }
        Wish::StopNow => Line::from("stops after this step   Ctrl-C: end at once").red(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::train::{Evaluated, Plan, Step};

    fn step(step: usize) -> Step {
        Step {
            epoch: 1 + step / 50,
            step,
            loss: 2. / step as f64,
            lr: 1e-3,
            samples: 32,
            tokens: Some(320),
            grad_norm: None,
            skipped: false,
            seconds: 0.5,
            data_seconds: 0.125,
        }
    }

    fn screen() -> Screen {
        let plan = Plan {
            epochs: 2,
            total_steps: 100,
            trainable: 10,
            resumed: Some(10),
            cut_after: Some(10),
        };
        let mut screen = Screen::new("clothes", &plan);
        (11..=60).for_each(|n| screen.step(&step(n)));
        let metrics = [
            ("eval_accuracy".to_string(), 0.875),
            ("eval_loss".to_string(), 0.5),
        ];
        screen.evaluated(&Evaluated {
            epoch: 1,
            step: 50,
            metrics: metrics.into(),
            confusion: None,
        });
        screen
    }

    fn drawn(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let draw = |frame: &mut Frame| super::draw(frame, screen, 25., Some(1_500_000));
        terminal.draw(draw).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn everything_that_matters_is_on_the_screen() {
        let text = drawn(&screen(), 100, 30);
        for wanted in [
            "clothes",
            "epoch 2/2, step 60/100",
            // 50 steps in 25 s, 40 to come.
            "60 %, 25.00 s so far, 20.00 s left",
            "train loss",
            "eval loss",
            " accuracy ",
            "learning rate      1.00e-3",
            "samples/s          64",
            "tokens/s           640",
            "waiting for data   25.00 %",
            "memory             1.5 MB",
            "gradient norm      –",
            "q: stop after this epoch",
        ] {
            assert!(text.contains(wanted), "`{wanted}` is not in\n{text}");
        }
        // Braille dots of the curves.
        assert!(text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)));
    }

    #[test]
    fn what_was_asked_for_is_said() {
        let mut screen = screen();
        for (wish, said) in [
            (Wish::StopAfterEpoch, "stops after this epoch"),
            (Wish::StopNow, "stops after this step"),
        ] {
            screen.wish = wish;
            assert!(drawn(&screen, 80, 24).contains(said));
        }
    }

    #[test]
    fn any_size_and_an_empty_run_can_be_drawn() {
        let empty = Screen::new("", &screen().plan);
        for (width, height) in [(1, 1), (3, 40), (200, 2), (20, 8), (80, 24), (300, 100)] {
            drawn(&empty, width, height);
            drawn(&screen(), width, height);
        }
        assert!(drawn(&empty, 80, 24).contains("– left"));
    }

    #[test]
    fn values_that_are_not_finite_do_no_harm() {
        let mut screen = screen();
        for loss in [f64::NAN, f64::INFINITY, 1e300, -0.] {
            screen.step(&Step {
                loss,
                seconds: 0.,
                ..step(61)
            });
            drawn(&screen, 80, 24);
        }
    }
}
