//! What a family of ops says about each of its cases.

use candle_core::{DType, Device, Result, Tensor, Var};
use dl_autograd::{Purpose, Rng};

pub type Op = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// A name, the shapes of its inputs, and the op.
pub struct Case(pub &'static str, pub Vec<Vec<usize>>, pub Op);

pub fn case(
    name: &'static str,
    shapes: &[&[usize]],
    op: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
) -> Case {
    Case(
        name,
        shapes.iter().map(|s| s.to_vec()).collect(),
        Box::new(op),
    )
}

pub fn inputs(case: &Case, dtype: DType) -> Vec<Var> {
    let make = |(i, shape): (usize, &Vec<usize>)| {
        let mut values = vec![0f32; shape.iter().product()];
        Rng::new(5, Purpose::Other(1), i as u64).fill_normal(&mut values);
        let tensor = Tensor::from_vec(values, shape.as_slice(), &Device::Cpu).unwrap();
        Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
    };
    case.1.iter().enumerate().map(make).collect()
}
