//! Asks for memory before it is read or written.
//!
//! The processor sees by itself that one long row is read, up to the end of the page. Among the short rows of
//! several images it loses its way: half of the time of a pass over large images was waiting.

/// Bytes of a line of the cache.
const LINE: usize = 64;
/// Bytes between what is read and what is asked for: about as many as arrive in the time of one access.
const AHEAD: usize = 4096;

/// Has the lines of `x` brought near while other work goes on.
#[inline(always)]
pub(crate) fn prefetch<T>(x: &[T]) {
    lines(x, 0);
}

/// Has brought near what lies some way behind `x`, which is about to be read or written. In a tensor of small
/// planes that is the same image's plane a few channels on.
#[inline(always)]
pub(crate) fn ahead<T>(x: &[T]) {
    lines(x, AHEAD);
}

#[inline(always)]
fn lines<T>(x: &[T], distance: usize) {
    let mut at = 0;
    while at < size_of_val(x) {
        ask(x.as_ptr().wrapping_byte_add(distance + at));
        at += LINE;
    }
}

#[inline(always)]
fn ask<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing, and of an address without memory it does nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
