//! Header names: the ones we know by number, the others by their text.

use crate::grammar::eq_ignore_case;
use crate::spelling;

/// How often a header may stand in a message, and how its value is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// At most one field with one value.
    Single,
    /// Any number of fields, each a comma-separated list.
    List,
    /// Any number of fields, each one value whose commas mean something else.
    Repeated,
}

macro_rules! header_names {
    ($($(#[$doc:meta])* $variant:ident $text:literal $compact:literal $shape:ident;)*) => {
        /// A header that this crate knows by name. [`HeaderName::Other`] stands for all the rest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum HeaderName {
            $(#[doc = concat!("`", $text, "`.")] $(#[$doc])* $variant,)*
            /// Any header that has no variant of its own.
            Other,
        }

        impl HeaderName {
            /// Every known name, in the order of their numbers.
            pub const ALL: &'static [HeaderName] = &[$(HeaderName::$variant),*];

            /// The name as the RFC that defines it spells it; empty for [`HeaderName::Other`].
            #[inline]
            pub const fn text(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => $text,)*
                    HeaderName::Other => "",
                }
            }

            /// [`HeaderName::text`] by number.
            pub(crate) const TEXTS: &'static [&'static str] = &[$($text),*];

            const fn shape(self) -> Shape {
                match self {
                    $(HeaderName::$variant => Shape::$shape,)*
                    HeaderName::Other => Shape::Repeated,
                }
            }

            /// "Missing NAME", for the reason phrase of a 400.
            pub(crate) const fn missing_phrase(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => concat!("Missing ", $text),)*
                    HeaderName::Other => "Missing Header",
                }
            }

            /// "Duplicate NAME", for the reason phrase of a 400.
            pub(crate) const fn duplicate_phrase(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => concat!("Duplicate ", $text),)*
                    HeaderName::Other => "Duplicate Header",
                }
            }

            /// "Bad NAME", for the reason phrase of a 400.
            pub(crate) const fn bad_phrase(self) -> &'static str {
                match self {
                    $(HeaderName::$variant => concat!("Bad ", $text),)*
                    HeaderName::Other => "Bad Header",
                }
            }

            /// The compact form; a blank when there is none.
            pub(crate) const fn compact(self) -> u8 {
                match self {
                    $(HeaderName::$variant => $compact,)*
                    HeaderName::Other => b' ',
                }
            }
        }
    };
}

// A blank stands for "no compact form".
header_names! {
    Via "Via" b'v' List;
    From "From" b'f' Single;
    To "To" b't' Single;
    CallId "Call-ID" b'i' Single;
    CSeq "CSeq" b' ' Single;
    Contact "Contact" b'm' List;
    MaxForwards "Max-Forwards" b' ' Single;
    Route "Route" b' ' List;
    RecordRoute "Record-Route" b' ' List;
    ContentLength "Content-Length" b'l' Single;
    ContentType "Content-Type" b'c' Single;
    Expires "Expires" b' ' Single;
    MinExpires "Min-Expires" b' ' Single;
    Authorization "Authorization" b' ' Repeated;
    ProxyAuthorization "Proxy-Authorization" b' ' Repeated;
    WwwAuthenticate "WWW-Authenticate" b' ' Repeated;
    ProxyAuthenticate "Proxy-Authenticate" b' ' Repeated;
    AuthenticationInfo "Authentication-Info" b' ' Single;
    ProxyAuthenticationInfo "Proxy-Authentication-Info" b' ' Single;
    Require "Require" b' ' List;
    ProxyRequire "Proxy-Require" b' ' List;
    Supported "Supported" b'k' List;
    Unsupported "Unsupported" b' ' List;
    Allow "Allow" b' ' List;
    AllowEvents "Allow-Events" b'u' List;
    Accept "Accept" b' ' List;
    AcceptEncoding "Accept-Encoding" b' ' List;
    AcceptLanguage "Accept-Language" b' ' List;
    AlertInfo "Alert-Info" b' ' List;
    CallInfo "Call-Info" b' ' List;
    ErrorInfo "Error-Info" b' ' List;
    ContentEncoding "Content-Encoding" b'e' List;
    ContentLanguage "Content-Language" b' ' List;
    ContentDisposition "Content-Disposition" b' ' Single;
    MimeVersion "MIME-Version" b' ' Single;
    Path "Path" b' ' List;
    ServiceRoute "Service-Route" b' ' List;
    Date "Date" b' ' Single;
    UserAgent "User-Agent" b' ' Single;
    Server "Server" b' ' Single;
    Event "Event" b'o' Single;
    SubscriptionState "Subscription-State" b' ' Single;
    Reason "Reason" b' ' List;
    RetryAfter "Retry-After" b' ' Single;
    Timestamp "Timestamp" b' ' Single;
    Subject "Subject" b's' Single;
    Organization "Organization" b' ' Single;
    Priority "Priority" b' ' Single;
    InReplyTo "In-Reply-To" b' ' List;
    ReplyTo "Reply-To" b' ' Single;
    Warning "Warning" b' ' List;
    PAssertedIdentity "P-Asserted-Identity" b' ' List;
    PPreferredIdentity "P-Preferred-Identity" b' ' List;
    PChargingVector "P-Charging-Vector" b' ' Single;
    Privacy "Privacy" b' ' Single;
    MaxBreadth "Max-Breadth" b' ' Single;
    RSeq "RSeq" b' ' Single;
    RAck "RAck" b' ' Single;
    ReferTo "Refer-To" b'r' Single;
    ReferredBy "Referred-By" b'b' Single;
    Replaces "Replaces" b' ' Single;
    Join "Join" b' ' Single;
    SessionExpires "Session-Expires" b'x' Single;
    MinSe "Min-SE" b' ' Single;
    SipEtag "SIP-ETag" b' ' Single;
    SipIfMatch "SIP-If-Match" b' ' Single;
    RequestDisposition "Request-Disposition" b'd' List;
    AcceptContact "Accept-Contact" b'a' List;
    RejectContact "Reject-Contact" b'j' List;
    Identity "Identity" b'y' List;
    IdentityInfo "Identity-Info" b'n' Single;
    HistoryInfo "History-Info" b' ' List;
    Diversion "Diversion" b' ' List;
    Geolocation "Geolocation" b' ' List;
    FlowTimer "Flow-Timer" b' ' Single;
}

impl HeaderName {
    /// How many numbers there are, [`HeaderName::Other`] included.
    pub(crate) const COUNT: usize = HeaderName::ALL.len() + 1;

    /// The known header of this name, in long or compact form and any case.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> HeaderName {
        spelling::known(name)
    }

    /// Whether the value is a comma-separated list, which may be spread over several fields (RFC 3261 §7.3.1).
    pub fn is_list(self) -> bool {
        self.shape() == Shape::List
    }

    /// Whether a message may have at most one field of this name.
    #[inline]
    pub fn is_single(self) -> bool {
        self.shape() == Shape::Single
    }

    /// Whether parentheses make a comment in this header (RFC 3261 §20, and RFC 2543 §6.40 for Via).
    pub(crate) fn has_comments(self) -> bool {
        matches!(
            self,
            HeaderName::Via | HeaderName::UserAgent | HeaderName::Server | HeaderName::RetryAfter
        )
    }

    /// The number of the variant.
    #[inline]
    pub(crate) const fn number(self) -> usize {
        self as usize
    }
}

/// The name of a header: known, or its text. Equal when they name the same header, in whatever form or case.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    known: HeaderName,
    text: &'a [u8],
}

impl<'a> Name<'a> {
    #[inline]
    pub(crate) fn new(known: HeaderName, text: &'a [u8]) -> Name<'a> {
        Name { known, text }
    }

    /// The known header, or [`HeaderName::Other`].
    #[inline]
    pub fn known(&self) -> HeaderName {
        self.known
    }

    /// The text as it was given, if it was given as text.
    #[inline]
    pub(crate) fn given(&self) -> &'a [u8] {
        self.text
    }

    /// The spelling of the RFC for a known header, the text as it was given for another.
    pub fn text(&self) -> &'a [u8] {
        match self.known {
            HeaderName::Other => self.text,
            known => known.text().as_bytes(),
        }
    }
}

impl PartialEq for Name<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.known == other.known
            && (self.known != HeaderName::Other || eq_ignore_case(self.text, other.text))
    }
}

impl Eq for Name<'_> {}

impl From<HeaderName> for Name<'static> {
    fn from(known: HeaderName) -> Self {
        Name {
            known,
            // Nobody asks for the text of a header that is known; of the others there is none here.
            text: b"",
        }
    }
}

impl<'a> From<&'a [u8]> for Name<'a> {
    #[inline]
    fn from(text: &'a [u8]) -> Self {
        Name {
            known: HeaderName::from_bytes(text),
            text,
        }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Name<'a> {
    fn from(text: &'a [u8; N]) -> Self {
        Name::from(text.as_slice())
    }
}

impl<'a> From<&'a str> for Name<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        Name::from(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_in_any_case() {
        for name in HeaderName::ALL {
            assert_eq!(HeaderName::from_bytes(name.text().as_bytes()), *name);
            assert_eq!(
                HeaderName::from_bytes(name.text().to_ascii_uppercase().as_bytes()),
                *name
            );
        }
    }

    /// The name by comparing it with each.
    fn compared(name: &[u8]) -> HeaderName {
        let is_it = |known: &HeaderName| {
            let compact = [known.compact()];
            known.text().as_bytes().eq_ignore_ascii_case(name)
                || compact != *b" " && compact.eq_ignore_ascii_case(name)
        };
        let mut all = HeaderName::ALL.iter().copied();
        all.find(is_it).unwrap_or(HeaderName::Other)
    }

    #[test]
    fn a_name_that_differs_in_anything_but_case_is_another() {
        for known in HeaderName::ALL {
            for spelt in [known.text().as_bytes(), &[known.compact()]] {
                for (at, bit) in (0..spelt.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                    let mut name = spelt.to_vec();
                    name[at] ^= 1 << bit;
                    assert_eq!(HeaderName::from_bytes(&name), compared(&name), "{name:?}");
                }
                for other in [
                    &spelt[1..],
                    &[spelt, b"\0"].concat(),
                    &[b"X", spelt].concat(),
                ] {
                    assert_eq!(HeaderName::from_bytes(other), compared(other), "{other:?}");
                }
            }
        }
    }

    #[test]
    fn compact_forms_are_those_of_the_registry() {
        let forms = b"acbdefijklmnorstuvxy";
        let names = [
            "Accept-Contact",
            "Content-Type",
            "Referred-By",
            "Request-Disposition",
            "Content-Encoding",
            "From",
            "Call-ID",
            "Reject-Contact",
            "Supported",
            "Content-Length",
            "Contact",
            "Identity-Info",
            "Event",
            "Refer-To",
            "Subject",
            "To",
            "Allow-Events",
            "Via",
            "Session-Expires",
            "Identity",
        ];
        for (form, name) in forms.iter().zip(names) {
            assert_eq!(Name::from(&[*form]).text(), name.as_bytes());
            assert_eq!(
                Name::from(&[form.to_ascii_uppercase()]).text(),
                name.as_bytes()
            );
        }
        for other in [b"q", b" ", b"z"] {
            assert_eq!(Name::from(other).known(), HeaderName::Other);
        }
    }

    #[test]
    fn unknown_names_compare_by_text() {
        assert_eq!(Name::from("X-Foo"), Name::from("x-fOO"));
        assert_ne!(Name::from("X-Foo"), Name::from("X-Bar"));
        assert_eq!(Name::from("X-foo").text(), b"X-foo");
    }
}
