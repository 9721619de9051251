//! Rows of an image on their way into and out of another layout.
//!
//! Most rows are a few vectors long, so that a call of `memcpy` would take longer than the copy. To be
//! called inside of a [`Kernel`](crate::simd::Kernel).

/// Elements up to which a row is copied without a loop or a call.
const SHORT: usize = 32;

/// Writes `store(from[i])` to every `to[i]`.
#[inline(always)]
pub(crate) fn copy<T: Copy, U: Copy>(to: &mut [U], from: &[T], store: impl Fn(T) -> U + Copy) {
    match to.len() {
        4..8 => ends::<T, U, 4>(to, from, store),
        8..16 => ends::<T, U, 8>(to, from, store),
        16..=SHORT => ends::<T, U, 16>(to, from, store),
        _ => to.iter_mut().zip(from).for_each(|(t, f)| *t = store(*f)),
    }
}

/// The first `N` and the last `N` of at most `2·N` elements.
#[inline(always)]
fn ends<T: Copy, U: Copy, const N: usize>(to: &mut [U], from: &[T], store: impl Fn(T) -> U + Copy) {
    let from = &from[..to.len()];
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        all(to, from, store);
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        all(to, from, store);
    }
}

#[inline(always)]
fn all<T: Copy, U, const N: usize>(to: &mut [U; N], from: &[T; N], store: impl Fn(T) -> U) {
    for i in 0..N {
        to[i] = store(from[i]);
    }
}

/// Writes `store` of the elements of even and of odd number to one slice each.
#[inline(always)]
pub(crate) fn deinterleave<T: Copy>(
    even: &mut [T],
    odd: &mut [T],
    from: &[T],
    store: impl Fn(T) -> T + Copy,
) {
    let done = pairs_apart::<T, 16>(even, odd, from, store);
    let (even, odd, from) = (&mut even[done..], &mut odd[done..], &from[2 * done..]);
    let done = pairs_apart::<T, 8>(even, odd, from, store);
    let (even, odd, from) = (&mut even[done..], &mut odd[done..], &from[2 * done..]);
    let done = pairs_apart::<T, 4>(even, odd, from, store);
    let (even, odd, from) = (&mut even[done..], &mut odd[done..], &from[2 * done..]);
    for (t, f) in even.iter_mut().zip(from.iter().step_by(2)) {
        *t = store(*f);
    }
    for (t, f) in odd.iter_mut().zip(from.iter().skip(1).step_by(2)) {
        *t = store(*f);
    }
}

/// As many whole blocks of `N` pairs as there are.
#[inline(always)]
fn pairs_apart<T: Copy, const N: usize>(
    even: &mut [T],
    odd: &mut [T],
    from: &[T],
    store: impl Fn(T) -> T + Copy,
) -> usize {
    let (evens, odds) = (even.as_chunks_mut::<N>().0, odd.as_chunks_mut::<N>().0);
    let pairs = from.as_chunks::<2>().0.as_chunks::<N>().0;
    for ((even, odd), pairs) in evens.iter_mut().zip(odds).zip(pairs) {
        // All is read before anything is written: only then are these loops shuffles of vectors.
        let pairs = *pairs;
        let mut parts = [[pairs[0][0]; N]; 2];
        for i in 0..N {
            (parts[0][i], parts[1][i]) = (store(pairs[i][0]), store(pairs[i][1]));
        }
        (*even, *odd) = (parts[0], parts[1]);
    }
    pairs.len() * N
}

/// The inverse of [`deinterleave`]: writes `store` of either slice by turns.
#[inline(always)]
pub(crate) fn interleave<T: Copy, U: Copy>(
    to: &mut [U],
    even: &[T],
    odd: &[T],
    store: impl Fn(T) -> U + Copy,
) {
    let done = pairs_together::<T, U, 16>(to, even, odd, store);
    let (to, even, odd) = (&mut to[2 * done..], &even[done..], &odd[done..]);
    let done = pairs_together::<T, U, 8>(to, even, odd, store);
    let (to, even, odd) = (&mut to[2 * done..], &even[done..], &odd[done..]);
    let done = pairs_together::<T, U, 4>(to, even, odd, store);
    let (to, even, odd) = (&mut to[2 * done..], &even[done..], &odd[done..]);
    for (t, f) in to.iter_mut().step_by(2).zip(even) {
        *t = store(*f);
    }
    for (t, f) in to.iter_mut().skip(1).step_by(2).zip(odd) {
        *t = store(*f);
    }
}

#[inline(always)]
fn pairs_together<T: Copy, U: Copy, const N: usize>(
    to: &mut [U],
    even: &[T],
    odd: &[T],
    store: impl Fn(T) -> U + Copy,
) -> usize {
    let pairs = to.as_chunks_mut::<2>().0.as_chunks_mut::<N>().0;
    let done = pairs.len() * N;
    let (even, odd) = (even.as_chunks::<N>().0, odd.as_chunks::<N>().0);
    for ((pairs, even), odd) in pairs.iter_mut().zip(even).zip(odd) {
        let (even, odd) = (*even, *odd);
        let mut together = [[store(even[0]); 2]; N];
        for i in 0..N {
            together[i] = [store(even[i]), store(odd[i])];
        }
        *pairs = together;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_arrives_whole() {
        for len in 0..100 {
            let from: Vec<usize> = (1..=len).collect();
            let mut to = vec![0; len];
            copy(&mut to, &from, |x| x);
            assert_eq!(to, from, "copy of {len}");

            let (mut even, mut odd) = (vec![0; len.div_ceil(2)], vec![0; len / 2]);
            deinterleave(&mut even, &mut odd, &from, |x| x);
            assert!(even.iter().all(|x| x % 2 == 1) && odd.iter().all(|x| x % 2 == 0 && *x > 0));
            assert!(even.is_sorted() && odd.is_sorted(), "{len} apart");

            let mut to = vec![0; len];
            interleave(&mut to, &even, &odd, |x| x);
            assert_eq!(to, from, "{len} together");
        }
    }
}
