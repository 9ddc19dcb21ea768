//! Header names: the ones we know by number, the others by their text.

use crate::grammar::eq_ignore_case;
use crate::lanes;

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
            const TEXTS: &'static [&'static str] = &[$($text),*];

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

            const fn compact(self) -> u8 {
                match self {
                    $(HeaderName::$variant => $compact,)*
                    HeaderName::Other => b' ',
                }
            }

            fn from_compact(letter: u8) -> HeaderName {
                const LETTERS: &[(u8, HeaderName)] = &[$(($compact, HeaderName::$variant)),*];
                let letter = letter.to_ascii_lowercase();
                LETTERS.iter().find(|entry| entry.0 == letter && letter != b' ').map_or(HeaderName::Other, |entry| entry.1)
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
        // Most names are spelled as in their RFC.
        if let Some(words) = words_in(name)
            && let Some((spelling, known)) = SPELLINGS.get(spelling_slot(words))
            && *spelling == words
        {
            return *known;
        }
        HeaderName::in_any_case(name)
    }

    fn in_any_case(name: &[u8]) -> HeaderName {
        match name {
            [] => HeaderName::Other,
            [letter] => HeaderName::from_compact(*letter),
            [first, .., last] => lookup(name, *first, *last),
        }
    }

    /// The header that a line with these first bytes is, and the length of its name before the colon, when the name is one that we
    /// know as its RFC spells it. `None`: ask [`HeaderName::from_bytes`].
    #[inline]
    pub(crate) fn of_line(head: &[u8; 16]) -> Option<(HeaderName, usize)> {
        let length = lanes::equal(head, b':').trailing_zeros() as usize;
        let kept = KEPT.get(length)?;
        let [low, high] = head.as_chunks::<8>().0 else {
            return None;
        };
        let words = [
            u64::from_le_bytes(*low) & kept.0,
            u64::from_le_bytes(*high) & kept.1,
        ];
        let (spelling, known) = SPELLINGS.get(spelling_slot(words))?;
        (*spelling == words && length > 0).then_some((*known, length))
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
    pub(crate) const fn number(self) -> usize {
        self as usize
    }
}

/// Slots of the hash table of names; more than three times as many as there are names.
const SLOTS: usize = 256;

/// Names by the hash of their length, first and last letter, with linear probing.
static TABLE: [HeaderName; SLOTS] = table();

const fn slot(length: usize, first: u8, last: u8) -> usize {
    (length * 37
        + first.to_ascii_lowercase() as usize * 11
        + last.to_ascii_lowercase() as usize * 5)
        % SLOTS
}

/// Evaluated by the compiler only: an index out of bounds is a compile error.
#[allow(clippy::indexing_slicing)]
const fn table() -> [HeaderName; SLOTS] {
    let mut table = [HeaderName::Other; SLOTS];
    let mut number = 0;
    while number < HeaderName::ALL.len() {
        let name = HeaderName::ALL[number];
        let text = name.text().as_bytes();
        let mut at = slot(text.len(), text[0], text[text.len() - 1]);
        while table[at].number() != HeaderName::Other.number() {
            at = (at + 1) % SLOTS;
        }
        table[at] = name;
        number += 1;
    }
    table
}

/// Whether a name of up to fifteen bytes is made of letters, digits, `-` and `.` alone. `false`: it needs a closer look.
#[inline]
pub(crate) fn is_plain(name: &[u8]) -> bool {
    words_in(name).is_some_and(|[low, high]| {
        let bytes = (u128::from(low) | u128::from(high) << 64).to_le_bytes();
        lanes::not_plain(&bytes) & ((1 << name.len()) - 1) == 0
    })
}

#[inline]
fn lookup(name: &[u8], first: u8, last: u8) -> HeaderName {
    let mut at = slot(name.len(), first, last);
    while let Some(known) = TABLE.get(at).copied() {
        let text = HeaderName::TEXTS
            .get(known.number())
            .copied()
            .unwrap_or_default();
        if known == HeaderName::Other || eq_ignore_case(text.as_bytes(), name) {
            return known;
        }
        at = (at + 1) % SLOTS;
    }
    HeaderName::Other
}

/// By length of a name: which bytes of two little-endian numbers are its.
static KEPT: [(u64, u64); 16] = kept();

/// Evaluated by the compiler only: an index out of bounds is a compile error.
#[allow(clippy::indexing_slicing)]
const fn kept() -> [(u64, u64); 16] {
    let mut kept = [(0, 0); 16];
    let mut length = 1;
    while length < kept.len() {
        let bits = (1u128 << (8 * length)) - 1;
        kept[length] = (bits as u64, (bits >> 64) as u64);
        length += 1;
    }
    kept
}

/// The spellings of up to fifteen bytes as little-endian numbers, each where its hash says. Of two with one hash the first is here.
static SPELLINGS: [([u64; 2], HeaderName); SLOTS] = spellings();

#[inline]
const fn spelling_slot(words: [u64; 2]) -> usize {
    let [low, high] = words;
    let hash = (low ^ high.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 56) as usize
}

/// Evaluated by the compiler only: an index out of bounds is a compile error.
#[allow(clippy::indexing_slicing)]
const fn spellings() -> [([u64; 2], HeaderName); SLOTS] {
    let mut spellings = [([0; 2], HeaderName::Other); SLOTS];
    let mut number = 0;
    while number < HeaderName::ALL.len() {
        let name = HeaderName::ALL[number];
        let forms: [&[u8]; 2] = [name.text().as_bytes(), &[name.compact()]];
        let mut form = 0;
        while form < forms.len() {
            let words = words_of(forms[form]);
            let slot = spelling_slot(words);
            if words[0] != 0 && spellings[slot].0[0] == 0 {
                spellings[slot] = (words, name);
            }
            form += 1;
        }
        number += 1;
    }
    spellings
}

/// The bytes of a name as numbers; 0 when it is too long, or is the blank that stands for no compact form.
#[allow(clippy::indexing_slicing)]
const fn words_of(name: &[u8]) -> [u64; 2] {
    let mut words = [0; 2];
    if name.len() >= 16 || name[0] == b' ' {
        return words;
    }
    let mut at = name.len();
    while at > 0 {
        at -= 1;
        words[at / 8] = words[at / 8] << 8 | name[at] as u64;
    }
    words
}

/// The same for any name of four to fifteen bytes.
#[inline]
fn words_in(name: &[u8]) -> Option<[u64; 2]> {
    let length = name.len();
    if length > 15 {
        return None;
    }
    // Two reads that overlap in the middle, the second one moved to its place.
    match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => Some([
            u64::from_le_bytes(*first),
            (u64::from_le_bytes(*last) >> 1) >> (8 * (15 - length) + 7),
        ]),
        _ => {
            let (first, last) = (name.first_chunk::<4>()?, name.last_chunk::<4>()?);
            let low = u64::from(u32::from_le_bytes(*first));
            let high = u64::from(u32::from_le_bytes(*last));
            Some([low | high << (8 * (length - 4)), 0])
        }
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
    fn spellings_of_usual_headers_are_found_by_their_bytes() {
        let found = |name: &str| {
            let mut line = [b' '; 32];
            line[..name.len()].copy_from_slice(name.as_bytes());
            line[name.len()] = b':';
            HeaderName::of_line(line.first_chunk().unwrap())
        };
        for name in HeaderName::ALL {
            let expected = (*name, name.text().len());
            assert!(found(name.text()).is_none_or(|found| found == expected));
        }
        // Those that nearly every message has are not to be crowded out by others.
        for name in &HeaderName::ALL[..12] {
            assert!(found(name.text()).is_some(), "{}", name.text());
        }
        assert_eq!(found("v"), Some((HeaderName::Via, 1)));
        assert_eq!(
            (found("X-Foo"), found("via"), found("")),
            (None, None, None)
        );
    }

    #[test]
    fn unknown_names_compare_by_text() {
        assert_eq!(Name::from("X-Foo"), Name::from("x-fOO"));
        assert_ne!(Name::from("X-Foo"), Name::from("X-Bar"));
        assert_eq!(Name::from("X-foo").text(), b"X-foo");
    }
}
