//! A run on the whole terminal.

mod screen;
mod terminal;
mod view;

use std::io::IsTerminal;

use super::progress::log_epoch;
use super::{Callback, Epoch, Evaluated, Flow, Plan, Progress, Step, StopOnSignal, TrainError};
use screen::Screen;
use terminal::{Terminal, Wish};

/// Shows curves, rates, memory, samples a second and the time left on the whole terminal.
///
/// | key | what it does |
/// |---|---|
/// | `q` | ends the run after this epoch, as if it were complete; once more: goes on after all |
/// | `s`, Ctrl-C | stops after this step, with a checkpoint if the run has them |
/// | Ctrl-C once more | ends the process at once, with the exit code 130 |
///
/// It draws on standard error and gives the terminal back when training ends, fails, panics, or
/// when SIGINT or SIGTERM comes, which it takes as [`StopOnSignal`] does. The epochs are logged
/// then, since a line written meanwhile would be drawn over: keep other logs in a file. Where standard
/// error or standard input is no terminal it is a [`Progress`] instead.
///
/// ```
/// use dl_core::train::{Callback, Dashboard, Evaluated, Flow};
/// let mut dashboard = Dashboard::new("clothes")?;
/// let metrics = [("eval_accuracy".to_string(), 0.875)].into();
/// let found = Evaluated { epoch: 1, step: 50, metrics, confusion: None };
/// // Nobody has pressed a key.
/// assert_eq!(dashboard.on_evaluation(&found)?, Flow::Continue);
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct Dashboard {
    name: String,
    shown: Shown,
    epochs: Vec<Epoch>,
}

#[derive(Debug)]
enum Shown {
    Line(Box<Progress>),
    Screen {
        signals: StopOnSignal,
        terminal: Option<Terminal>,
    },
}

impl Dashboard {
    /// A dashboard with a name on top. Fails where signals cannot be listened to.
    pub fn new(name: impl Into<String>) -> Result<Self, TrainError> {
        let name = name.into();
        let terminal = std::io::stderr().is_terminal() && std::io::stdin().is_terminal();
        let shown = match terminal {
            false => Shown::Line(Box::new(Progress::new(&name))),
            true => Shown::Screen {
                signals: StopOnSignal::install()?,
                terminal: None,
            },
        };
        Ok(Self {
            name,
            shown,
            epochs: vec![],
        })
    }

    /// Changes the screen, if there is one.
    fn show(&self, change: impl FnOnce(&mut Screen)) {
        if let Shown::Screen {
            terminal: Some(terminal),
            ..
        } = &self.shown
        {
            terminal.change(change);
        }
    }

    /// What the user asks for, at the end of an epoch or within.
    fn answer(&self, epoch_ends: bool) -> Flow {
        let Shown::Screen { signals, terminal } = &self.shown else {
            return Flow::Continue;
        };
        let wish = terminal.as_ref().map_or(Wish::GoOn, Terminal::wish);
        match wish {
            _ if signals.signalled() => Flow::Interrupt,
            Wish::StopNow => Flow::Interrupt,
            Wish::StopAfterEpoch if epoch_ends => Flow::Stop,
            _ => Flow::Continue,
        }
    }

    fn close(&mut self) {
        if let Shown::Screen { terminal, .. } = &mut self.shown {
            drop(terminal.take());
            for epoch in self.epochs.drain(..) {
                log_epoch(&self.name, &epoch);
            }
        }
    }
}

impl Callback for Dashboard {
    fn on_train_begin(&mut self, plan: &Plan) -> Result<(), TrainError> {
        match &mut self.shown {
            Shown::Line(progress) => progress.on_train_begin(plan)?,
            Shown::Screen { signals, terminal } => {
                let screen = Screen::new(&self.name, plan);
                let opened = Terminal::open(screen, signals.clone());
                *terminal = Some(opened.map_err(|reason| TrainError::Terminal { reason })?);
            }
        }
        Ok(())
    }

    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        if let Shown::Line(progress) = &mut self.shown {
            return progress.on_step_end(step);
        }
        self.show(|screen| screen.step(step));
        Ok(self.answer(false))
    }

    fn on_evaluation(&mut self, found: &Evaluated) -> Result<Flow, TrainError> {
        self.show(|screen| screen.evaluated(found));
        Ok(self.answer(false))
    }

    fn on_epoch_end(&mut self, epoch: &Epoch) -> Result<Flow, TrainError> {
        if let Shown::Line(progress) = &mut self.shown {
            return progress.on_epoch_end(epoch);
        }
        self.epochs.push(epoch.clone());
        self.show(|screen| screen.epoch(epoch));
        Ok(self.answer(true))
    }

    fn on_train_end(&mut self) -> Result<(), TrainError> {
        if let Shown::Line(progress) = &mut self.shown {
            progress.on_train_end()?;
        }
        self.close();
        Ok(())
    }

    fn on_error(&mut self, error: &TrainError) {
        if let Shown::Line(progress) = &mut self.shown {
            progress.on_error(error);
        }
        self.close();
    }
}
