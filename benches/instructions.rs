//! How many instructions does forward and backward of a kernel take, or a step of an optimizer?
//!
//! Times on shared machines swing; this does not. `benches/instructions.sh` runs each kernel under
//! callgrind, which counts what [`measured`] executes, and compares with `benches/instructions.json`.
//! callgrind has no AVX-512, so it is the AVX2 kernels that are counted.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{
    Activation, AttentionOptions, Conv2dConfig, Direction, RecurrentWeights, Reduction, Tape,
    add_layer_norm, backward, batch_norm, conv2d, cross_entropy, lstm,
    scaled_dot_product_attention, sum,
};
use dl_optim::{AdamW, Optimizer};

/// What is counted, by name, with the shapes of its tracked inputs.
const KERNELS: [(&str, &[&[usize]], Kernel); 7] = [
    (
        "conv2d 3x3, 2x32x16x16",
        &[&[2, 32, 16, 16], &[32, 32, 3, 3]],
        |t| backward_of(&conv2d(&t[0], &t[1], None, &padded(1))?),
    ),
    (
        "depthwise conv2d 3x3, 2x32x28x28",
        &[&[2, 32, 28, 28], &[32, 1, 3, 3]],
        |t| backward_of(&conv2d(&t[0], &t[1], None, &padded(32))?),
    ),
    (
        "batch_norm + relu, 4x32x28x28",
        &[&[4, 32, 28, 28], &[32], &[32]],
        |t| backward_of(&batch_norm(&t[0], &t[1], &t[2], 1e-5, Activation::Relu)?.0),
    ),
    (
        "residual + layer_norm, 256x384",
        &[&[256, 384], &[256, 384], &[384], &[384]],
        |t| {
            let (weight, bias) = (Some(&t[2]), Some(&t[3]));
            backward_of(&add_layer_norm(&t[0], &t[1], weight, bias, 1e-5)?)
        },
    ),
    (
        "attention, 1x4x128x32",
        &[&[1, 4, 128, 32], &[1, 4, 128, 32], &[1, 4, 128, 32]],
        |t| {
            let options = AttentionOptions::default();
            backward_of(&scaled_dot_product_attention(
                &t[0], &t[1], &t[2], &options,
            )?)
        },
    ),
    (
        "lstm, 4x16x64→64",
        &[&[4, 16, 64], &[256, 64], &[256, 64], &[256], &[256]],
        |t| {
            let weights = RecurrentWeights {
                weight_ih: t[1].clone(),
                weight_hh: t[2].clone(),
                bias: Some([t[3].clone(), t[4].clone()]),
            };
            backward_of(&lstm(&t[0], None, &weights, None, Direction::Forward)?.0)
        },
    ),
    ("cross_entropy, 64x1000", &[&[64, 1000]], |t| {
        let classes = Tensor::arange(0u32, 64, &Device::Cpu)?;
        let loss = cross_entropy(&t[0], &classes, &Default::default(), Reduction::Mean)?;
        backward(&loss)
    }),
];

/// Besides the kernels.
const OPTIMIZER: &str = "step of adamw, 4 x 50000";

type Kernel = fn(&[Tensor]) -> Result<GradStore>;

fn backward_of(y: &Tensor) -> Result<GradStore> {
    backward(&sum(y)?)
}

fn padded(groups: usize) -> Conv2dConfig {
    Conv2dConfig {
        padding: 1.into(),
        groups,
        ..Default::default()
    }
}

/// callgrind counts in here alone.
#[inline(never)]
fn measured<R>(f: impl FnOnce() -> R) -> R {
    std::hint::black_box(f())
}

fn var(shape: &[usize]) -> Result<Var> {
    let count = shape.iter().product::<usize>() as u32;
    let values = Tensor::arange(0u32, count, &Device::Cpu)?.to_dtype(DType::F32)?;
    // Irregular numbers in (−1, 1).
    Var::from_tensor(&values.affine(0.7, 0.3)?.sin()?.reshape(shape)?)
}

fn run(name: &str) -> anyhow::Result<()> {
    if name == OPTIMIZER {
        let vars: Vec<Var> = (0..4).map(|_| var(&[50_000])).collect::<Result<_>>()?;
        let mut grads = GradStore::default();
        for var in &vars {
            grads.insert(var, var.as_detached_tensor().copy()?);
        }
        let named = vars.into_iter().enumerate();
        let named = named.map(|(i, var)| (format!("weight.{i}"), var));
        let mut optimizer = Optimizer::new(named, AdamW::default())?;
        optimizer.step(&grads)?;
        return Ok(measured(|| optimizer.step(&grads))?);
    }
    let found = KERNELS.iter().find(|kernel| kernel.0 == name);
    let (_, shapes, kernel) = found.ok_or_else(|| anyhow::anyhow!("no kernel `{name}`"))?;
    let vars: Vec<Var> = shapes.iter().map(|s| var(s)).collect::<Result<_>>()?;
    let inputs: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let step = || {
        let _tape = Tape::new();
        kernel(&inputs)
    };
    step()?;
    measured(step)?;
    Ok(())
}

/// Prints the names, or runs the kernel that is named, once to warm up and once to be counted.
fn main() -> anyhow::Result<()> {
    let name = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let Some(name) = name else {
        KERNELS.iter().for_each(|kernel| println!("{}", kernel.0));
        println!("{OPTIMIZER}");
        return Ok(());
    };
    // Whatever the kernel does in parallel stays on the thread that is counted.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    pool.install(|| run(&name))
}
