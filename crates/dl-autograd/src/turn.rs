//! Lines of numbers turned over, so that those of equal number lie beside each other, and back.
//!
//! In an image the lines are the planes of [`LANES`] channels: afterwards a pixel is a vector.

use std::any::TypeId;

use crate::rows;
use crate::simd::Scalar;

/// Numbers of one vector of f32, the unit in which buffers are laid out.
pub(crate) const LANES: usize = 16;

/// Numbers on a side of the square that is turned at a time.
const SIDE: usize = 4;

/// How the lines lie on one side, and the vectors on the other.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// At most [`LANES`].
    pub(crate) lines: usize,
    /// From a line to the next.
    pub(crate) stride: usize,
    /// Vectors in a row.
    pub(crate) columns: usize,
    /// From a vector to the next in its row, and from a row to the next.
    pub(crate) step: usize,
    pub(crate) pitch: usize,
}

impl Turn {
    /// With the vectors in one row.
    #[inline(always)]
    pub(crate) fn flat(lines: usize, stride: usize, step: usize) -> Self {
        Self {
            lines,
            stride,
            columns: usize::MAX,
            step,
            pitch: 0,
        }
    }

    /// The first `count` numbers of every line as vectors, with zeros for the lines that are missing.
    #[inline(always)]
    pub(crate) fn gather<T: Scalar, U: Copy>(
        self,
        from: &[T],
        count: usize,
        to: &mut [U],
        store: impl Fn(T) -> U + Copy,
    ) {
        let (mut places, mut vectors) = (Places::new(self), [[T::zero(); LANES]; LANES]);
        let zeros = [T::zero(); LANES];
        for at in (0..count).step_by(LANES) {
            let len = LANES.min(count - at);
            let mut rest = [zeros; LANES];
            let mut lines = [&zeros; LANES];
            for (i, (line, rest)) in lines.iter_mut().zip(&mut rest).take(self.lines).enumerate() {
                let from = &from[i * self.stride + at..][..len];
                *line = match from.first_chunk() {
                    Some(whole) => whole,
                    None => {
                        rows::copy(&mut rest[..len], from, |x| x);
                        rest
                    }
                };
            }
            turn(lines, &mut vectors);
            for vector in &vectors[..len] {
                let to = &mut to[places.advance()..][..LANES];
                if let [to] = to.as_chunks_mut::<LANES>().0 {
                    *to = vector.map(store);
                }
            }
        }
    }

    /// The inverse of [`gather`](Self::gather).
    #[inline(always)]
    pub(crate) fn scatter<T: Scalar, U: Copy>(
        self,
        from: &[T],
        count: usize,
        to: &mut [U],
        store: impl Fn(T) -> U + Copy,
    ) {
        let (mut places, mut lines) = (Places::new(self), [[T::zero(); LANES]; LANES]);
        let zeros = [T::zero(); LANES];
        for at in (0..count).step_by(LANES) {
            let len = LANES.min(count - at);
            let mut vectors = [&zeros; LANES];
            for vector in &mut vectors[..len] {
                if let Some(whole) = from[places.advance()..].first_chunk() {
                    *vector = whole;
                }
            }
            turn(vectors, &mut lines);
            for (i, line) in lines.iter().take(self.lines).enumerate() {
                let to = &mut to[i * self.stride + at..][..len];
                match to.as_chunks_mut::<LANES>().0 {
                    [whole] => *whole = line.map(store),
                    _ => rows::copy(to, &line[..len], store),
                }
            }
        }
    }
}

/// Where one vector after the other lies.
struct Places {
    turn: Turn,
    column: usize,
    next: usize,
}

impl Places {
    #[inline(always)]
    fn new(turn: Turn) -> Self {
        Self {
            turn,
            column: 0,
            next: 0,
        }
    }

    #[inline(always)]
    fn advance(&mut self) -> usize {
        let place = self.next;
        self.column += 1;
        self.next += self.turn.step;
        if self.column == self.turn.columns {
            self.next += self.turn.pitch - self.turn.columns * self.turn.step;
            self.column = 0;
        }
        place
    }
}

/// Makes the columns of a square its rows.
#[inline(always)]
fn turn<T: Scalar>(square: [&[T; LANES]; LANES], to: &mut [[T; LANES]; LANES]) {
    let (square, _) = square.as_chunks::<SIDE>();
    for (row, lines) in square.iter().enumerate() {
        for (column, to) in to.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
            let small = lines.map(|line| line.as_chunks::<SIDE>().0[column]);
            for (to, small) in to.iter_mut().zip(small_turned(small)) {
                to.as_chunks_mut::<SIDE>().0[row] = small;
            }
        }
    }
}

#[inline(always)]
fn small_turned<T: Scalar>(x: [[T; SIDE]; SIDE]) -> [[T; SIDE]; SIDE] {
    #[cfg(target_arch = "x86_64")]
    if TypeId::of::<T>() == TypeId::of::<f32>() {
        // SAFETY: `T` is `f32`.
        return unsafe { std::mem::transmute_copy(&x86::turned(std::mem::transmute_copy(&x))) };
    }
    std::array::from_fn(|i| std::array::from_fn(|j| x[j][i]))
}

/// LLVM would move number by number.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
    };

    #[inline(always)]
    pub(crate) fn turned(x: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
        // SAFETY: SSE is part of x86-64, every load reads the four numbers of an array, and four
        // registers are four arrays of four numbers.
        unsafe {
            let [a, b, c, d] = x.map(|x| _mm_loadu_ps(x.as_ptr()));
            let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
            std::mem::transmute([
                _mm_movelh_ps(ab, cd),
                _mm_movehl_ps(cd, ab),
                _mm_movelh_ps(ab_high, cd_high),
                _mm_movehl_ps(cd_high, ab_high),
            ])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T: Scalar>(lines: usize, count: usize) {
        let turn = Turn {
            lines,
            stride: count + 2,
            columns: 7,
            step: LANES + 1,
            pitch: 7 * (LANES + 1) + 3,
        };
        let number = |line: usize, i: usize| T::from_f64((line * 1000 + i + 1) as f64);
        let from: Vec<T> = (0..lines * turn.stride)
            .map(|i| number(i / turn.stride, i % turn.stride))
            .collect();
        let mut vectors = vec![T::zero(); count.div_ceil(7) * turn.pitch];
        turn.gather(&from, count, &mut vectors, |x| x);
        for i in 0..count {
            let vector = &vectors[i / 7 * turn.pitch + i % 7 * turn.step..][..LANES];
            for (line, x) in vector.iter().enumerate() {
                let wanted = if line < lines {
                    number(line, i)
                } else {
                    T::zero()
                };
                assert!(
                    *x == wanted,
                    "line {line}, number {i} of {lines} by {count}"
                );
            }
        }
        let mut back = vec![T::zero(); from.len()];
        turn.scatter(&vectors, count, &mut back, |x| x);
        for (i, (back, from)) in back.iter().zip(&from).enumerate() {
            let wanted = if i % turn.stride < count {
                *from
            } else {
                T::zero()
            };
            assert!(*back == wanted, "number {i} of {lines} by {count}");
        }
    }

    #[test]
    fn lines_of_every_length_come_back_and_nothing_else_is_touched() {
        for lines in [1, 3, 15, 16] {
            for count in [1, 5, 9, 15, 16, 17, 40, 64] {
                there_and_back::<f32>(lines, count);
                there_and_back::<f64>(lines, count);
            }
        }
    }
}
