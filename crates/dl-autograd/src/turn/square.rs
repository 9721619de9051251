//! A square of numbers, whose columns become its rows.

use std::any::TypeId;
use std::mem::MaybeUninit;

use pulp::Simd;

use super::LANES;
use crate::simd::Scalar;

/// Turns a square the rows of which lie at the given places, on either side.
#[inline(always)]
pub(super) fn turn<T: Scalar, S: Simd>(
    (from, rows): (&[T], [usize; LANES]),
    (to, columns): (&mut [MaybeUninit<T>], [usize; LANES]),
) {
    assert!(rows.iter().all(|row| row + LANES <= from.len()));
    assert!(columns.iter().all(|column| column + LANES <= to.len()));
    #[cfg(target_arch = "x86_64")]
    if TypeId::of::<T>() == TypeId::of::<f32>() {
        let (from, to) = (from.as_ptr().cast(), to.as_mut_ptr().cast());
        if TypeId::of::<S>() == TypeId::of::<pulp::x86::V4>() {
            // SAFETY: `T` is `f32`, all rows and columns lie in the slices, and this instruction set is
            // the one that the caller was compiled for and picked for this CPU.
            return unsafe { x86::turn_512(from, rows, to, columns) };
        }
        // SAFETY: as above; SSE is part of x86-64.
        return unsafe { x86::turn_128(from, rows, to, columns) };
    }
    for (i, row) in rows.into_iter().enumerate() {
        for (j, column) in columns.into_iter().enumerate() {
            to[column + i].write(from[row + j]);
        }
    }
}

/// LLVM would move number by number.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::LANES;

    /// # Safety
    /// [`LANES`] numbers lie at every place, and the CPU has AVX-512.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn turn_512(
        from: *const f32,
        rows: [usize; LANES],
        to: *mut f32,
        columns: [usize; LANES],
    ) {
        let mut x = [_mm512_setzero_ps(); LANES];
        for i in 0..LANES {
            // SAFETY: the caller's.
            x[i] = unsafe { _mm512_loadu_ps(from.add(rows[i])) };
        }
        let mut y = x;
        // Of every four columns the first and second halves of two rows, then of four.
        for i in 0..LANES / 2 {
            y[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
            y[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
        }
        for of_four in 0..LANES / 4 {
            let i = 4 * of_four;
            for half in 0..2 {
                let (a, b) = (
                    _mm512_castps_pd(y[i + half]),
                    _mm512_castps_pd(y[i + half + 2]),
                );
                x[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                x[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            }
        }
        // Then squares of four change places.
        for i in 0..4 {
            let [a, b, c, d] = [x[i], x[i + 4], x[i + 8], x[i + 12]];
            let (ab, cd) = (
                _mm512_shuffle_f32x4::<0x44>(a, b),
                _mm512_shuffle_f32x4::<0x44>(c, d),
            );
            let (ab_high, cd_high) = (
                _mm512_shuffle_f32x4::<0xee>(a, b),
                _mm512_shuffle_f32x4::<0xee>(c, d),
            );
            y[i] = _mm512_shuffle_f32x4::<0x88>(ab, cd);
            y[i + 4] = _mm512_shuffle_f32x4::<0xdd>(ab, cd);
            y[i + 8] = _mm512_shuffle_f32x4::<0x88>(ab_high, cd_high);
            y[i + 12] = _mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high);
        }
        for i in 0..LANES {
            // SAFETY: the caller's.
            unsafe { _mm512_storeu_ps(to.add(columns[i]), y[i]) };
        }
    }

    /// Four rows and four columns at a time.
    ///
    /// # Safety
    /// [`LANES`] numbers lie at every place.
    #[inline(always)]
    pub(super) unsafe fn turn_128(
        from: *const f32,
        rows: [usize; LANES],
        to: *mut f32,
        columns: [usize; LANES],
    ) {
        for (i, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
            for (j, columns) in columns.as_chunks::<4>().0.iter().enumerate() {
                // SAFETY: the caller's, and SSE is part of x86-64.
                unsafe {
                    let [a, b, c, d] = rows.map(|row| _mm_loadu_ps(from.add(row + 4 * j)));
                    let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
                    let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
                    let turned = [
                        _mm_movelh_ps(ab, cd),
                        _mm_movehl_ps(cd, ab),
                        _mm_movelh_ps(ab_high, cd_high),
                        _mm_movehl_ps(cd_high, ab_high),
                    ];
                    for (turned, column) in turned.into_iter().zip(columns) {
                        _mm_storeu_ps(to.add(column + 4 * i), turned);
                    }
                }
            }
        }
    }
}
