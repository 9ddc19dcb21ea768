//! Reading and editing the current message, for [`crate::Request`] and [`crate::Response`] alike.

use crate::error::{Error, Result};
use crate::host::message;

#[inline(always)]
pub(crate) fn header(name: &str) -> Option<String> {
    message::header(name)
}

pub(crate) fn headers(name: &str) -> Vec<String> {
    message::headers(name)
}

/// One crossing for all of them.
pub(crate) fn headers_named<const N: usize>(names: [&str; N]) -> [Option<String>; N] {
    // No header has a comma in its name.
    let names = names.map(|name| if name.contains(',') { "" } else { name });
    let joined = message::headers_joined(&names.join(","));
    let mut rest = joined.as_str();
    std::array::from_fn(|_| {
        let (length, after) = rest.split_once(':')?;
        rest = after;
        let (value, after) = after.split_at_checked(length.parse().ok()?)?;
        rest = after;
        Some(value.to_owned())
    })
}

pub(crate) fn set_header(name: &str, value: &str) -> Result<()> {
    message::set_header(name, value).map_err(Error::from)
}

pub(crate) fn add_header(name: &str, value: &str) -> Result<()> {
    message::add_header(name, value).map_err(Error::from)
}

pub(crate) fn remove_header(name: &str) -> Result<u32> {
    message::remove_header(name).map_err(Error::from)
}
