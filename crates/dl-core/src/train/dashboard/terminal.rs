//! The terminal that a dashboard has taken, and its keys.

use std::io::{Result, Stderr, Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::screen::Screen;
use super::view;
use crate::train::StopOnSignal;

/// How long keys are waited for between two drawings.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the terminal is in the state of a dashboard.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wish {
    #[default]
    GoOn,
    StopAfterEpoch,
    StopNow,
}

impl Wish {
    /// After a key; `None` is to end the process at once.
    fn after(self, key: KeyEvent) -> Option<Self> {
        let ctrl_c =
            key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
        Some(match (key.code, self) {
            _ if ctrl_c && self == Self::StopNow => return None,
            _ if ctrl_c => Self::StopNow,
            (KeyCode::Char('s' | 'S'), _) => Self::StopNow,
            (KeyCode::Char('q' | 'Q'), Self::GoOn) => Self::StopAfterEpoch,
            (KeyCode::Char('q' | 'Q'), Self::StopAfterEpoch) => Self::GoOn,
            _ => self,
        })
    }
}

/// A thread that draws and reads keys until this is dropped, so that both work during long steps
/// and evaluations too.
#[derive(Debug)]
pub(super) struct Terminal {
    screen: Arc<Mutex<Screen>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Takes the terminal.
    pub(super) fn open(screen: Screen, signals: StopOnSignal) -> Result<Self> {
        restore_on_panic();
        let terminal = ratatui::Terminal::new(CrosstermBackend::new(stderr()))?;
        take()?;
        let screen = Arc::new(Mutex::new(screen));
        let closing = Arc::new(AtomicBool::new(false));
        let drawing = Drawing {
            terminal,
            screen: Arc::clone(&screen),
            closing: Arc::clone(&closing),
            signals,
        };
        let thread = std::thread::Builder::new().name("dashboard".to_string());
        let thread = thread
            .spawn(move || drawing.run())
            .inspect_err(|_| restore())?;
        Ok(Self {
            screen,
            closing,
            thread: Some(thread),
        })
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Screen)) {
        change(&mut lock(&self.screen));
    }

    pub(super) fn wish(&self) -> Wish {
        lock(&self.screen).wish
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        // A panic of the thread was reported by its hook; the training goes on without a screen.
        let _ = self.thread.take().map(JoinHandle::join);
        restore();
    }
}

struct Drawing {
    terminal: ratatui::Terminal<CrosstermBackend<Stderr>>,
    screen: Arc<Mutex<Screen>>,
    closing: Arc<AtomicBool>,
    signals: StopOnSignal,
}

impl Drawing {
    fn run(mut self) {
        while !self.closing.load(Ordering::Relaxed) {
            if self.signals.signalled() {
                // Now, since a second signal ends the process where it stands.
                restore();
                let _ = writeln!(stderr(), "stops after this step");
                return;
            }
            if self.turn().is_err() {
                // The terminal is gone; the training is not.
                restore();
                return;
            }
        }
    }

    /// Draws, then waits for a key.
    fn turn(&mut self) -> Result<()> {
        let mut screen = lock(&self.screen);
        let (elapsed, memory) = (screen.elapsed(), screen.memory());
        self.terminal
            .draw(|frame| view::draw(frame, &screen, elapsed, memory))?;
        drop(screen);
        if event::poll(PAUSE)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let wish = lock(&self.screen).wish.after(key);
            lock(&self.screen).wish = wish.unwrap_or_else(end_at_once);
        }
        Ok(())
    }
}

/// The screen; what a panicking thread has left of it can still be shown.
fn lock(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end_at_once() -> Wish {
    restore();
    std::process::exit(130)
}

fn take() -> Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(stderr(), EnterAlternateScreen).inspect_err(|_| restore())
}

/// Gives the terminal back if it was taken. What cannot be written here cannot be reported either.
fn restore() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(stderr(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// A panic's message must not be lost with the screen, nor the shell behind it.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_keys_and_wishes() {
        use Wish::*;
        let plain = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::NONE);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for (before, key, after) in [
            (GoOn, plain('q'), Some(StopAfterEpoch)),
            (StopAfterEpoch, plain('q'), Some(GoOn)),
            (GoOn, plain('s'), Some(StopNow)),
            (StopAfterEpoch, plain('S'), Some(StopNow)),
            (StopNow, plain('q'), Some(StopNow)),
            (StopNow, plain('s'), Some(StopNow)),
            (GoOn, plain('c'), Some(GoOn)),
            (GoOn, ctrl_c, Some(StopNow)),
            (StopNow, ctrl_c, None),
        ] {
            assert_eq!(before.after(key), after, "{before:?}, {key:?}");
        }
    }
}
