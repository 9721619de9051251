//! What steps allocate, in a process of its own whose allocator counts.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Var};
use dl_optim::{Ema, Optimizer, rule_named};
use serde_json::json;

struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that a call allocates, whether it gives them back or not.
fn allocated(work: impl FnOnce()) -> usize {
    let before = BYTES.load(Ordering::Relaxed);
    work();
    BYTES.load(Ordering::Relaxed) - before
}

/// Rules whose whole update is one pass, or one for the norms and one for the step.
const FUSED: &[(&str, &str)] = &[
    ("sgd", r#"{"momentum": 0.9}"#),
    ("momentum", "{}"),
    ("adam", r#"{"amsgrad": true}"#),
    ("adamw", "{}"),
    ("adamw", r#"{"cautious": true}"#),
    ("adam8bit", "{}"),
    ("adamw8bit", "{}"),
    ("adamax", "{}"),
    ("nadam", "{}"),
    ("radam", "{}"),
    ("rmsprop", r#"{"momentum": 0.9, "centered": true}"#),
    ("adagrad", "{}"),
    ("adadelta", "{}"),
    ("lion", "{}"),
    ("lion", r#"{"cautious": true}"#),
    ("sign_sgd", "{}"),
    ("sophia", "{}"),
    ("lamb", "{}"),
    ("lars", "{}"),
    ("novograd", "{}"),
    ("adabelief", "{}"),
    ("yogi", "{}"),
    ("adan", "{}"),
    ("ademamix", "{}"),
    ("madgrad", "{}"),
    ("ftrl", "{}"),
    ("sgd_schedule_free", "{}"),
    ("adamw_schedule_free", "{}"),
];

/// A million elements: a copy of the parameter would be 4 MB. What is counted is names, handles and the
/// partial sums of norms.
#[test]
fn after_the_first_step_nothing_of_the_size_of_a_parameter_is_allocated() {
    let x = Var::ones((1000, 1000), DType::F32, &Device::Cpu).unwrap();
    let mut grads = GradStore::default();
    grads.insert(&x, x.affine(0.5, 0.1).unwrap());
    let params = [("x".to_string(), x.clone())];
    for &(name, options) in FUSED {
        let rule = rule_named(name, serde_json::from_str(options).unwrap()).unwrap();
        let mut optimizer = Optimizer::new(params.clone(), rule).unwrap();
        optimizer.step(&grads).unwrap();
        let bytes = allocated(|| optimizer.step(&grads).unwrap());
        assert!(bytes < 40_000, "{name} {options}: {bytes} bytes");
    }
    let mut ema = Ema::new(params.clone(), 0.9).unwrap();
    ema.update().unwrap();
    let bytes = allocated(|| ema.update().unwrap());
    assert!(bytes < 40_000, "ema: {bytes} bytes");
    let composed = rule_named("adamw", json!({})).unwrap();
    let adamw = Optimizer::new(params, composed).unwrap();
    let mut adamw = adamw.path(dl_optim::Path::Composed);
    adamw.step(&grads).unwrap();
    let bytes = allocated(|| adamw.step(&grads).unwrap());
    assert!(
        bytes > 4_000_000,
        "the count misses what the composed path allocates: {bytes}"
    );
}
