//! Reading and editing the current message, for [`crate::Request`] and [`crate::Response`] alike.

use crate::error::{Error, Result};
use crate::host::message;

pub(crate) fn header(name: &str) -> Option<String> {
    message::header(name)
}

pub(crate) fn headers(name: &str) -> Vec<String> {
    message::headers(name)
}

/// One crossing for all of them.
pub(crate) fn headers_named<const N: usize>(names: [&str; N]) -> [Option<String>; N] {
    let names = names.map(str::to_owned);
    let mut values = message::headers_named(&names).into_iter();
    std::array::from_fn(|_| values.next().flatten())
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
