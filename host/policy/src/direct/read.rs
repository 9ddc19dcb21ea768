//! Arguments of a core module, read as the canonical ABI lays them out. An error ends the hook, with the words of wasmtime.

use wasmtime::{Error, Result, bail, format_err};

use crate::host::{HttpRequest, Level, Target};
use crate::imports::{Hooks, MAX_CALL_BYTES, check_texts};
use crate::utf8;

/// The bytes of a list of bytes, where they lie in the guest's memory.
#[inline]
pub(crate) fn bytes(memory: &[u8], pointer: i32, length: i32) -> Result<&[u8]> {
    match slice(memory, pointer, length) {
        Some(bytes) => Ok(bytes),
        None => bail!("list pointer/length out of bounds of memory"),
    }
}

/// A text, where it lies in the guest's memory.
#[inline(always)]
pub(crate) fn text(memory: &[u8], pointer: i32, length: i32) -> Result<&str> {
    match slice(memory, pointer, length) {
        Some(bytes) => Ok(utf8::checked(bytes)?),
        None => Err(text_out_of_bounds()),
    }
}

#[cold]
fn text_out_of_bounds() -> Error {
    format_err!("string pointer/length out of bounds of memory")
}

/// A list of texts.
pub(crate) fn texts(memory: &[u8], pointer: i32, length: i32) -> Result<Vec<&str>> {
    // What is not in memory is refused as such, however many there are.
    let texts = (length as u32).checked_mul(8);
    if texts.is_some_and(|size| slice(memory, pointer, size as i32).is_some()) {
        check_texts(length as u32 as usize)?;
    }
    listed(memory, pointer, length)
}

/// As many texts as take no more than a call may.
fn listed(memory: &[u8], pointer: i32, length: i32) -> Result<Vec<&str>> {
    let size = (length as u32).checked_mul(8).map(|size| size as i32);
    let Some(pairs) = size.and_then(|size| slice(memory, pointer, size)) else {
        bail!("list pointer/length out of bounds of memory");
    };
    if !(pointer as u32).is_multiple_of(4) {
        bail!("list pointer is not aligned");
    }
    let (pairs, _) = pairs.as_chunks::<8>();
    let mut left = MAX_CALL_BYTES;
    pairs
        .iter()
        .map(|&[a, b, c, d, e, f, g, h]| {
            let length = i32::from_le_bytes([e, f, g, h]);
            let text = text(memory, i32::from_le_bytes([a, b, c, d]), length)?;
            match left.checked_sub(text.len() + size_of::<String>()) {
                Some(rest) => left = rest,
                None => bail!(
                    "too much data is being copied between the host and the guest: \
                     fuel allocated for hostcalls has been exhausted"
                ),
            }
            Ok(text)
        })
        .collect()
}

/// A number of 32 bits.
#[inline]
pub(crate) fn word(_memory: &[u8], number: i32) -> Result<u32> {
    Ok(number as u32)
}

/// A number of 64 bits.
#[inline]
pub(crate) fn long(_memory: &[u8], number: i64) -> Result<u64> {
    Ok(number as u64)
}

/// A number of 64 bits with a sign.
#[inline]
pub(crate) fn signed(_memory: &[u8], number: i64) -> Result<i64> {
    Ok(number)
}

/// A boolean: everything but 0 is true.
#[inline]
pub(crate) fn truth(_memory: &[u8], number: i32) -> Result<bool> {
    Ok(number != 0)
}

/// `log.level`.
pub(crate) fn level(_memory: &[u8], number: i32) -> Result<Level> {
    Ok(match number {
        0 => Level::Trace,
        1 => Level::Debug,
        2 => Level::Info,
        3 => Level::Warn,
        4 => Level::Error,
        _ => bail!("unexpected discriminant: {}", number as u32),
    })
}

/// `transaction.hooks`; bits without a meaning have none.
pub(crate) fn hooks(_memory: &[u8], number: i32) -> Result<Hooks> {
    let mut hooks = Hooks::default();
    for (bit, flag) in [
        (1, Hooks::BRANCH_ROUTE),
        (2, Hooks::ONREPLY_ROUTE),
        (4, Hooks::FAILURE_ROUTE),
    ] {
        if number & bit != 0 {
            hooks |= flag;
        }
    }
    Ok(hooks)
}

/// `targets.target`, field by field.
pub(crate) fn target(memory: &[u8], fields: [i32; 11]) -> Result<Target> {
    let [
        uri,
        uri_length,
        q,
        next_hop_is,
        next_hop,
        next_hop_length,
        listener_is,
        listener,
        listener_length,
        no_answer_is,
        no_answer,
    ] = fields;
    Ok(Target {
        uri: text(memory, uri, uri_length)?.to_owned(),
        q: q as u16,
        next_hop: optional_text(memory, next_hop_is, next_hop, next_hop_length)?,
        listener: optional_text(memory, listener_is, listener, listener_length)?,
        no_answer_ms: is_some(no_answer_is)?.then_some(no_answer as u32),
    })
}

/// `http.request`, field by field.
pub(crate) fn http_request(memory: &[u8], fields: [i32; 10]) -> Result<HttpRequest> {
    let [
        method,
        method_length,
        url,
        url_length,
        headers,
        headers_length,
        body,
        body_length,
        timeout_is,
        timeout,
    ] = fields;
    Ok(HttpRequest {
        method: text(memory, method, method_length)?.to_owned(),
        url: text(memory, url, url_length)?.to_owned(),
        headers: pairs(memory, headers, headers_length)?,
        body: bytes(memory, body, body_length)?.to_vec(),
        timeout_ms: is_some(timeout_is)?.then_some(timeout as u32),
    })
}

/// A list of pairs of texts.
fn pairs(memory: &[u8], pointer: i32, length: i32) -> Result<Vec<(String, String)>> {
    let Some(doubled) = (length as u32).checked_mul(2) else {
        bail!("list pointer/length out of bounds of memory");
    };
    let texts = listed(memory, pointer, doubled as i32)?;
    let (pairs, _) = texts.as_chunks::<2>();
    Ok(pairs
        .iter()
        .map(|[name, value]| ((*name).to_owned(), (*value).to_owned()))
        .collect())
}

fn optional_text(memory: &[u8], is: i32, pointer: i32, length: i32) -> Result<Option<String>> {
    if is_some(is)? {
        Ok(Some(text(memory, pointer, length)?.to_owned()))
    } else {
        Ok(None)
    }
}

fn is_some(discriminant: i32) -> Result<bool> {
    match discriminant {
        0 => Ok(false),
        1 => Ok(true),
        _ => bail!("invalid option discriminant"),
    }
}

/// `length` bytes of the memory, when they are all in it.
#[inline(always)]
pub(super) fn slice(memory: &[u8], pointer: i32, length: i32) -> Option<&[u8]> {
    let start = pointer as u32 as usize;
    memory.get(start..start.checked_add(length as u32 as usize)?)
}
