//! No op of the crate is without its cases, its bad calls, its tensors without elements and its bench.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::bad_calls::every_family;
use crate::every_case;
use crate::without_elements::empty;

/// Public functions that are no op of tensors, each with what it is.
const NO_OPS: [(&str, &str); 18] = [
    ("alibi_bias", "a constant"),
    ("alibi_slopes", "constants"),
    ("backward", "the engine"),
    ("backward_from", "the engine"),
    ("checkpoint", "the engine"),
    ("composed", "a switch"),
    ("grad", "the engine"),
    ("grad_with_graph", "the engine"),
    ("gradcheck", "a check"),
    ("gradgradcheck", "a check"),
    ("hessian_vector_product", "the engine"),
    ("is_recomputing", "a question"),
    ("next_rng", "a stream"),
    ("no_grad", "a switch"),
    ("on_grad", "the engine"),
    ("power_iteration", "without a graph"),
    ("rope_frequencies", "constants"),
    ("same_padding", "a number"),
];

/// The names of cases and calls of an op where they do not begin with its own.
fn also_called(op: &str) -> &str {
    match op {
        "binary_cross_entropy_with_logits" => "binary_cross_entropy",
        "linear_with" => "linear, relu",
        "pointwise_loss" => "huber",
        "relu" => "activation, relu",
        "relu6" => "activation, relu6",
        "rope_interleaved" => "rope interleaved",
        "scaled_dot_product_attention" => "attention",
        own => own,
    }
}

/// What `lib.rs` exports in lower case: functions.
fn public_functions() -> BTreeSet<String> {
    let source = include_str!("../../src/lib.rs");
    let exports = source.split("pub use ").skip(1);
    let exports = exports.filter_map(|rest| Some(rest.split_once(';')?.0.split_once("::")?.1));
    let names = exports.flat_map(|names| names.split(['{', '}', ',']));
    let names = names.map(str::trim);
    let functions = names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    functions.map(String::from).collect()
}

fn ops() -> BTreeSet<String> {
    let mut ops = public_functions();
    for (name, _) in NO_OPS {
        assert!(ops.remove(name), "`{name}` is not public");
    }
    ops
}

/// The ops of which none of these names is, or begins with, the name of its own.
fn missing<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let names: Vec<&str> = names.collect();
    let is_of = |name: &str, op: &str| {
        let rest = name.strip_prefix(op);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let found = |op: &String| {
        let known = |name: &&str| is_of(name, op) || is_of(name, also_called(op));
        names.iter().any(known)
    };
    ops().into_iter().filter(|op| !found(op)).collect()
}

#[test]
fn every_op_has_a_case() {
    let cases = every_case();
    let missing = missing(cases.iter().map(|case| case.0));
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_op_has_a_bad_call() {
    // All tensors have these.
    let never_wrong = ["scale", "sum"];
    let calls = every_family();
    let calls = calls.iter().map(|bad| bad.0[0]);
    let missing = missing(calls.chain(never_wrong));
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn every_op_is_called_without_elements() {
    let calls = empty();
    let missing = missing(calls.iter().map(|call| call.0));
    assert!(missing.is_empty(), "{missing:?}");
}

fn benches() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches")
}

/// The source of all benches of kernels.
fn kernels() -> String {
    let files = std::fs::read_dir(benches().join("kernels")).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    texts.collect()
}

/// What candle does for us has no bench.
const VIEWS: [&str; 5] = ["flatten_from", "narrow", "reshape", "scale", "transpose"];

#[test]
fn every_op_has_a_bench() {
    let source = kernels();
    let is_called = |op: &str| {
        let whole = |at: usize| !source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let call = format!("{op}(");
        let mut places = source.match_indices(call.as_str());
        places.any(|(at, _)| whole(at))
    };
    let benched = |op: &str| VIEWS.contains(&op) || is_called(op);
    let missing: Vec<_> = ops().into_iter().filter(|op| !benched(op)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The strings that are the first argument of a call of one of these.
fn first_strings(source: &str, functions: &[&str]) -> BTreeSet<String> {
    let of = |function: &&str| -> Vec<String> {
        let call = format!("{function}(");
        let arguments = source.split(call.as_str()).skip(1);
        let quoted = arguments.filter_map(|rest| rest.trim_start().strip_prefix('"'));
        let strings = quoted.filter_map(|rest| rest.split('"').next());
        strings.map(String::from).collect()
    };
    functions.iter().flat_map(of).collect()
}

/// The keys of the dictionary of kernels in the script.
fn peers() -> BTreeSet<String> {
    let script = std::fs::read_to_string(benches().join("peers/kernels.py")).unwrap();
    let entries = script.split_once("\nKERNELS = {\n").unwrap().1;
    let entries = entries.split_once("\n}\n").unwrap().0;
    let keys = entries
        .lines()
        .filter_map(|line| line.strip_prefix("    \""));
    let keys = keys.filter_map(|key| key.split_once("\": "));
    keys.map(|(key, _)| key.to_string()).collect()
}

#[test]
fn every_bench_has_a_peer_in_pytorch() {
    let rows = ["kernel", "of_four_million", "of_pairs", "rows"];
    assert_eq!(first_strings(&kernels(), &rows), peers());
}
