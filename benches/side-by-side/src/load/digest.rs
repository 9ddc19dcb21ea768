//! The answer of a phone to a digest challenge.

use super::message::parameter;

/// The Authorization header line for a REGISTER to this URI; `None`: that is no challenge that we can answer.
///
/// RFC 2617 §3.2.2, with MD5 and with `qop=auth` where it is offered.
pub(crate) fn authorization(
    challenge: &[u8],
    user: &str,
    password: &str,
    uri: &str,
    client_nonce: u64,
) -> Option<String> {
    let text = |name: &str| std::str::from_utf8(parameter(challenge, name.as_bytes())?).ok();
    let (realm, nonce) = (text("realm")?, text("nonce")?);
    let hash = |text: String| format!("{:x}", md5::compute(text));
    let secret = hash(format!("{user}:{realm}:{password}"));
    let request = hash(format!("REGISTER:{uri}"));
    let opaque = match text("opaque") {
        Some(opaque) => format!(", opaque=\"{opaque}\""),
        None => String::new(),
    };
    let (response, quality) = if text("qop").is_some() {
        let response = hash(format!(
            "{secret}:{nonce}:00000001:{client_nonce:x}:auth:{request}"
        ));
        let quality = format!(", qop=auth, nc=00000001, cnonce=\"{client_nonce:x}\"");
        (response, quality)
    } else {
        (hash(format!("{secret}:{nonce}:{request}")), String::new())
    };
    Some(format!(
        "Authorization: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
         response=\"{response}\", algorithm=MD5{quality}{opaque}\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_without_quality_is_answered_as_in_rfc_2069() {
        let challenge = b"Digest realm=\"bench.test\", nonce=\"abc\"";
        let header = authorization(challenge, "a1", "secret", "sip:bench.test", 1).unwrap();
        let hash = |text: &str| format!("{:x}", md5::compute(text));
        let secret = hash("a1:bench.test:secret");
        let request = hash("REGISTER:sip:bench.test");
        let response = hash(&format!("{secret}:abc:{request}"));
        assert!(
            header.contains(&format!("response=\"{response}\"")),
            "{header}"
        );
        assert!(!header.contains("qop"), "{header}");
    }

    #[test]
    fn a_challenge_with_quality_gets_a_count_and_a_client_nonce() {
        let challenge = b"Digest realm=\"r\", nonce=\"n\", qop=\"auth\", opaque=\"o\"";
        let header = authorization(challenge, "a1", "secret", "sip:r", 255).unwrap();
        for part in ["qop=auth", "nc=00000001", "cnonce=\"ff\"", "opaque=\"o\""] {
            assert!(header.contains(part), "{header} lacks {part}");
        }
    }

    #[test]
    fn what_is_no_challenge_is_not_answered() {
        assert_eq!(authorization(b"", "a1", "secret", "sip:r", 1), None);
    }
}
