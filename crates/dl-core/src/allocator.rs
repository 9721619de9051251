//! Memory that one step frees is what the next one asks for.
//!
//! A training step frees its activations and allocates as many bytes again a moment later. An allocator
//! that gives them back to the operating system in between pays for every page twice: to give it back
//! and to have it cleared. A library cannot choose the allocator of the program that uses it; a program
//! that wants this one writes
//!
//! ```
//! use dl_core::allocator::{MiMalloc, keep_freed_memory};
//!
//! #[global_allocator]
//! static ALLOCATOR: MiMalloc = MiMalloc;
//!
//! fn main() {
//!     keep_freed_memory();
//!     assert_eq!(vec![0f32; 1 << 20].len(), 1 << 20);
//! }
//! ```

pub use mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's header, which the bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Keeps what is freed for the next allocation instead of giving it back to the operating system.
///
/// The resident memory of the process then never falls. It does nothing in a program whose
/// `#[global_allocator]` is not [`MiMalloc`].
pub fn keep_freed_memory() {
    // SAFETY: an atomic store to a setting of the allocator, at any time and from any thread. The
    // version of the bindings is pinned, so the number is that option's; −1 is "never".
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
}

#[cfg(test)]
mod tests {
    use std::ffi::c_long;

    #[test]
    fn nothing_is_given_back_after_the_call() {
        // SAFETY: reads a setting.
        let delay = || unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        // The allocator's documented default in milliseconds says that the number is the option's.
        assert!([10, 1000].contains(&delay()), "{} ms by default", delay());
        super::keep_freed_memory();
        assert_eq!(delay(), -1 as c_long);
    }
}
