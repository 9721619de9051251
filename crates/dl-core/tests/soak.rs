//! A long run keeps its memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::rc::Rc;

use candle_core::{Device, Tensor};
use dl_autograd::{Purpose, Rng};
use dl_core::Params;
use dl_core::data::{DataError, DataLoader, Dataset, StackTensors, TensorDataset};
use dl_core::models::{Mlp, MlpConfig};
use dl_core::train::{
    Callback, CheckpointOptions, Every, Flow, MetricsLog, Progress, Step, TrainError, Trainer,
    TrainerConfig,
};
use dl_optim::{Adam, Optimizer};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// A data set of 64,000 items, which are a few tensors over and over: an epoch has 2,000 batches.
struct Repeated(TensorDataset);

impl Dataset for Repeated {
    type Item = (Tensor, Tensor);

    fn len(&self) -> usize {
        64_000
    }

    fn get(&self, index: usize) -> Result<Self::Item, DataError> {
        self.0.get(index % self.0.len())
    }
}

/// Bytes in use, every hundred steps: those the program asked for and those that are resident.
#[derive(Clone, Default)]
struct Memory {
    heap: Rc<RefCell<Vec<u64>>>,
    resident: Rc<RefCell<Vec<u64>>>,
}

impl Callback for Memory {
    fn on_step_end(&mut self, step: &Step) -> Result<Flow, TrainError> {
        if step.step.is_multiple_of(100) {
            self.heap.borrow_mut().push(HEAP.current_usage() as u64);
            self.resident.borrow_mut().push(resident_bytes());
        }
        Ok(Flow::Continue)
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// The highest reading of the first and of the last 6,000 steps: a single one depends on whether a
/// checkpoint is being written at that moment.
fn first_and_last(readings: &[u64]) -> (f64, f64) {
    let highest = |part: &[u64]| part.iter().max().copied().unwrap_or_default() as f64;
    (
        highest(&readings[..60]),
        highest(&readings[readings.len() - 60..]),
    )
}

/// 50,000 steps of the perceptron of the examples with a log, a checkpoint every 500 steps and a
/// loader thread.
#[test]
fn memory_after_fifty_thousand_steps_is_that_of_the_first_ones() {
    let folder = tempfile::tempdir().unwrap();
    let rows = 32 * 100;
    let mut x = vec![0f32; rows * 784];
    Rng::new(4, Purpose::Other(0), 0).fill_normal(&mut x);
    let y: Vec<u32> = (0..rows as u32).map(|i| i % 10).collect();
    let x = Tensor::from_vec(x, (rows, 784), &Device::Cpu).unwrap();
    let y = Tensor::from_vec(y, rows, &Device::Cpu).unwrap();
    let train = DataLoader::new(Repeated(TensorDataset::new(x, y).unwrap()), StackTensors)
        .batch_size(32)
        .shuffle(true)
        .workers(1);
    let params = Params::new(7, &Device::Cpu);
    let model = Mlp::new(&MlpConfig::default(), params.vb()).unwrap();
    let optimizer = Optimizer::new(params.trainable(), Adam::default()).unwrap();
    let config = TrainerConfig {
        epochs: 25,
        limit_eval_batches: Some(1),
        ..Default::default()
    };
    let options = CheckpointOptions {
        every: Every::Steps(500),
        ..CheckpointOptions::new(folder.path().join("checkpoints"))
    };
    let memory = Memory::default();
    Trainer::new(&model, optimizer, config)
        .callback(MetricsLog::append(folder.path().join("metrics.jsonl")).unwrap())
        .callback(Progress::new("soak"))
        .callback(memory.clone())
        .checkpoints(&params, options)
        .fit(&train, &train)
        .unwrap();
    assert_eq!(memory.heap.borrow().len(), 500);
    let (first, last) = first_and_last(&memory.heap.borrow());
    println!("heap: {first} bytes in the first 6,000 steps, {last} in the last");
    // 2 %: 25 epochs of history.
    assert!(last <= first * 1.02, "heap: {first} bytes, then {last}");
    let (first, last) = first_and_last(&memory.resident.borrow());
    println!("resident: {first} bytes in the first 6,000 steps, {last} in the last");
    // Each of the five threads has its own arena in the C library's allocator and may come to
    // touch a few more of its pages: 256 KiB each beside the 2 %.
    let arenas = f64::from(5 * 256 * 1024);
    assert!(
        last <= first * 1.02 + arenas,
        "resident: {first} bytes, then {last}"
    );
}
