//! Converts a checkpoint to safetensors: any format that is read here, in a smaller dtype.
//!
//! `cargo run --release -p dl-transfer --example convert_weights -- IN OUT --dtype f16`
//!
//! Names stay. PyTorch's `num_batches_tracked` counters are left out. Floating-point values are
//! cast (`f32`, `f16` or `bf16`); one that becomes infinite is an error. Prints one line.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use dl_transfer::{Checkpoint, Error, save_safetensors};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, flag, dtype] = arguments.as_slice() else {
        bail!("usage: convert_weights IN OUT --dtype f32|f16|bf16");
    };
    let dtype = match (flag.as_str(), dtype.as_str()) {
        ("--dtype", "f32") => DType::F32,
        ("--dtype", "f16") => DType::F16,
        ("--dtype", "bf16") => DType::BF16,
        _ => bail!("unknown option `{flag} {dtype}`; wanted --dtype f32|f16|bf16"),
    };
    let file = Checkpoint::open(input)?;
    let mut tensors = Vec::new();
    for name in file
        .names()
        .filter(|name| !name.ends_with("num_batches_tracked"))
    {
        let tensor = file.tensor(name, &Device::Cpu)?;
        tensors.push((name, cast(name, &tensor, dtype)?));
    }
    let left_out = format!(
        "num_batches_tracked ({} counters)",
        file.len() - tensors.len()
    );
    let scalars: usize = tensors.iter().map(|(_, tensor)| tensor.elem_count()).sum();
    save_safetensors(
        output,
        tensors.iter().map(|(n, t)| (*n, t)),
        &[("left_out", &left_out)],
    )
    .with_context(|| format!("writing {output}"))?;
    println!(
        "{}: {} tensors, {scalars} values as {dtype:?}",
        output,
        tensors.len()
    );
    Ok(())
}

fn cast(name: &str, tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if !tensor.dtype().is_float() {
        return Ok(tensor.clone());
    }
    let small = tensor.to_dtype(dtype)?;
    let before = tensor
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?;
    let after = small
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?;
    let lost = before
        .iter()
        .zip(&after)
        .find(|(b, a)| b.is_finite() && !a.is_finite());
    match lost {
        None => Ok(small),
        Some((value, _)) => Err(Error::OutOfRange {
            name: name.to_string(),
            value: *value,
            dtype: dtype.as_str(),
        }
        .into()),
    }
}
