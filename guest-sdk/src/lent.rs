//! Texts that the host copies after a hook has returned.
//!
//! The canonical ABI has a function for that, which the host calls after every hook to free what the hook returned. Few hooks return
//! a text at all: so the SDK exports no such function, and frees the last text when the next one is made.
#![cfg_attr(
    target_arch = "wasm32",
    allow(
        unsafe_code,
        reason = "a text that was given away by its address is taken back"
    )
)]

/// Gives a text away. Its memory stays until the next one is given away.
#[cfg(target_arch = "wasm32")]
pub(crate) fn lend(text: String) -> String {
    use std::cell::Cell;
    use std::ptr::NonNull;

    thread_local! {
        static LAST: Cell<Option<NonNull<str>>> = const { Cell::new(None) };
    }

    // The bindings turn the string into a boxed slice, which does not move it when it has no room to spare.
    let mut text = text.into_boxed_str();
    if let Some(last) = LAST.replace(Some(NonNull::from(&mut *text))) {
        // SAFETY: it was a box, which the bindings forgot; the host has copied it, since another hook runs.
        drop(unsafe { Box::from_raw(last.as_ptr()) });
    }
    text.into_string()
}

/// Natively nobody takes a text without freeing it.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn lend(text: String) -> String {
    text
}
