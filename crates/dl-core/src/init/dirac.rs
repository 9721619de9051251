//! Convolutions that change nothing.

use candle_core::{Device, Result, Tensor, bail};

use super::with;
use crate::Params;

/// Kernels `(c_out, c_in / groups, taps…)` whose middle tap passes channel i to channel i of each group.
///
/// ```text
/// θ[g·c_out/groups + i, i, middle] = 1          i < min(c_out/groups, c_in/groups)
/// ```
///
/// An error unless there are three to five dimensions and `groups` divides the output channels.
///
/// ```
/// use candle_core::Device;
/// use dl_core::{Params, init};
/// let params = Params::new(0, &Device::Cpu);
/// params.vb().get((2, 1, 3), "w")?;
/// init::dirac(&params, "w", 2)?;
/// assert_eq!(params.get("w").unwrap().to_vec3::<f32>()?, [[[0., 1., 0.]], [[0., 1., 0.]]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn dirac(params: &Params, pattern: &str, groups: usize) -> Result<usize> {
    with(params, pattern, |shape, _| {
        let dims = shape.dims();
        if !(3..=5).contains(&dims.len()) || groups == 0 || !dims[0].is_multiple_of(groups) {
            bail!(
                "dirac needs three to five dimensions and groups that divide the first, got shape \
                 {shape:?} and {groups} groups"
            )
        }
        let per_group = dims[0] / groups;
        let taps: usize = dims[2..].iter().product();
        let middle = dims[2..].iter().fold(0, |at, size| at * size + size / 2);
        let mut values = vec![0f32; shape.elem_count()];
        for channel in 0..dims[0] {
            let i = channel % per_group;
            if i < dims[1] && taps > 0 {
                values[(channel * dims[1] + i) * taps + middle] = 1.;
            }
        }
        Tensor::from_vec(values, shape, &Device::Cpu)
    })
}
