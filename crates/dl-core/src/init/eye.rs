//! The identity matrix.

use candle_core::{Device, Result, Tensor, bail};

use super::with;
use crate::Params;

/// 1 on the diagonal of a matrix and 0 elsewhere; an error for another number of dimensions.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().get((2, 3), "w")?;
/// init::eye(&params, "w")?;
/// assert_eq!(params.get("w").unwrap().to_vec2::<f32>()?, [[1., 0., 0.], [0., 1., 0.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn eye(params: &Params, pattern: &str) -> Result<usize> {
    with(params, pattern, |shape, _| {
        let &[rows, columns] = shape.dims() else {
            bail!("eye needs two dimensions, got shape {shape:?}")
        };
        let value = |i: usize| f32::from(u8::from(i / columns == i % columns));
        let values: Vec<f32> = (0..rows * columns).map(value).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    })
}
