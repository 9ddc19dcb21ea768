//! Digest authentication.

use std::sync::Arc;
use std::time::Duration;

use patchbay_core::auth::{Algorithm, AuthConfig, Authenticator, Ha1Set, Verification};
use patchbay_core::time::UnixTime;
use patchbay_message::{Draft, Limits, Message};
use sha2::{Digest, Sha256};

use crate::suite::{Steps, Suite};

const OPERATIONS: u64 = 500;
const NOW: UnixTime = UnixTime(1_700_000_000);
const REALM: &str = "bench.test";
const URI: &str = "sip:bench.test";

struct Requests {
    authenticator: Authenticator,
    hashes: Ha1Set,
    requests: Vec<Draft>,
    /// Nonces made so far.
    nonces: u64,
}

/// Verifying a REGISTER with a fresh nonce, with each algorithm.
pub(crate) fn verify() -> Box<dyn Suite> {
    let config = AuthConfig {
        realm: REALM.to_owned(),
        algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
        nonce_lifetime: Duration::from_secs(300),
        ..AuthConfig::default()
    };
    let requests = Requests {
        authenticator: Authenticator::new([3; 32], config),
        hashes: Ha1Set::from_password("alice", REALM, "secret"),
        requests: Vec::new(),
        nonces: 0,
    };
    let steps = Steps::new(OPERATIONS, requests)
        .prepare(|state, times| state.prepare(times, Algorithm::Md5))
        .step("verify, MD5", Requests::verify)
        .prepare(|state, times| state.prepare(times, Algorithm::Sha256))
        .step("verify, SHA-256", Requests::verify)
        .step("challenge, two algorithms", |state, times| {
            for random in 0..times {
                let values = state
                    .authenticator
                    .challenge(NOW, random, Some(&state.hashes), false);
                assert_eq!(values.len(), 2);
            }
        });
    Box::new(steps)
}

impl Requests {
    fn prepare(&mut self, times: u64, algorithm: Algorithm) {
        self.requests.clear();
        for _ in 0..times {
            self.nonces += 1;
            let challenges = self.authenticator.challenge(NOW, self.nonces, None, false);
            let challenge = String::from_utf8_lossy(&challenges[0]).into_owned();
            let (_, rest) = challenge.split_once("nonce=\"").expect("a nonce");
            let (nonce, _) = rest.split_once('"').expect("its end");
            self.requests.push(request(nonce, algorithm));
        }
    }

    fn verify(&mut self, _: u64) {
        let hashes = self.hashes;
        for request in &self.requests {
            let verification = self
                .authenticator
                .verify(request, NOW, &|_, _| Some(hashes));
            assert!(
                matches!(verification, Verification::Verified { .. }),
                "{verification:?}"
            );
        }
    }
}

fn request(nonce: &str, algorithm: Algorithm) -> Draft {
    let hash = |text: &str| match algorithm {
        Algorithm::Md5 => format!("{:x}", md5::compute(text)),
        _ => Sha256::digest(text)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    };
    let ha1 = hash(&format!("alice:{REALM}:secret"));
    let ha2 = hash(&format!("REGISTER:{URI}"));
    let answer = hash(&format!("{ha1}:{nonce}:00000001:c1:auth:{ha2}"));
    let text = format!(
        "REGISTER {URI} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:7060;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@{REALM}>;tag=1\r\nTo: <sip:alice@{REALM}>\r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\n\
         Authorization: Digest username=\"alice\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{URI}\", response=\"{answer}\", \
         algorithm={}, qop=auth, cnonce=\"c1\", nc=00000001\r\nContact: <sip:alice@127.0.0.2:7060>\r\nContent-Length: 0\r\n\r\n",
        algorithm.name()
    );
    let message = Message::parse(text.as_bytes(), &Limits::default()).expect("a REGISTER");
    Draft::new(Arc::new(message))
}
