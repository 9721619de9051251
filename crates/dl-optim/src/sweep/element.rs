//! The number types that the fused loops are compiled for.

use candle_core::{CpuStorage, Layout, Result, WithDType, bail};

use crate::Real;

/// `f32` or `f64`: a number that rules compute with and that candle stores.
pub(crate) trait Element:
    Real + Copy + Default + PartialOrd + Send + Sync + WithDType
{
    /// The whole storage.
    fn all(storage: &CpuStorage) -> Result<&[Self]>;
    /// The part of the storage that a contiguous layout covers.
    fn contiguous_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [Self]>;
    /// Rounds to this type.
    fn round(value: f64) -> Self;
    /// Widens, exactly.
    fn widen(self) -> f64;
}

macro_rules! element {
    ($($float:ident $variant:ident)*) => {$(
        impl Element for $float {
            fn all(storage: &CpuStorage) -> Result<&[Self]> {
                match storage {
                    CpuStorage::$variant(all) => Ok(all),
                    _ => bail!("a tensor of the update is not {}", stringify!($float)),
                }
            }

            fn contiguous_mut<'a>(
                storage: &'a mut CpuStorage,
                layout: &Layout,
            ) -> Result<&'a mut [Self]> {
                let CpuStorage::$variant(all) = storage else {
                    bail!("a tensor of the update is not {}", stringify!($float));
                };
                let range = layout.contiguous_offsets().map(|(start, end)| start..end);
                match range.and_then(|range| all.get_mut(range)) {
                    Some(part) => Ok(part),
                    None => bail!("a tensor of the update is not contiguous"),
                }
            }

            #[inline(always)]
            fn round(value: f64) -> Self {
                value as $float
            }

            #[inline(always)]
            fn widen(self) -> f64 {
                self.into()
            }
        }
    )*};
}
element!(f32 F32 f64 F64);
