//! What a response of ours says beyond what it copies from its request.
//!
//! A retransmission is the same request again, so that the same response can be made of it: of one that was sent only this is kept.
//!
//! | bytes | what |
//! | --- | --- |
//! | 2 | the status |
//! | 2, then as many | the To tag; the reason; the body; then names and values by turns |

use patchbay_message::{Draft, ResponseHead};

/// Puts a response of ours into bytes that [`write`] reads. False when a part of it is too long for that.
pub(crate) fn keep(
    kept: &mut Vec<u8>,
    head: ResponseHead<'_>,
    headers: &[(&[u8], &[u8])],
    body: &[u8],
) -> bool {
    kept.clear();
    kept.extend_from_slice(&head.status.to_le_bytes());
    let fixed = [
        head.to_tag.unwrap_or_default(),
        head.reason.as_bytes(),
        body,
    ];
    let headers = headers.iter().flat_map(|(name, value)| [*name, *value]);
    for part in fixed.into_iter().chain(headers) {
        let Ok(length) = u16::try_from(part.len()) else {
            return false;
        };
        kept.extend_from_slice(&length.to_le_bytes());
        kept.extend_from_slice(part);
    }
    true
}

/// Writes the response to `request` once more.
pub(crate) fn write(out: &mut Vec<u8>, kept: &[u8], request: &Draft) -> Option<()> {
    let (status, mut rest) = kept.split_first_chunk::<2>()?;
    let to_tag = Some(next_part(&mut rest)?).filter(|tag| !tag.is_empty());
    let head = ResponseHead {
        status: u16::from_le_bytes(*status),
        // It is what `keep` was given.
        reason: std::str::from_utf8(next_part(&mut rest)?).unwrap_or_default(),
        to_tag,
    };
    let body = next_part(&mut rest)?;
    let headers = std::iter::from_fn(|| Some((next_part(&mut rest)?, next_part(&mut rest)?)));
    patchbay_message::write_response(out, request, head, headers, body);
    Some(())
}

fn next_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let (part, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *rest = after;
    Some(part)
}
