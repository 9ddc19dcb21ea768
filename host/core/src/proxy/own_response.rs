//! What a response of ours says beyond what it copies from its request.
//!
//! A retransmission is the same request again, so that the same response can be made of it: of one that was sent only this is kept.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | the status, and the lengths of To tag, reason and body |
//! | so many each | these |
//! | 4 | the lengths of the name and the value of a header |
//! | so many each | these; then the next header |

use patchbay_message::{Draft, ResponseHead};

/// Puts a response of ours into bytes that [`write`] reads. False when a part of it is too long for that.
pub(crate) fn keep(
    kept: &mut Vec<u8>,
    head: ResponseHead<'_>,
    headers: &[(&[u8], &[u8])],
    body: &[u8],
) -> bool {
    kept.clear();
    let tag = head.to_tag.unwrap_or_default();
    let reason = head.reason.as_bytes();
    let numbers = [Some(head.status), length(tag), length(reason), length(body)];
    let texts = [tag, reason, body];
    if put(kept, numbers, texts).is_none() {
        return false;
    }
    headers
        .iter()
        .all(|&(name, value)| put(kept, [length(name), length(value)], [name, value]).is_some())
}

/// Puts numbers, and the texts of which they are the lengths.
fn put<const N: usize, const T: usize>(
    kept: &mut Vec<u8>,
    numbers: [Option<u16>; N],
    texts: [&[u8]; T],
) -> Option<()> {
    let mut bytes = [[0; 2]; N];
    for (bytes, number) in bytes.iter_mut().zip(numbers) {
        *bytes = number?.to_le_bytes();
    }
    kept.extend_from_slice(bytes.as_flattened());
    for text in texts.into_iter().filter(|text| !text.is_empty()) {
        kept.extend_from_slice(text);
    }
    Some(())
}

fn length(text: &[u8]) -> Option<u16> {
    u16::try_from(text.len()).ok()
}

/// Writes the response to `request` once more.
pub(crate) fn write(out: &mut Vec<u8>, kept: &[u8], request: &Draft) -> Option<()> {
    let mut rest = kept;
    let [status, tag, reason, body] = take_numbers(&mut rest)?;
    let to_tag = Some(take(&mut rest, tag)?).filter(|tag| !tag.is_empty());
    let head = ResponseHead {
        status,
        // It is what `keep` was given.
        reason: std::str::from_utf8(take(&mut rest, reason)?).unwrap_or_default(),
        to_tag,
    };
    let body = take(&mut rest, body)?;
    let headers = std::iter::from_fn(|| {
        let [name, value] = take_numbers(&mut rest)?;
        Some((take(&mut rest, name)?, take(&mut rest, value)?))
    });
    patchbay_message::write_response(out, request, head, headers, body);
    Some(())
}

fn take_numbers<const N: usize>(rest: &mut &[u8]) -> Option<[u16; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let (bytes, after) = rest.split_first_chunk::<2>()?;
        *number = u16::from_le_bytes(*bytes);
        *rest = after;
    }
    Some(numbers)
}

fn take<'a>(rest: &mut &'a [u8], length: u16) -> Option<&'a [u8]> {
    let (part, after) = rest.split_at_checked(length.into())?;
    *rest = after;
    Some(part)
}
