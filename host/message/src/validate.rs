//! What every element checks before it does anything with a message (RFC 3261 §8.1.1, §16.3 step 1).
//!
//! Headers that only the element uses that needs them (Date, Contact, credentials, ...) are not looked at: RFC 3261 §16.3
//! step 1 wants a proxy to forward what it does not understand. Their views report faults when they are asked.

use crate::class::{WORD, all};
use crate::error::Invalid;
use crate::grammar::{eq_ignore_case, trim};
use crate::message::Message;
use crate::method::Method;
use crate::name::HeaderName;
use crate::uri::Uri;

/// RFC 3261 §8.1.1 (and §20.22: a request without Max-Forwards is accepted, §16.6 step 3 adds one).
const MANDATORY: [HeaderName; 5] = [
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
];

/// Headers that routing reads, so that two of them would let two elements see two messages.
const AT_MOST_ONCE: [HeaderName; 8] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::MaxForwards,
    HeaderName::ContentLength,
    HeaderName::ContentType,
    HeaderName::MaxBreadth,
];

impl Message {
    /// Checks everything for which RFC 3261 answers a request with 400 (or 505) and drops a response.
    ///
    /// A scheme that is not known, an extension that is not supported, a Max-Forwards of 0 are no faults here: their
    /// answers (416, 420, 483) are decisions of an element.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.check_structure()?;
        self.check_version()?;
        self.check_counts()?;
        self.check_values()?;
        self.check_body()?;
        if self.is_request() {
            self.check_request()
        } else {
            Ok(())
        }
    }

    fn check_structure(&self) -> Result<(), Invalid> {
        let noted = &self.layout().noted;
        if noted.has_ambiguous_lines() {
            return Err(Invalid::LineEnd);
        }
        if noted.header_line {
            Err(Invalid::HeaderLine)
        } else {
            Ok(())
        }
    }

    /// RFC 3261 §7.1: `SIP/2.0`, in upper case, compared without.
    fn check_version(&self) -> Result<(), Invalid> {
        let version = self.version();
        if version == b"SIP/2.0" || eq_ignore_case(version, b"SIP/2.0") {
            return Ok(());
        }
        if eq_ignore_case(trim(version), b"SIP/2.0") {
            return Err(Invalid::StartLine);
        }
        Err(Invalid::Version)
    }

    fn check_counts(&self) -> Result<(), Invalid> {
        let kept = self.kept();
        // Of an empty value nothing is kept.
        let are_there = kept.top_via.is_some()
            && kept.from.is_some()
            && kept.to.is_some()
            && kept.cseq.is_some()
            && !self.call_id().is_empty();
        if !are_there {
            self.check_mandatory()?;
        }
        self.check_doubled()
    }

    fn check_mandatory(&self) -> Result<(), Invalid> {
        if let Some(missing) = MANDATORY.iter().find(|name| {
            let field = self.layout().first_field(**name);
            field.is_none_or(|field| field.value.len() == 0)
        }) {
            return Err(Invalid::Missing(*missing));
        }
        Ok(())
    }

    fn check_doubled(&self) -> Result<(), Invalid> {
        if !self.layout().noted.doubled {
            return Ok(());
        }
        let is_doubled = |name: &HeaderName| {
            self.layout()
                .first_field(*name)
                .is_some_and(|field| field.next != crate::scan::NONE)
        };
        match AT_MOST_ONCE.iter().find(|name| is_doubled(name)) {
            Some(doubled) => Err(Invalid::Duplicate(*doubled)),
            None => Ok(()),
        }
    }

    fn check_values(&self) -> Result<(), Invalid> {
        // What could be read is kept; who reads the rest is told its fault.
        let (kept, bytes) = (self.kept(), self.as_bytes());
        let (protocol, version) = match &kept.top_via {
            Some(via) => via.protocol(bytes),
            None => self.top_via().map(|via| (via.protocol, via.version))?,
        };
        check_via_version(protocol, version)?;
        let has_uri = match &kept.from {
            Some(from) => from.has_uri(bytes),
            None => Uri::is_valid(self.from()?.uri_raw),
        };
        if !has_uri {
            return Err(Invalid::Header(HeaderName::From));
        }
        let has_uri = match &kept.to {
            Some(to) => to.has_uri(bytes),
            None => Uri::is_valid(self.to()?.uri_raw),
        };
        if !has_uri {
            return Err(Invalid::Header(HeaderName::To));
        }
        // RFC 3261 §25.1: word [ "@" word ], which has no white space.
        if !all(self.call_id(), WORD) {
            return Err(Invalid::Header(HeaderName::CallId));
        }
        self.max_forwards()?;
        let cseq = self.cseq()?;
        match self.method() {
            method if !self.is_request() || cseq.method == method => Ok(()),
            Method::Other(_) => Err(Invalid::UnknownMethodMismatch),
            // RFC 3261 §8.1.1.5
            _ => Err(Invalid::MethodMismatch),
        }
    }

    /// RFC 3261 §18.3, §20.14.
    fn check_body(&self) -> Result<(), Invalid> {
        let noted = &self.layout().noted;
        if noted.content_length {
            return Err(Invalid::Header(HeaderName::ContentLength));
        }
        if noted.body_too_short {
            Err(Invalid::BodyTooShort)
        } else {
            Ok(())
        }
    }

    fn check_request(&self) -> Result<(), Invalid> {
        let uri = self.request_uri();
        // RFC 3261 §7.1: single spaces, and no `<>` around the URI.
        if uri.is_empty() || uri.first() == Some(&b' ') || uri.last() == Some(&b' ') {
            return Err(Invalid::StartLine);
        }
        let has_headers = match &self.kept().request_uri {
            Some(kept) => kept.has_headers(),
            None => Uri::parse(uri)
                .map_err(|_| Invalid::RequestUri)?
                .headers
                .is_some(),
        };
        // RFC 3261 §19.1.1, Table 1: headers are not allowed in a Request-URI.
        if has_headers {
            Err(Invalid::RequestUri)
        } else {
            Ok(())
        }
    }
}

/// RFC 3261 §20.42: a Via of another protocol can't be answered by its rules.
fn check_via_version(protocol: &[u8], version: &[u8]) -> Result<(), Invalid> {
    if (protocol == b"SIP" || eq_ignore_case(protocol, b"SIP")) && version == b"2.0" {
        return Ok(());
    }
    Err(Invalid::Header(HeaderName::Via))
}
