//! Responses that we make ourselves.

use crate::class::breaks_lines;
use crate::draft::Draft;
use crate::grammar::{Decimal, is_token};
use crate::name::HeaderName;

/// The first line of a response and its To tag.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a> {
    /// 100 to 699.
    pub status: u16,
    /// Empty: [`default_reason`].
    pub reason: &'a str,
    /// Added to To when it has no tag.
    pub to_tag: Option<&'a [u8]>,
}

/// Writes a response to `request` at the end of `out` (RFC 3261 §8.2.6.2): every Via, From, To, Call-ID and CSeq of the
/// request, Timestamp for a 100, then `headers`, Content-Length and the body.
///
/// A name that is no token is left out with its value, and a CR, LF or NUL in a value or the reason becomes a blank: the
/// response can't be broken by what it carries.
pub fn write_response<'h>(
    out: &mut Vec<u8>,
    request: &Draft,
    head: ResponseHead<'_>,
    headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    body: &[u8],
) {
    write_first_line(out, head);
    for via in request.headers(HeaderName::Via) {
        push_field(out, b"Via: ", via);
    }
    copy_first(out, request, HeaderName::From);
    write_to_header(out, request, head.to_tag);
    copy_first(out, request, HeaderName::CallId);
    copy_first(out, request, HeaderName::CSeq);
    if head.status == 100 {
        // RFC 3261 §8.2.6.1
        copy_first(out, request, HeaderName::Timestamp);
    }
    for (name, value) in headers.filter(|(name, _)| is_token(name)) {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        push_safe(out, value);
        out.extend_from_slice(b"\r\n");
    }
    if body.is_empty() {
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        return;
    }
    push_field(
        out,
        b"Content-Length: ",
        Decimal::new(body.len() as u64).as_bytes(),
    );
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

fn write_first_line(out: &mut Vec<u8>, head: ResponseHead<'_>) {
    let usual = match (head.status, head.reason) {
        (100, "") => &b"SIP/2.0 100 Trying\r\n"[..],
        (200, "") => b"SIP/2.0 200 OK\r\n",
        (401, "") => b"SIP/2.0 401 Unauthorized\r\n",
        _ => return write_other_line(out, head),
    };
    out.extend_from_slice(usual);
}

fn write_other_line(out: &mut Vec<u8>, head: ResponseHead<'_>) {
    let reason = match head.reason {
        "" => default_reason(head.status),
        reason => reason,
    };
    out.extend_from_slice(b"SIP/2.0 ");
    out.extend_from_slice(Decimal::new(head.status.into()).as_bytes());
    out.push(b' ');
    push_safe(out, reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_to_header(out: &mut Vec<u8>, request: &Draft, tag: Option<&[u8]>) {
    let line = request.usual_line(HeaderName::To);
    let has_tag = || match (line, &request.base().kept().to) {
        // No edit is about it.
        (Some(_), Some(kept)) => kept.has_tag(),
        _ => request.to().is_ok_and(|to| to.has_tag()),
    };
    let Some(tag) = tag.filter(|_| !has_tag()) else {
        return copy_first(out, request, HeaderName::To);
    };
    match line {
        Some(line) => out.extend_from_slice(line.strip_suffix(b"\r\n").unwrap_or(line)),
        None => {
            let Some(to) = request.header(HeaderName::To) else {
                return;
            };
            out.extend_from_slice(b"To: ");
            out.extend_from_slice(to);
        }
    }
    out.extend_from_slice(b";tag=");
    push_safe(out, tag);
    out.extend_from_slice(b"\r\n");
}

fn copy_first(out: &mut Vec<u8>, request: &Draft, name: HeaderName) {
    if let Some(line) = request.usual_line(name) {
        out.extend_from_slice(line);
    } else if let Some(value) = request.header(name) {
        out.extend_from_slice(name.text().as_bytes());
        push_field(out, b": ", value);
    }
}

/// Writes a value, its name or the end of it before, and the end of the line behind.
fn push_field(out: &mut Vec<u8>, before: &[u8], value: &[u8]) {
    out.extend_from_slice(before);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn push_safe(out: &mut Vec<u8>, value: &[u8]) {
    if !breaks_lines(value) {
        out.extend_from_slice(value);
        return;
    }
    out.extend(value.iter().map(|byte| {
        if matches!(byte, b'\r' | b'\n' | 0) {
            b' '
        } else {
            *byte
        }
    }));
}

/// The reason phrase of the RFC that defines the status; that of its class for an unknown one (RFC 3261 §21).
pub fn default_reason(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        424 => "Bad Location Information",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        430 => "Flow Failed",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity-Info",
        437 => "Unsupported Certificate",
        438 => "Invalid Identity Header",
        439 => "First Hop Lacks Outbound Support",
        440 => "Max-Breadth Exceeded",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => class_reason(status),
    }
}

fn class_reason(status: u16) -> &'static str {
    match status / 100 {
        1 => "Progress",
        2 => "Success",
        3 => "Redirection",
        4 => "Request Failure",
        5 => "Server Failure",
        6 => "Global Failure",
        _ => "Unknown",
    }
}
