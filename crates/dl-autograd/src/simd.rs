//! Loops compiled for several instruction sets, one of which is picked at run time.

use std::mem::MaybeUninit;
use std::sync::LazyLock;

use candle_core::WithDType;
use num_traits::Float;
use pulp::{Arch, Simd, WithSimd};

/// The element types that the CPU kernels are written for.
pub(crate) trait Scalar: WithDType + Float + std::iter::Sum + Vectors {
    #[inline(always)]
    fn wide(self) -> f64 {
        WithDType::to_f64(self)
    }

    /// `self · a + b`, in one instruction where the CPU has one. Without it a call of `fma` in
    /// libm would cost more than the two roundings it saves.
    #[inline(always)]
    fn multiply_add<const FMA: bool>(self, a: Self, b: Self) -> Self {
        if FMA {
            Float::mul_add(self, a, b)
        } else {
            self * a + b
        }
    }
}

impl Scalar for f32 {}
impl Scalar for f64 {}

/// Numbers in registers.
pub(crate) trait Vectors: Sized {
    /// One register.
    type In<S: Simd>: Copy;

    /// Numbers in a register.
    fn lanes<S: Simd>() -> usize {
        size_of::<Self::In<S>>() / size_of::<Self>()
    }

    fn splat<S: Simd>(simd: S, x: Self) -> Self::In<S>;
    fn plus<S: Simd>(simd: S, a: Self::In<S>, b: Self::In<S>) -> Self::In<S>;
    fn minus<S: Simd>(simd: S, a: Self::In<S>, b: Self::In<S>) -> Self::In<S>;
    /// `a·b + c`.
    fn fused<S: Simd>(simd: S, a: Self::In<S>, b: Self::In<S>, c: Self::In<S>) -> Self::In<S>;
    /// The first numbers of a register, zeros behind them.
    fn partial<S: Simd>(simd: S, x: &[Self]) -> Self::In<S>;
    /// The sum of the lanes.
    fn total<S: Simd>(simd: S, x: Self::In<S>) -> Self;
    fn vectors<S: Simd>(x: &[Self]) -> &[Self::In<S>];
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> &mut [Self::In<S>];
    /// Of a [`room`](crate::host::room).
    fn vectors_of_room<S: Simd>(x: &mut [MaybeUninit<Self>]) -> &mut [MaybeUninit<Self::In<S>>];
}

macro_rules! vectors {
    ($t:ty, $in:ident, $splat:ident, $add:ident, $sub:ident, $multiply_add:ident, $cast:ident, $cast_mut:ident, $cast_room:ident, $partial:ident, $total:ident) => {
        impl Vectors for $t {
            type In<S: Simd> = S::$in;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$in {
                simd.$splat(x)
            }

            #[inline(always)]
            fn plus<S: Simd>(simd: S, a: S::$in, b: S::$in) -> S::$in {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn minus<S: Simd>(simd: S, a: S::$in, b: S::$in) -> S::$in {
                simd.$sub(a, b)
            }

            #[inline(always)]
            fn fused<S: Simd>(simd: S, a: S::$in, b: S::$in, c: S::$in) -> S::$in {
                simd.$multiply_add(a, b, c)
            }

            #[inline(always)]
            fn partial<S: Simd>(simd: S, x: &[Self]) -> S::$in {
                simd.$partial(x)
            }

            #[inline(always)]
            fn total<S: Simd>(simd: S, x: S::$in) -> Self {
                simd.$total(x)
            }

            #[inline(always)]
            fn vectors<S: Simd>(x: &[Self]) -> &[S::$in] {
                S::$cast(x).0
            }

            #[inline(always)]
            fn vectors_mut<S: Simd>(x: &mut [Self]) -> &mut [S::$in] {
                S::$cast_mut(x).0
            }

            #[inline(always)]
            fn vectors_of_room<S: Simd>(x: &mut [MaybeUninit<Self>]) -> &mut [MaybeUninit<S::$in>] {
                S::$cast_room(x).0
            }
        }
    };
}

vectors!(
    f32,
    f32s,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_add_e_f32s,
    as_simd_f32s,
    as_mut_simd_f32s,
    as_uninit_mut_simd_f32s,
    partial_load_f32s,
    reduce_sum_f32s
);
vectors!(
    f64,
    f64s,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_add_e_f64s,
    as_simd_f64s,
    as_mut_simd_f64s,
    as_uninit_mut_simd_f64s,
    partial_load_f64s,
    reduce_sum_f64s
);

/// A loop to be compiled once per instruction set. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    fn run<const FMA: bool>(self);
}

struct Dispatched<K>(K);

impl<K: Kernel> WithSimd for Dispatched<K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        // Every vector instruction set that pulp picks has a fused multiply-add.
        if S::IS_SCALAR {
            self.0.run::<false>()
        } else {
            self.0.run::<true>()
        }
    }
}

/// Runs a kernel with the widest instruction set of this CPU.
pub(crate) fn dispatch(kernel: impl Kernel) {
    run(Dispatched(kernel));
}

/// Runs a kernel with the instruction set of [`arch`].
pub(crate) fn run<K: WithSimd>(kernel: K) -> K::Output {
    static ARCH: LazyLock<Arch> = LazyLock::new(arch);
    ARCH.dispatch(kernel)
}

/// The widest instruction set of this CPU, or the one that the environment variable `DL_SIMD` names.
/// One that the CPU lacks, or another name, is passed over.
fn arch() -> Arch {
    let named = std::env::var("DL_SIMD").ok();
    let named = named.and_then(|name| match name.as_str() {
        "scalar" => Some(Arch::Scalar),
        #[cfg(target_arch = "x86_64")]
        "avx2" => pulp::x86::V3::try_new().map(Arch::V3),
        _ => None,
    });
    named.unwrap_or_default()
}

/// The sum of all lanes, one half onto the other: one after another they would wait for each other.
#[inline(always)]
pub(crate) fn total<T: Scalar, const N: usize>(lanes: &[T; N]) -> f64 {
    let mut sums = lanes.map(Scalar::wide);
    let mut count = N;
    while count > 1 {
        let half = count.div_ceil(2);
        for lane in half..count {
            sums[lane - half] += sums[lane];
        }
        count = half;
    }
    sums[0]
}

/// Independent sums of a row, for one vector register or two.
const LANES: usize = 16;

/// `Σ f(i)` over a row with [`LANES`] independent sums.
#[inline(always)]
pub(crate) fn row_sum<T: Scalar>(len: usize, f: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let whole = len / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    let rest = (whole..len).fold(T::zero(), |sum, i| sum + f(i));
    lanes.into_iter().fold(rest, |a, b| a + b)
}

/// The largest of a row, −∞ for an empty one; a NaN is passed over.
#[inline(always)]
pub(crate) fn row_max<T: Scalar>(x: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [T::neg_infinity(); LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for (max, x) in lanes.iter_mut().zip(chunk) {
            *max = larger(*max, *x);
        }
    }
    let rest = chunks.remainder().iter().copied();
    lanes
        .into_iter()
        .chain(rest)
        .fold(T::neg_infinity(), larger)
}
