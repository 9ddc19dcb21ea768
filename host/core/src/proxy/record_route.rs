//! RFC 3261 §16.6 step 4: our Record-Route, and the keyed token in it.
//!
//! The token is the user part of the URI: worker, listener, policy version, the route of the configuration if there is one, and 128 bits of a keyed hash over these, the Call-ID, the
//! tag of the side that began the dialog, and the parameters that the policy added. In a later request that tag is in From or in
//! To, by direction; the other side's tag is not known when the token is made. Whoever has not seen a request or response of the
//! dialog can't make one, and a token of another dialog does not fit.

use smallvec::SmallVec;

use crate::base32;
use crate::door::{ListenerId, PolicyVersion, RouteId};
use crate::keyed::{Keyed, Parts, Purpose};

/// What every token begins with.
const PREFIX: &[u8] = b"pb";
/// Of worker, listener and version; a route has some more behind them.
const FACT_BYTES: usize = 12;
const ROUTE_BYTES: usize = 4;
const PROOF_BYTES: usize = 16;
const TOKEN_BYTES: usize = FACT_BYTES + PROOF_BYTES;
const ROUTED_TOKEN_BYTES: usize = FACT_BYTES + ROUTE_BYTES + PROOF_BYTES;
const TOKEN_LEN: usize = PREFIX.len() + base32::text_len(TOKEN_BYTES);
const ROUTED_TOKEN_LEN: usize = PREFIX.len() + base32::text_len(ROUTED_TOKEN_BYTES);

/// What the token tells besides that it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenFacts {
    /// The worker that has the dialog.
    pub(crate) worker: u16,
    /// The listener that this Record-Route value stands for.
    pub(crate) listener: ListenerId,
    /// The version that the dialog's first request ran in; 0: not pinned.
    pub(crate) version: PolicyVersion,
    /// The route of the configuration that the dialog belongs to; 0: none, and then the token is the shorter one.
    pub(crate) route: RouteId,
}

impl TokenFacts {
    fn bytes(&self) -> [u8; FACT_BYTES] {
        let facts = u128::from(self.worker) << 80
            | u128::from(self.listener.0) << 64
            | u128::from(self.version.0);
        let mut out = [0; FACT_BYTES];
        for (to, from) in out
            .iter_mut()
            .zip(facts.to_be_bytes().iter().skip(16 - FACT_BYTES))
        {
            *to = *from;
        }
        out
    }

    fn read(bytes: &[u8]) -> TokenFacts {
        let facts = bytes
            .iter()
            .take(FACT_BYTES)
            .fold(0u128, |facts, byte| facts << 8 | u128::from(*byte));
        let route = bytes.get(FACT_BYTES..).and_then(<[u8]>::first_chunk);
        TokenFacts {
            route: RouteId(route.map_or(0, |route| u32::from_be_bytes(*route))),
            worker: (facts >> 80) as u16,
            listener: ListenerId((facts >> 64) as u16),
            version: PolicyVersion(facts as u64),
        }
    }
}

/// The dialog that a token is for, and what the policy put beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DialogIdentity<'a> {
    /// The Call-ID.
    pub(crate) call_id: &'a [u8],
    /// The From tag of the request that began the dialog.
    pub(crate) tag: &'a [u8],
}

fn seal<'p>(
    keyed: &Keyed,
    facts: &[u8],
    dialog: DialogIdentity<'_>,
    parameters: impl Iterator<Item = (&'p [u8], &'p [u8])>,
) -> [u8; 16] {
    let mut text = Parts::new(Purpose::RecordRoute);
    text.add(facts);
    text.add(dialog.call_id);
    text.add(dialog.tag);
    for (name, value) in parameters {
        text.add(name);
        text.add(value);
    }
    keyed.hash_of(&text)
}

/// Appends the token for a new Record-Route.
pub(crate) fn write_token<'p>(
    out: &mut Vec<u8>,
    keyed: &Keyed,
    facts: TokenFacts,
    dialog: DialogIdentity<'_>,
    parameters: impl Iterator<Item = (&'p [u8], &'p [u8])>,
) {
    if facts.route != RouteId::NONE {
        return write_routed_token(out, keyed, facts, dialog, parameters);
    }
    let facts = facts.bytes();
    let proof = seal(keyed, &facts, dialog, parameters);
    let mut token = [0; TOKEN_BYTES];
    for (to, from) in token.iter_mut().zip(facts.iter().chain(&proof)) {
        *to = *from;
    }
    let mut text = [0; TOKEN_LEN];
    let (prefix, rest) = text.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(PREFIX);
    base32::encode(&token, rest);
    out.extend_from_slice(&text);
}

/// A token of this worker that proves nothing.
pub(crate) fn example(worker: u16) -> Vec<u8> {
    let facts = TokenFacts {
        worker,
        listener: ListenerId(u16::MAX),
        version: PolicyVersion(7),
        route: RouteId::NONE,
    };
    let mut token = [u8::MAX; TOKEN_BYTES];
    for (to, from) in token.iter_mut().zip(facts.bytes()) {
        *to = from;
    }
    let mut text = vec![0; base32::text_len(TOKEN_BYTES)];
    base32::encode(&token, &mut text);
    [PREFIX, &text].concat()
}

/// [`write_token`] for a dialog of a route.
fn write_routed_token<'p>(
    out: &mut Vec<u8>,
    keyed: &Keyed,
    facts: TokenFacts,
    dialog: DialogIdentity<'_>,
    parameters: impl Iterator<Item = (&'p [u8], &'p [u8])>,
) {
    let mut routed = [0; FACT_BYTES + ROUTE_BYTES];
    let own = facts.bytes().into_iter().chain(facts.route.0.to_be_bytes());
    for (to, from) in routed.iter_mut().zip(own) {
        *to = from;
    }
    let proof = seal(keyed, &routed, dialog, parameters);
    let mut token = [0; ROUTED_TOKEN_BYTES];
    for (to, from) in token.iter_mut().zip(routed.iter().chain(&proof)) {
        *to = *from;
    }
    let mut text = [0; ROUTED_TOKEN_LEN];
    let (prefix, rest) = text.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(PREFIX);
    base32::encode(&token, rest);
    out.extend_from_slice(&text);
}

/// Reads what the token says, unproved.
pub(crate) fn read_token(user: &[u8]) -> Option<TokenFacts> {
    Token::read(user).map(|token| token.facts())
}

/// Whether a token may be what this text begins with.
pub(crate) fn may_begin(text: &[u8]) -> bool {
    text.starts_with(PREFIX)
}

/// The worker that a token names, unproved and without a look at the rest of it: for choosing a worker.
pub(crate) fn worker_in(user: &[u8]) -> Option<u16> {
    if user.len() != TOKEN_LEN && user.len() != ROUTED_TOKEN_LEN {
        return None;
    }
    let first = user.strip_prefix(PREFIX)?.get(..base32::text_len(5))?;
    let mut bytes = [0; 5];
    let [high, low, ..] = base32::decode(first, &mut bytes).then_some(bytes)?;
    Some(u16::from_be_bytes([high, low]))
}

/// A text that looks like a token.
pub(crate) struct Token {
    bytes: [u8; ROUTED_TOKEN_BYTES],
    /// Those of them that it has: all, or without a route as many less.
    length: usize,
}

impl Token {
    /// The token in the user part of a URI, unproved.
    pub(crate) fn read(user: &[u8]) -> Option<Token> {
        let length = match user.len() {
            TOKEN_LEN => TOKEN_BYTES,
            ROUTED_TOKEN_LEN => ROUTED_TOKEN_BYTES,
            _ => return None,
        };
        let mut bytes = [0; ROUTED_TOKEN_BYTES];
        let text = user.strip_prefix(PREFIX)?;
        base32::decode(text, bytes.get_mut(..length)?).then_some(Token { bytes, length })
    }

    /// The facts, and the proof that is made of them.
    fn parts(&self) -> (&[u8], &[u8]) {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        bytes
            .split_at_checked(self.length - PROOF_BYTES)
            .unwrap_or_default()
    }

    /// What it says.
    pub(crate) fn facts(&self) -> TokenFacts {
        TokenFacts::read(self.parts().0)
    }

    /// Whether it was made by this node for this dialog and these parameters.
    pub(crate) fn is_proved<'p>(
        &self,
        keyed: &Keyed,
        dialog: DialogIdentity<'_>,
        parameters: impl Iterator<Item = (&'p [u8], &'p [u8])>,
    ) -> bool {
        let (facts, proof) = self.parts();
        let expected = seal(keyed, facts, dialog, parameters);
        subtle::ConstantTimeEq::ct_eq(&expected[..], proof).into()
    }
}

/// Appends `value` as a URI parameter's name or value, with what the grammar does not allow escaped.
pub(crate) fn write_parameter_text(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte) {
            out.push(byte);
        } else {
            out.push(b'%');
            out.extend([byte >> 4, byte & 15].map(|digit| {
                if digit < 10 {
                    b'0' + digit
                } else {
                    b'A' + digit - 10
                }
            }));
        }
    }
}

/// The text that `write_parameter_text` wrote; what is no escape stays.
pub(crate) fn read_parameter_text(text: &[u8]) -> String {
    let mut out: SmallVec<[u8; 64]> = SmallVec::new();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn digit(letter: u8) -> u8 {
    match letter {
        b'0'..=b'9' => letter - b'0',
        b'a'..=b'f' => letter - b'a' + 10,
        b'A'..=b'F' => letter - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::CoreConfig;
    use crate::proxy::tests::stage::config;

    fn keyed() -> Keyed {
        let config: CoreConfig = config();
        Keyed::new(&config)
    }

    fn token(route: u32) -> Vec<u8> {
        let facts = TokenFacts {
            worker: 3,
            listener: ListenerId(7),
            version: PolicyVersion(0x1234_5678_9abc),
            route: RouteId(route),
        };
        let dialog = DialogIdentity {
            call_id: b"call",
            tag: b"tag",
        };
        let mut out = Vec::new();
        write_token(&mut out, &keyed(), facts, dialog, std::iter::empty());
        out
    }

    fn is_proved(text: &[u8], call_id: &[u8]) -> bool {
        let dialog = DialogIdentity {
            call_id,
            tag: b"tag",
        };
        Token::read(text).is_some_and(|token| token.is_proved(&keyed(), dialog, std::iter::empty()))
    }

    #[test]
    fn a_token_tells_its_route_and_is_short_without_one() {
        for route in [0, 1, u32::MAX] {
            let text = token(route);
            let facts = read_token(&text).unwrap();
            assert_eq!((facts.route, facts.worker), (RouteId(route), 3));
            assert_eq!(
                (facts.listener, facts.version.0),
                (ListenerId(7), 0x1234_5678_9abc)
            );
            assert_eq!(worker_in(&text), Some(3));
            assert!(is_proved(&text, b"call") && !is_proved(&text, b"other"));
        }
        assert!(token(0).len() < token(1).len());
    }

    #[test]
    fn a_route_that_was_put_in_proves_nothing() {
        let plain = token(0);
        let routed = token(1);
        // Each byte of a token counts, those of the route included.
        for at in PREFIX.len()..routed.len() {
            let mut forged = routed.clone();
            forged[at] = if forged[at] == b'a' { b'b' } else { b'a' };
            assert!(!is_proved(&forged, b"call"), "{at}");
        }
        let mut longer = plain.clone();
        longer.resize(routed.len(), b'a');
        assert!(!is_proved(&longer, b"call"));
        assert!(!is_proved(&routed[..plain.len()], b"call"));
    }
}
