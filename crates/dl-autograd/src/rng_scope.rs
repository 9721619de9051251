//! The random streams of one training step, for layers that draw in the middle of a forward.

use std::cell::Cell;

use crate::rng::{Purpose, Rng};

/// Where the draws of a scope stand.
#[derive(Clone, Copy)]
pub(crate) struct State {
    seed: u64,
    step: u64,
    drawn: u64,
}

thread_local! {
    static CURRENT: Cell<State> = const { Cell::new(State { seed: 0, step: 0, drawn: 0 }) };
}

/// While it lives, [`next_rng`] on this thread draws from the streams of one step of a run.
///
/// The streams depend on the seed, the step and the order of the draws alone, so a resumed run draws
/// what the uninterrupted one drew. Dropping the scope restores the one around it.
///
/// ```
/// use dl_autograd::{Purpose, RngScope, next_rng};
/// let draw = || {
///     let _scope = RngScope::new(42, 7);
///     [next_rng(Purpose::Dropout), next_rng(Purpose::Dropout)]
/// };
/// let [a, b] = draw();
/// assert_ne!(a.u32(0), b.u32(0));
/// assert_eq!([a, b], draw());
/// ```
#[must_use = "the scope ends when it is dropped"]
pub struct RngScope(State);

impl RngScope {
    /// The streams of `step` in the run with this seed.
    pub fn new(seed: u64, step: u64) -> Self {
        Self(CURRENT.replace(State {
            seed,
            step,
            drawn: 0,
        }))
    }
}

impl RngScope {
    /// Goes on where `state` stood.
    pub(crate) fn resume(state: State) -> Self {
        Self(CURRENT.replace(state))
    }
}

pub(crate) fn state() -> State {
    CURRENT.get()
}

impl Drop for RngScope {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// The next stream of the current scope. Outside of any scope the streams are those of seed 0, step 0,
/// one after the other for each thread.
pub fn next_rng(purpose: Purpose) -> Rng {
    let State { seed, step, drawn } = CURRENT.get();
    CURRENT.set(State {
        seed,
        step,
        drawn: drawn + 1,
    });
    Rng::new(seed, purpose, step).fork(drawn)
}
