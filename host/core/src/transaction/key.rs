//! Which transaction a message belongs to: RFC 3261 §17.1.3, §17.2.3 and §9.2.
//!
//! A key is a keyed hash of 128 bits over the parts that the RFC compares, so that looking one up takes no allocation and no
//! comparison of texts. Two different transactions with one key would need 2^64 live transactions by chance; on purpose it
//! needs the seed, which is random in each process and reaches no output.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use patchbay_message::{Message, Method, SentBy, has_magic_cookie};

use crate::keyed::Parts;

/// Identifies a server transaction among those of its worker, or a client transaction among its.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionKey(u128);

impl TransactionKey {
    /// Its high and low half.
    pub fn halves(self) -> (u64, u64) {
        ((self.0 >> 64) as u64, self.0 as u64)
    }

    /// The key with these halves.
    #[cfg(test)]
    pub(crate) fn of_halves(high: u64, low: u64) -> TransactionKey {
        TransactionKey(u128::from(high) << 64 | u128::from(low))
    }
}

/// For maps by [`TransactionKey`]: a key is a hash already.
pub type KeyBuildHasher = BuildHasherDefault<KeyHasher>;

/// Takes the low half of a [`TransactionKey`] for its hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// The server transactions a request may belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKeys {
    /// The request's own key; for an ACK the key of its INVITE.
    pub key: TransactionKey,
    /// For an ACK without magic cookie: the key of an INVITE that had no To tag, to look for second. Only if the To tag of our
    /// final response is the ACK's, they belong together.
    pub untagged: Option<TransactionKey>,
}

/// Makes the keys of one worker.
#[derive(Clone, Debug)]
pub struct KeyMaker {
    low: SeedableRandomState,
    high: SeedableRandomState,
}

/// What kind of part a key is made of; keys of different kinds never meet.
#[derive(Clone, Copy)]
enum Kind {
    Server = 1,
    LegacyServer = 2,
    Client = 3,
}

impl KeyMaker {
    /// Two random numbers make the keys unpredictable; the same two make the same keys.
    pub fn new(seed: [u64; 2]) -> KeyMaker {
        let [low, high] = seed;
        KeyMaker {
            low: SeedableRandomState::with_seed(low, SharedSeed::global_fixed()),
            // Distinct even when somebody gives the same number twice.
            high: SeedableRandomState::with_seed(!high.rotate_left(32), SharedSeed::global_fixed()),
        }
    }

    /// RFC 3261 §17.2.3: the server transaction of a request. `None` when Via, or what RFC 2543 needs instead of the branch,
    /// can't be read.
    pub fn request(&self, request: &Message) -> Option<RequestKeys> {
        let method = match request.method() {
            Method::Ack => Method::Invite,
            other => other,
        };
        match unique_branch(request) {
            Some(branch) => Some(RequestKeys {
                key: self.server(&request.sent_by()?, branch, method),
                untagged: None,
            }),
            None => self.legacy_request(request, method),
        }
    }

    /// RFC 3261 §9.2: the INVITE that a CANCEL is for.
    pub fn cancelled(&self, cancel: &Message) -> Option<TransactionKey> {
        match unique_branch(cancel) {
            Some(branch) => Some(self.server(&cancel.sent_by()?, branch, Method::Invite)),
            None => self.legacy(cancel, Method::Invite, cancel.to().ok()?.tag()),
        }
    }

    /// RFC 3261 §17.1.3: the client transaction of a request that we send with this branch.
    pub fn client(&self, branch: &[u8], method: Method<'_>) -> TransactionKey {
        let mut parts = Parts::of_kind(Kind::Client as u8);
        parts.add(branch);
        parts.add(method.as_bytes());
        self.key(&parts)
    }

    /// RFC 3261 §17.1.3: the client transaction of a response. `None` when Via has no branch or CSeq can't be read.
    pub fn response(&self, response: &Message) -> Option<TransactionKey> {
        let branch = response.top_branch()?;
        Some(self.client(branch, response.cseq().ok()?.method))
    }

    fn server(&self, via: &SentBy<'_>, branch: &[u8], method: Method<'_>) -> TransactionKey {
        let mut parts = Parts::of_kind(Kind::Server as u8);
        parts.add(branch);
        add_ignoring_case(&mut parts, via.host_raw);
        parts.add(method.as_bytes());
        parts.add(&effective_port(via).to_le_bytes());
        self.key(&parts)
    }

    fn legacy_request(&self, request: &Message, method: Method<'_>) -> Option<RequestKeys> {
        let to_tag = request.to().ok()?.tag();
        let key = self.legacy(request, method, to_tag)?;
        let untagged = match (request.method(), to_tag) {
            (Method::Ack, Some(_)) => Some(self.legacy(request, method, None)?),
            _ => None,
        };
        Some(RequestKeys { key, untagged })
    }

    /// RFC 3261 §17.2.3: Request-URI, To tag, From tag, Call-ID, CSeq and top Via of a client that knows no magic cookie. They
    /// are compared as they are spelt: a retransmission is the same bytes, and an ACK or CANCEL copies them (RFC 2543 §10.1.4).
    fn legacy(
        &self,
        request: &Message,
        method: Method<'_>,
        to_tag: Option<&[u8]>,
    ) -> Option<TransactionKey> {
        let via = request.top_via().ok()?;
        let mut parts = Parts::of_kind(Kind::LegacyServer as u8);
        parts.add(request.request_uri());
        parts.add(to_tag.unwrap_or_default());
        parts.add(request.from().ok()?.tag().unwrap_or_default());
        parts.add(request.call_id());
        parts.add(&request.cseq().ok()?.number.to_be_bytes());
        parts.add(method.as_bytes());
        parts.add(via.raw);
        Some(self.key(&parts))
    }

    fn key(&self, parts: &Parts) -> TransactionKey {
        let hash = |state: &SeedableRandomState| {
            let mut hasher = state.build_hasher();
            hasher.write(parts.text());
            u128::from(hasher.finish())
        };
        TransactionKey(hash(&self.high) << 64 | hash(&self.low))
    }
}

/// The branch, when it is one that only one transaction has: a magic cookie with nothing behind it is none (RFC 4475 §3.2.1).
fn unique_branch(request: &Message) -> Option<&[u8]> {
    request
        .top_branch()
        .filter(|branch| has_magic_cookie(branch))
}

/// RFC 3261 §18.2.2: an absent port is the default of the transport.
fn effective_port(via: &SentBy<'_>) -> u16 {
    via.port.unwrap_or_else(|| {
        if via.transport.eq_ignore_ascii_case(b"TLS") {
            5061
        } else {
            5060
        }
    })
}

/// Adds a text that is equal in any case.
fn add_ignoring_case(parts: &mut Parts, text: &[u8]) {
    let mut lower = [0; 32];
    for chunk in text.chunks(lower.len()) {
        for (to, from) in lower.iter_mut().zip(chunk) {
            *to = from.to_ascii_lowercase();
        }
        parts.add(lower.get(..chunk.len()).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchbay_message::Limits;

    const VIA: &str = "SIP/2.0/UDP Pc33.Atlanta.com;branch=z9hG4bKnashds8";
    const LEGACY_VIA: &str = "SIP/2.0/UDP pc33.atlanta.com:5060";

    fn maker() -> KeyMaker {
        KeyMaker::new([1, 2])
    }

    fn message(start: &str, via: &str, to_tag: &str, cseq: &str) -> Message {
        let text = format!(
            "{start}\r\nVia: {via}\r\nFrom: <sip:a@atlanta.com>;tag=1\r\nTo: <sip:b@biloxi.com>{to_tag}\r\n\
             Call-ID: c1\r\nCSeq: {cseq}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes(), &Limits::default()).unwrap()
    }

    fn request(method: &str, via: &str, to_tag: &str) -> Message {
        message(
            &format!("{method} sip:b@biloxi.com SIP/2.0"),
            via,
            to_tag,
            &format!("7 {method}"),
        )
    }

    fn key(method: &str, via: &str, to_tag: &str) -> TransactionKey {
        maker().request(&request(method, via, to_tag)).unwrap().key
    }

    #[test]
    fn retransmission_has_the_key_of_its_request() {
        assert_eq!(key("INVITE", VIA, ""), key("INVITE", VIA, ""));
    }

    #[test]
    fn ack_has_the_key_of_its_invite() {
        assert_eq!(key("ACK", VIA, ";tag=9"), key("INVITE", VIA, ""));
    }

    #[test]
    fn cancel_is_a_transaction_of_its_own_and_finds_its_invite() {
        let cancel = request("CANCEL", VIA, "");
        assert_ne!(
            maker().request(&cancel).unwrap().key,
            key("INVITE", VIA, "")
        );
        assert_eq!(maker().cancelled(&cancel), Some(key("INVITE", VIA, "")));
    }

    #[test]
    fn sent_by_is_compared_without_case_and_with_the_default_port() {
        let spelt = "SIP/2.0/UDP pc33.atlanta.COM:5060;branch=z9hG4bKnashds8";
        assert_eq!(key("OPTIONS", VIA, ""), key("OPTIONS", spelt, ""));
    }

    #[test]
    fn another_sent_by_branch_or_method_is_another_transaction() {
        let original = key("OPTIONS", VIA, "");
        assert_ne!(
            original,
            key(
                "OPTIONS",
                "SIP/2.0/UDP pc34.atlanta.com;branch=z9hG4bKnashds8",
                ""
            )
        );
        assert_ne!(
            original,
            key(
                "OPTIONS",
                "SIP/2.0/UDP pc33.atlanta.com:5070;branch=z9hG4bKnashds8",
                ""
            )
        );
        assert_ne!(
            original,
            key(
                "OPTIONS",
                "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds9",
                ""
            )
        );
        assert_ne!(original, key("INFO", VIA, ""));
    }

    #[test]
    fn hosts_longer_than_a_chunk_are_compared_whole() {
        let host = "h".repeat(40);
        let via = |end: &str| format!("SIP/2.0/UDP {host}{end};branch=z9hG4bKx");
        assert_eq!(key("OPTIONS", &via("A"), ""), key("OPTIONS", &via("a"), ""));
        assert_ne!(key("OPTIONS", &via("A"), ""), key("OPTIONS", &via("b"), ""));
    }

    #[test]
    fn without_cookie_call_id_cseq_tags_uri_and_via_decide() {
        let original = maker()
            .request(&request("OPTIONS", LEGACY_VIA, ""))
            .unwrap()
            .key;
        assert_eq!(original, key("OPTIONS", LEGACY_VIA, ""));
        assert_ne!(original, key("OPTIONS", LEGACY_VIA, ";tag=2"));
        assert_ne!(
            original,
            key("OPTIONS", "SIP/2.0/UDP pc34.atlanta.com:5060", "")
        );
        let other_uri = message(
            "OPTIONS sip:c@biloxi.com SIP/2.0",
            LEGACY_VIA,
            "",
            "7 OPTIONS",
        );
        assert_ne!(
            Some(original),
            maker().request(&other_uri).map(|keys| keys.key)
        );
        let other_cseq = message(
            "OPTIONS sip:b@biloxi.com SIP/2.0",
            LEGACY_VIA,
            "",
            "8 OPTIONS",
        );
        assert_ne!(
            Some(original),
            maker().request(&other_cseq).map(|keys| keys.key)
        );
    }

    #[test]
    fn cookie_with_nothing_behind_it_is_no_identifier() {
        let via = "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK";
        let other = message("OPTIONS sip:c@biloxi.com SIP/2.0", via, "", "7 OPTIONS");
        assert_ne!(
            Some(key("OPTIONS", via, "")),
            maker().request(&other).map(|keys| keys.key)
        );
    }

    #[test]
    fn legacy_ack_finds_an_initial_invite_without_its_tag() {
        let keys = maker()
            .request(&request("ACK", LEGACY_VIA, ";tag=9"))
            .unwrap();
        assert_ne!(keys.key, key("INVITE", LEGACY_VIA, ""));
        assert_eq!(keys.untagged, Some(key("INVITE", LEGACY_VIA, "")));
    }

    #[test]
    fn legacy_ack_finds_a_reinvite_by_its_tag() {
        let keys = maker()
            .request(&request("ACK", LEGACY_VIA, ";tag=9"))
            .unwrap();
        assert_eq!(keys.key, key("INVITE", LEGACY_VIA, ";tag=9"));
    }

    #[test]
    fn legacy_cancel_finds_its_invite() {
        let cancel = request("CANCEL", LEGACY_VIA, "");
        assert_eq!(
            maker().cancelled(&cancel),
            Some(key("INVITE", LEGACY_VIA, ""))
        );
    }

    #[test]
    fn response_finds_its_client_transaction_by_branch_and_method() {
        let response = message("SIP/2.0 200 OK", VIA, ";tag=9", "7 INVITE");
        assert_eq!(
            maker().response(&response),
            Some(maker().client(b"z9hG4bKnashds8", Method::Invite))
        );
        assert_ne!(
            maker().response(&response),
            Some(maker().client(b"z9hG4bKnashds8", Method::Cancel))
        );
    }

    #[test]
    fn another_seed_makes_other_keys() {
        let other = KeyMaker::new([1, 3])
            .request(&request("INVITE", VIA, ""))
            .map(|keys| keys.key);
        assert_ne!(Some(key("INVITE", VIA, "")), other);
    }

    #[test]
    fn halves_differ_even_for_equal_seeds() {
        let TransactionKey(key) = KeyMaker::new([7, 7]).client(b"x", Method::Invite);
        assert_ne!(key as u64, (key >> 64) as u64);
    }
}
