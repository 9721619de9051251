//! Lines of numbers turned over, so that those of equal number lie beside each other, and back.
//!
//! In an image the lines are the planes of [`LANES`] channels: afterwards a pixel is a vector.

mod square;

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

use crate::rows;
use crate::simd::{self, Scalar};
use square::turn;

/// Numbers of one vector of f32, the unit in which buffers are laid out.
pub(crate) const LANES: usize = 16;

/// How the lines lie on one side, and the vectors on the other.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
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
    pub(crate) fn flat(lines: usize, stride: usize, step: usize) -> Self {
        Self {
            lines,
            stride,
            columns: usize::MAX,
            step,
            pitch: 0,
        }
    }

    /// At most [`LANES`] lines at a time, and the number of the first.
    fn blocks(self) -> impl Iterator<Item = (Self, usize)> {
        (0..self.lines).step_by(LANES).map(move |first| {
            let lines = LANES.min(self.lines - first);
            (Self { lines, ..self }, first)
        })
    }

    /// Writes the first `count` numbers of every line as vectors, with zeros for the lines that are missing.
    pub(crate) fn gather<T: Scalar>(self, from: &[T], count: usize, to: &mut [MaybeUninit<T>]) {
        for (turn, first) in self.blocks() {
            simd::run(Gather {
                turn,
                from: &from[first * self.stride..],
                count,
                to: &mut to[first..],
            });
        }
    }

    /// [`gather`](Self::gather), over what is there.
    pub(crate) fn gather_over<T: Scalar>(self, from: &[T], count: usize, to: &mut [T]) {
        self.gather(from, count, over(to));
    }

    /// The inverse of [`gather`](Self::gather).
    pub(crate) fn scatter<T: Scalar>(self, from: &[T], count: usize, to: &mut [MaybeUninit<T>]) {
        for (turn, first) in self.blocks() {
            simd::run(Scatter {
                turn,
                from: &from[first..],
                count,
                to: &mut to[first * self.stride..],
            });
        }
    }

    /// [`scatter`](Self::scatter), over what is there.
    pub(crate) fn scatter_over<T: Scalar>(self, from: &[T], count: usize, to: &mut [T]) {
        self.scatter(from, count, over(to));
    }
}

/// Numbers that this module writes over.
fn over<T: Scalar>(numbers: &mut [T]) -> &mut [MaybeUninit<T>] {
    // SAFETY: the layout is the same, and nothing but numbers is written here.
    unsafe { &mut *(std::ptr::from_mut(numbers) as *mut [MaybeUninit<T>]) }
}

struct Gather<'a, T> {
    turn: Turn,
    from: &'a [T],
    count: usize,
    to: &'a mut [MaybeUninit<T>],
}

impl<T: Scalar> WithSimd for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { turn: t, from, .. } = self;
        let mut places = Places::new(t);
        for at in (0..self.count).step_by(LANES) {
            let (len, vectors) = (LANES.min(self.count - at), places.next());
            let lines = t.lines_at(at);
            // What lies behind the last number of a line may be turned too, if it is not written.
            let whole = t.lines == LANES && lines[LANES - 1] + LANES <= from.len();
            if whole && len == LANES {
                turn::<T, S>((from, lines), (self.to, vectors));
                continue;
            }
            let (mut square, mut turned) =
                ([[T::zero(); LANES]; LANES], [[T::zero(); LANES]; LANES]);
            let to = over(turned.as_flattened_mut());
            if whole {
                turn::<T, S>((from, lines), (to, ROWS));
            } else {
                for (to, line) in square.iter_mut().zip(lines).take(t.lines) {
                    rows::copy(&mut to[..len], &from[line..line + len], |x| x);
                }
                turn::<T, S>((square.as_flattened(), ROWS), (to, ROWS));
            }
            for (vector, place) in turned[..len].iter().zip(vectors) {
                self.to[place..place + LANES].write_copy_of_slice(vector);
            }
        }
    }
}

struct Scatter<'a, T> {
    turn: Turn,
    from: &'a [T],
    count: usize,
    to: &'a mut [MaybeUninit<T>],
}

impl<T: Scalar> WithSimd for Scatter<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { turn: t, from, .. } = self;
        let mut places = Places::new(t);
        for at in (0..self.count).step_by(LANES) {
            let len = LANES.min(self.count - at);
            if len == LANES && t.lines == LANES {
                let (vectors, lines) = (places.next(), t.lines_at(at));
                turn::<T, S>((from, vectors), (self.to, lines));
                continue;
            }
            let mut square = [[T::zero(); LANES]; LANES];
            for (vector, place) in square[..len].iter_mut().zip(places.next()) {
                vector.copy_from_slice(&from[place..place + LANES]);
            }
            let mut turned = [[T::zero(); LANES]; LANES];
            let (from, to) = (square.as_flattened(), over(turned.as_flattened_mut()));
            turn::<T, S>((from, ROWS), (to, ROWS));
            for (line, place) in turned[..t.lines].iter().zip(t.lines_at(at)) {
                let to = &mut self.to[place..place + len];
                rows::copy(to, &line[..len], MaybeUninit::new);
            }
        }
    }
}

/// Where the rows of a square lie that stands alone.
const ROWS: [usize; LANES] = {
    let (mut rows, mut i) = ([0; LANES], 0);
    while i < LANES {
        rows[i] = i * LANES;
        i += 1;
    }
    rows
};

impl Turn {
    /// Where the numbers from one on lie in every line.
    #[inline(always)]
    fn lines_at(&self, number: usize) -> [usize; LANES] {
        let mut places = [number; LANES];
        for (line, place) in places.iter_mut().enumerate() {
            *place += line * self.stride;
        }
        places
    }
}

/// Where one vector after the other lies.
struct Places {
    turn: Turn,
    /// Where the row of the next one starts, and its number in that row.
    row: usize,
    column: usize,
}

impl Places {
    #[inline(always)]
    fn new(turn: Turn) -> Self {
        Self {
            turn,
            row: 0,
            column: 0,
        }
    }

    /// The next [`LANES`] of them.
    #[inline(always)]
    fn next(&mut self) -> [usize; LANES] {
        let mut places = [0; LANES];
        for place in &mut places {
            if self.column == self.turn.columns {
                self.row += self.turn.pitch;
                self.column = 0;
            }
            *place = self.row + self.column * self.turn.step;
            self.column += 1;
        }
        places
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
        turn.gather_over(&from, count, &mut vectors);
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
        turn.scatter_over(&vectors, count, &mut back);
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
