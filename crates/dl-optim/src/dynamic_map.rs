//! Numbers in 8 bits: a code for the size of each, a scale for each block.

use std::sync::LazyLock;

use candle_core::{D, DType, Device, Result, Tensor};

use crate::sweep::Element;

/// Elements that share a scale; what bitsandbytes has for its 8-bit optimizers.
pub const BLOCK_LEN: usize = 256;

/// The 256 numbers in `[−1, 1]` or `[0, 1]` that codes stand for, in rising order (Dettmers, 2016):
/// decades from 10⁻⁶ to 1, of which each has twice as many numbers as the one below it, and 0 and 1.
pub(crate) struct DynamicMap {
    values: [f32; 256],
    /// The middle between each value and the next; infinite after the last.
    bounds: [f32; 256],
    /// The number of bounds below the least number of each size; those of negative numbers last.
    first: Vec<u8>,
}

/// Bits of an `f32` that are not looked at to tell sizes apart: no two bounds differ in them alone.
const UNSEEN: u32 = 16;

/// Sizes from 0 to 1.
const SIZES: usize = (1.0_f32.to_bits() >> UNSEEN) as usize + 1;

static SIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(true));
static UNSIGNED: LazyLock<DynamicMap> = LazyLock::new(|| DynamicMap::new(false));

impl DynamicMap {
    /// For numbers of both signs.
    pub(crate) fn signed() -> &'static Self {
        &SIGNED
    }

    /// For numbers that are not negative.
    pub(crate) fn unsigned() -> &'static Self {
        &UNSIGNED
    }

    fn new(signed: bool) -> Self {
        let values = values(signed);
        let mut bounds = [f32::INFINITY; 256];
        for (bound, pair) in bounds.iter_mut().zip(values.windows(2)) {
            *bound = (pair[0] + pair[1]) / 2.0;
        }
        let size = |i: usize| f32::from_bits((i as u32) << UNSEEN);
        let below = |i| bounds.partition_point(|bound| *bound < size(i)) as u8;
        let below_minus = |i| bounds.partition_point(|bound| *bound <= -size(i + 1)) as u8;
        let first = (0..SIZES).map(below);
        Self {
            values,
            bounds,
            first: first.chain((0..SIZES).map(below_minus)).collect(),
        }
    }

    /// The number of bounds below `x`, by a look at its size and one at the only bound of that size.
    #[inline(always)]
    fn code(&self, x: f32) -> u8 {
        let size = ((x.to_bits() & 0x7fff_ffff) >> UNSEEN) as usize;
        let row = if x.is_sign_negative() { SIZES } else { 0 };
        let first = self.first[row + size.min(SIZES - 1)];
        first + u8::from(x > self.bounds[usize::from(first)])
    }

    /// The numbers in the type of their scales.
    pub(crate) fn decode(&self, codes: &Tensor, scales: &Tensor) -> Result<Tensor> {
        let values = self.table(&self.values, scales)?;
        // Wider: candle takes the largest index of a type for none, and gives 0.
        let codes_wide = codes.flatten_all()?.to_dtype(DType::U32)?;
        let values = values.index_select(&codes_wide, 0)?;
        let (values, count) = (in_blocks(&values)?, codes.elem_count());
        let wide = values.broadcast_mul(&scales.unsqueeze(1)?)?;
        wide.flatten_all()?
            .narrow(0, 0, count)?
            .reshape(codes.shape())
    }

    /// Codes in the shape of `x`, and scales.
    pub(crate) fn encode(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let blocks = in_blocks(&x.flatten_all()?)?;
        let sizes = blocks.abs()?;
        // A maximum may drop what is not a number; a sum may not.
        let scales =
            (sizes.max_keepdim(D::Minus1)? + sizes.sum_keepdim(D::Minus1)?.affine(0.0, 0.0)?)?;
        let divisors = scales.eq(0.0)?.where_cond(&scales.ones_like()?, &scales)?;
        let shares = blocks.broadcast_div(&divisors)?.flatten_all()?;
        let codes = self.search(&shares)?.narrow(0, 0, x.elem_count())?;
        Ok((codes.reshape(x.shape())?.contiguous()?, scales.squeeze(1)?))
    }

    /// The number of bounds below each share, by halving.
    fn search(&self, shares: &Tensor) -> Result<Tensor> {
        let bounds = self.table(&self.bounds, shares)?;
        let mut codes = shares.zeros_like()?;
        for half in [128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0] {
            let probe = codes.affine(1.0, half - 1.0)?.to_dtype(DType::U32)?;
            let above = shares.gt(&bounds.index_select(&probe, 0)?)?;
            codes = (codes + above.to_dtype(shares.dtype())?.affine(half, 0.0)?)?;
        }
        codes.to_dtype(DType::U8)
    }

    fn table(&self, numbers: &[f32; 256], like: &Tensor) -> Result<Tensor> {
        let numbers = Tensor::new(numbers.as_slice(), &Device::Cpu)?;
        numbers.to_dtype(like.dtype())?.to_device(like.device())
    }
}

/// A vector as `(blocks, BLOCK_LEN)`, the last one filled up with zeros.
fn in_blocks(x: &Tensor) -> Result<Tensor> {
    let missing = x.elem_count().next_multiple_of(BLOCK_LEN) - x.elem_count();
    x.pad_with_zeros(0, 0, missing)?.reshape(((), BLOCK_LEN))
}

/// In f32 in the order that bitsandbytes computes them in, so that they are the same.
fn values(signed: bool) -> [f32; 256] {
    let mut values = vec![0.0, 1.0];
    for decade in 0..7 {
        let count = if signed { 1 << decade } else { 2 << decade };
        let power = 10f64.powi(decade - 6) as f32;
        for i in 0..count {
            let middle = (boundary(i, count) + boundary(i + 1, count)) / 2.0;
            values.push(power * middle);
            if signed {
                values.push(-power * middle);
            }
        }
    }
    values.sort_by(f32::total_cmp);
    let mut all = [0.0; 256];
    all.copy_from_slice(&values);
    all
}

/// Boundary number `i` of `count` equal parts of `[0.1, 1]`, counted from the nearer end as PyTorch's
/// `linspace` does, whose vectors round once.
fn boundary(i: i32, count: i32) -> f32 {
    let step = (1.0 - 0.1_f32) / count as f32;
    if i < (count + 1) / 2 {
        step.mul_add(i as f32, 0.1)
    } else {
        (-step).mul_add((count - i) as f32, 1.0)
    }
}

/// A number that is kept in 8 bits.
pub(crate) trait Coded: Element {
    /// The code of a share of the scale.
    fn code(self, map: &DynamicMap) -> u8;
    /// What a code stands for.
    fn of(code: u8, map: &DynamicMap) -> Self;
    /// Whether it is not a number.
    fn is_nan(self) -> bool;
}

impl Coded for f32 {
    #[inline(always)]
    fn code(self, map: &DynamicMap) -> u8 {
        map.code(self)
    }
    #[inline(always)]
    fn of(code: u8, map: &DynamicMap) -> Self {
        map.values[usize::from(code)]
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f32::is_nan(self)
    }
}

impl Coded for f64 {
    fn code(self, map: &DynamicMap) -> u8 {
        let below = map.bounds.partition_point(|bound| f64::from(*bound) < self);
        below as u8
    }
    #[inline(always)]
    fn of(code: u8, map: &DynamicMap) -> Self {
        map.values[usize::from(code)].into()
    }
    #[inline(always)]
    fn is_nan(self) -> bool {
        f64::is_nan(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every size, its ends and its middle, in both signs: the shortcut, the search in f64 and the
    /// one that is composed.
    #[test]
    fn three_ways_to_a_code_agree_on_every_size() {
        for map in [DynamicMap::signed(), DynamicMap::unsigned()] {
            let sizes = (0..SIZES as u32)
                .flat_map(|i| [0, 1, 0x7fff, 0xffff].map(|rest| i << UNSEEN | rest));
            let sizes = sizes.map(f32::from_bits).filter(|x| *x <= 1.0);
            let mut numbers: Vec<f32> = sizes.flat_map(|x| [x, -x]).collect();
            numbers.extend(map.bounds.iter().filter(|bound| bound.is_finite()));
            numbers.extend(map.values);
            let fast: Vec<u8> = numbers.iter().map(|x| map.code(*x)).collect();
            let wide: Vec<u8> = numbers.iter().map(|x| f64::from(*x).code(map)).collect();
            let tensor = Tensor::new(numbers, &Device::Cpu).unwrap();
            assert_eq!(fast, wide);
            assert_eq!(map.search(&tensor).unwrap().to_vec1::<u8>().unwrap(), fast);
        }
    }

    #[test]
    fn every_code_stands_for_itself() {
        for map in [DynamicMap::signed(), DynamicMap::unsigned()] {
            let codes = map.values.map(|x| map.code(x));
            assert!(
                codes
                    .iter()
                    .enumerate()
                    .all(|(i, code)| i == usize::from(*code))
            );
            let codes = Tensor::arange(0u32, 256, &Device::Cpu).unwrap();
            let codes = codes.to_dtype(DType::U8).unwrap();
            let scales = Tensor::new(&[2.0_f32], &Device::Cpu).unwrap();
            let wide = map.decode(&codes, &scales).unwrap();
            assert_eq!(wide.to_vec1::<f32>().unwrap(), map.values.map(|x| 2.0 * x));
        }
    }

    #[test]
    fn a_block_that_is_not_a_number_stays_visible() {
        let x = Tensor::new(&[1.0_f32, f32::NAN], &Device::Cpu).unwrap();
        let map = DynamicMap::signed();
        let (codes, scales) = map.encode(&x).unwrap();
        let back = map
            .decode(&codes, &scales)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert!(back.iter().all(|x| x.is_nan()));
    }
}
