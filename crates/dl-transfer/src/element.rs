//! The element types that files hold, and the candle dtype each becomes.

use candle_core::{DType, Device, Result, Tensor};
use safetensors::Dtype;

/// One element type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F64,
    F32,
    F16,
    BF16,
    F8E4M3,
    I64,
    I32,
    I16,
    /// Candle has no signed bytes: widened to `I16`.
    I8,
    U32,
    /// Candle has no unsigned 16-bit integers: widened to `U32`.
    U16,
    U8,
    /// Candle has no booleans: 0 and 1 in `U8`, its own convention for masks.
    Bool,
}

impl Element {
    /// The element of a class such as `torch.FloatStorage`, by the class name.
    pub(crate) fn of_storage(class: &str) -> Option<Self> {
        Some(match class {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::BF16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" => Self::I8,
            "ByteStorage" => Self::U8,
            "BoolStorage" => Self::Bool,
            _ => return None,
        })
    }

    pub(crate) fn of_safetensors(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F8_E4M3 => Self::F8E4M3,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U32 => Self::U32,
            Dtype::U16 => Self::U16,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            _ => return None,
        })
    }

    /// Bytes of one element in the file.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::F8E4M3 | Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The dtype of the tensor that [`decode`](Self::decode) returns.
    pub(crate) fn dtype(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::F8E4M3 => DType::F8E4M3,
            Self::I64 => DType::I64,
            Self::I32 => DType::I32,
            Self::I16 | Self::I8 => DType::I16,
            Self::U32 | Self::U16 => DType::U32,
            Self::U8 | Self::Bool => DType::U8,
        }
    }

    /// A tensor from little-endian bytes in row-major order.
    pub(crate) fn decode(self, bytes: &[u8], shape: &[usize], device: &Device) -> Result<Tensor> {
        let wanted = element_count(shape).and_then(|n| n.checked_mul(self.bytes()));
        if wanted != Some(bytes.len() as u64) {
            candle_core::bail!("{} bytes for shape {shape:?} of {self:?}", bytes.len())
        }
        match self {
            Self::I8 => {
                let wide = bytes.iter().map(|&b| i16::from(b as i8)).collect();
                Tensor::from_vec::<_, i16>(wide, shape, device)
            }
            Self::U16 => {
                let wide = bytes.chunks_exact(2);
                let wide = wide.map(|b| u32::from(u16::from_le_bytes([b[0], b[1]])));
                Tensor::from_vec::<_, u32>(wide.collect(), shape, device)
            }
            Self::Bool => {
                let bits = bytes.iter().map(|&b| u8::from(b != 0)).collect();
                Tensor::from_vec::<_, u8>(bits, shape, device)
            }
            _ => Tensor::from_raw_buffer(bytes, self.dtype(), shape, device),
        }
    }
}

/// Number of elements of a shape; `None` if a product of its sizes overflows, also where a zero
/// would hide it: strides are products of some of the sizes.
pub(crate) fn element_count(shape: &[usize]) -> Option<u64> {
    let mut sizes = shape.iter().map(|&size| size.max(1) as u64);
    let largest = sizes.try_fold(1u64, u64::checked_mul)?;
    let count = if shape.contains(&0) { 0 } else { largest };
    (largest <= isize::MAX as u64).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_does_not_hide_sizes_whose_product_overflows() {
        assert_eq!(element_count(&[2, 3]), Some(6));
        assert_eq!(element_count(&[]), Some(1));
        assert_eq!(element_count(&[5, 0]), Some(0));
        assert_eq!(element_count(&[0, usize::MAX, 2]), None);
        assert_eq!(element_count(&[usize::MAX, 2]), None);
    }
}
