//! The router's log. Lines carry the policy, its version and the Call-ID.
//!
//! Use the macros [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn), [`error!`](crate::error): they format
//! the text only when it is written.

use std::fmt;

use crate::host::log as host;

pub use crate::bindings::imports::patchbay::policy::log::Level;

/// Whether lines of this level are written at all.
pub fn is_enabled(level: Level) -> bool {
    host::enabled(level)
}

/// Writes a line, when its level is enabled.
pub fn write(level: Level, text: fmt::Arguments<'_>) {
    if host::enabled(level) {
        match text.as_str() {
            Some(text) => host::log(level, text),
            None => host::log(level, &text.to_string()),
        }
    }
}

/// Logs a line of the finest level; the arguments are those of [`format!`].
#[macro_export]
macro_rules! trace {
    ($($argument:tt)+) => { $crate::log::write($crate::log::Level::Trace, ::core::format_args!($($argument)+)) };
}

/// Logs what helps to follow one call; the arguments are those of [`format!`].
#[macro_export]
macro_rules! debug {
    ($($argument:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($argument)+)) };
}

/// Logs what an operator wants to read in normal times; the arguments are those of [`format!`].
#[macro_export]
macro_rules! info {
    ($($argument:tt)+) => { $crate::log::write($crate::log::Level::Info, ::core::format_args!($($argument)+)) };
}

/// Logs what someone must look at; the arguments are those of [`format!`].
#[macro_export]
macro_rules! warn {
    ($($argument:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($argument)+)) };
}

/// Logs that something is broken; the arguments are those of [`format!`].
#[macro_export]
macro_rules! error {
    ($($argument:tt)+) => { $crate::log::write($crate::log::Level::Error, ::core::format_args!($($argument)+)) };
}
