//! Ctrl-C and SIGTERM as an orderly end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::{Callback, Flow, Step, TrainError};

/// At the first Ctrl-C or SIGTERM the step is finished, a checkpoint written (if the run has them)
/// and the run ends with [`TrainError::Interrupted`], for which [`TrainError::exit_code`] is 130; a
/// second one ends the process at once, with the same code.
///
/// ```
/// use dl_core::train::StopOnSignal;
/// let stop = StopOnSignal::install()?;
/// # drop(stop);
/// # Ok::<(), dl_core::train::TrainError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StopOnSignal {
    signalled: Arc<AtomicBool>,
}

impl StopOnSignal {
    /// Takes over both signals for the rest of the process. Fails if the system refuses.
    pub fn install() -> Result<Self, TrainError> {
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset, the second one does not.
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&signalled))
                .and_then(|_| flag::register(signal, Arc::clone(&signalled)))
                .map_err(|reason| TrainError::Signal { reason })?;
        }
        Ok(Self { signalled })
    }

    /// Whether a signal has come.
    pub(super) fn signalled(&self) -> bool {
        self.signalled.load(Ordering::Relaxed)
    }
}

impl Callback for StopOnSignal {
    fn on_step_end(&mut self, _: &Step) -> Result<Flow, TrainError> {
        Ok(match self.signalled() {
            true => Flow::Interrupt,
            false => Flow::Continue,
        })
    }
}
