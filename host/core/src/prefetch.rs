//! Asking the processor for memory that will be read soon.
//!
//! A busy router's transactions are far more than its caches hold, and to wait for one line of them takes as long as some hundred
//! instructions. What is asked for early arrives while something else is done. No crate offers this for plain references.
#![allow(unsafe_code)]

/// Bytes that the processor fetches at a time.
const LINE: usize = 64;

/// Begins to fetch all of `value`.
pub(crate) fn prefetch_all<T>(value: &T) {
    prefetch_start(value, size_of::<T>());
}

/// Begins to fetch the first bytes of `value`.
pub(crate) fn prefetch_start<T>(value: &T, bytes: usize) {
    for line in 0..bytes.min(size_of::<T>()).div_ceil(LINE) {
        prefetch_at(
            std::ptr::from_ref(value)
                .cast::<u8>()
                .wrapping_add(line * LINE),
        );
    }
}

/// Begins to fetch the line in which `value` begins.
pub(crate) fn prefetch<T>(value: &T) {
    prefetch_at(std::ptr::from_ref(value).cast());
}

/// It has no effect but on time.
fn prefetch_at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has this instruction. It reads nothing that could be seen and can't fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    // Others find out when they read.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
