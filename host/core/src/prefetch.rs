//! Asking the processor for memory that will be read soon.
//!
//! A busy router's transactions are far more than its caches hold, and to wait for one line of them takes as long as some hundred
//! instructions. What is asked for early arrives while something else is done. No crate offers this for plain references.
#![allow(unsafe_code)]

/// Begins to fetch the line of memory in which `value` begins. It has no effect but on time.
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has this instruction. It reads nothing that could be seen and can't fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) }
    }
    // Others find out when they read.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
