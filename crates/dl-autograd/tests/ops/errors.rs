//! Bad calls of every op: the message names the op, the argument, what was wanted and what came.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dl_autograd::composed;

use crate::bad_calls::{Bad, every_family};

/// What is wrong with the answer to a bad call, if anything.
fn complaint(bad: &Bad) -> Option<String> {
    let Bad(names, call) = bad;
    let message = match catch_unwind(AssertUnwindSafe(call)) {
        Err(_) => return Some(format!("{names:?}: it panics")),
        Ok(Ok(y)) => return Some(format!("{names:?}: it gives {:?}", y.shape())),
        Ok(Err(error)) => error.to_string(),
    };
    // Behind the first line may stand a backtrace, which holds every name.
    let message = message.lines().next().unwrap_or_default();
    let missing = names.iter().find(|name| !message.contains(**name))?;
    Some(format!("no `{missing}` in: {message}"))
}

#[test]
fn every_error_names_the_op_the_argument_and_both_values() {
    let calls = every_family();
    let plain = calls.iter().filter_map(complaint);
    let composed = calls.iter().filter_map(|bad| composed(|| complaint(bad)));
    let complaints: Vec<String> = plain.chain(composed).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
