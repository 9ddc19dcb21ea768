//! What a hook of a core module returned. An error is a fault, with the words of wasmtime.

use wasmtime::{Result, bail};

use super::read;
use crate::host::Hook;
use crate::verdict::{FailureVerdict, Fault, PassVerdict, RequestVerdict, ResponseLine, Verdict};

/// Bytes of `request-verdict` and `failure-verdict`: a case, and from the fourth byte on a `response-line`.
const VERDICT: usize = 16;
/// Bytes of what `init` returns: a case, and from the fourth byte on a text.
const INIT: usize = 12;

/// The verdict of a hook that returned this number, an enumeration's case or the address of a variant.
pub(super) fn verdict(
    memory: &[u8],
    hook: Hook,
    returned: i32,
) -> Result<std::result::Result<Verdict, Fault>> {
    Ok(match hook {
        Hook::RequestRoute => request_verdict(memory, returned)?.checked(),
        Hook::FailureRoute => failure_verdict(memory, returned)?.checked(),
        Hook::BranchRoute | Hook::OnreplyRoute => match returned {
            0 => PassVerdict::Pass.checked(),
            1 => PassVerdict::Drop.checked(),
            _ => bail!("unexpected discriminant: {}", returned as u32),
        },
        Hook::EventRoute => Ok(Verdict::Done),
    })
}

fn request_verdict(memory: &[u8], returned: i32) -> Result<RequestVerdict> {
    let area = area::<VERDICT>(memory, returned)?;
    let [case, ..] = area;
    Ok(match case {
        0 => RequestVerdict::Relay,
        1 => RequestVerdict::Reply(response_line(memory, area)?),
        2 => RequestVerdict::Challenge,
        3 => RequestVerdict::Save,
        4 => RequestVerdict::Drop,
        5 => RequestVerdict::Next,
        _ => bail!("unexpected discriminant: {case}"),
    })
}

fn failure_verdict(memory: &[u8], returned: i32) -> Result<FailureVerdict> {
    let area = area::<VERDICT>(memory, returned)?;
    let [case, ..] = area;
    Ok(match case {
        0 => FailureVerdict::Pass,
        1 => FailureVerdict::Reply(response_line(memory, area)?),
        2 => FailureVerdict::Relay,
        _ => bail!("unexpected discriminant: {case}"),
    })
}

fn response_line(memory: &[u8], area: &[u8; VERDICT]) -> Result<ResponseLine> {
    let [_, _, _, _, s0, s1, _, _, p0, p1, p2, p3, l0, l1, l2, l3] = *area;
    Ok(ResponseLine {
        status: u16::from_le_bytes([s0, s1]),
        reason: read::text(
            memory,
            i32::from_le_bytes([p0, p1, p2, p3]),
            i32::from_le_bytes([l0, l1, l2, l3]),
        )?
        .to_owned(),
    })
}

/// What `init` returned.
pub(super) fn init(memory: &[u8], returned: i32) -> Result<std::result::Result<(), String>> {
    let [case, _, _, _, p0, p1, p2, p3, l0, l1, l2, l3] = *area::<INIT>(memory, returned)?;
    Ok(match case {
        0 => Ok(()),
        1 => Err(read::text(
            memory,
            i32::from_le_bytes([p0, p1, p2, p3]),
            i32::from_le_bytes([l0, l1, l2, l3]),
        )?
        .to_owned()),
        _ => bail!("invalid expected discriminant"),
    })
}

fn area<const SIZE: usize>(memory: &[u8], returned: i32) -> Result<&[u8; SIZE]> {
    if !(returned as u32).is_multiple_of(4) {
        bail!("return pointer not aligned");
    }
    match read::slice(memory, returned, SIZE as i32).and_then(<[u8]>::first_chunk) {
        Some(area) => Ok(area),
        None => bail!("pointer out of bounds of memory"),
    }
}
