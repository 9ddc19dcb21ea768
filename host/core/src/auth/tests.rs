use std::sync::Arc;
use std::time::Duration;

use patchbay_message::{Challenge, DigestParameters, Draft, HeaderName, Limits, Message};

use super::algorithm::Algorithm;
use super::digest::DigestCredentials;
use super::*;
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime(1_700_000_000);
const REALM: &str = "example.com";

fn authenticator(algorithms: &[Algorithm]) -> Authenticator {
    let config = AuthConfig {
        realm: REALM.to_owned(),
        algorithms: algorithms.to_vec(),
        nonce_lifetime: Duration::from_secs(300),
        replay_nonces: 1024,
    };
    Authenticator::new([3; 32], config)
}

/// alice has every hash, old only MD5.
fn users(user: &str, realm: &str) -> Option<Ha1Set> {
    let all = Ha1Set::from_password(user, realm, "secret");
    match (user, realm) {
        ("alice", REALM) => Some(all),
        ("old", REALM) => Some(Ha1Set {
            md5: all.md5,
            ..Ha1Set::default()
        }),
        _ => None,
    }
}

fn request(method: &str, headers: &str, body: &str) -> Draft {
    let text = format!(
        "{method} sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4:5070;branch=z9hG4bK1\r\n\
         From: <sip:alice@example.com>;tag=1\r\nTo: <sip:old@example.com>\r\nCall-ID: c1\r\nCSeq: 1 {method}\r\n\
         {headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Draft::new(Arc::new(
        Message::parse(text.as_bytes(), &Limits::default()).unwrap(),
    ))
}

/// What a phone fills in.
#[derive(Clone)]
struct Phone {
    user: &'static str,
    password: &'static str,
    realm: &'static str,
    uri: &'static str,
    algorithm: Option<Algorithm>,
    qop: Option<&'static str>,
    count: u32,
    body: &'static str,
}

const PHONE: Phone = Phone {
    user: "alice",
    password: "secret",
    realm: REALM,
    uri: "sip:example.com",
    algorithm: None,
    qop: Some("auth"),
    count: 1,
    body: "",
};

impl Phone {
    fn credentials(&self, nonce: &str, method: &str) -> String {
        let Phone {
            user, realm, uri, ..
        } = self;
        let mut text = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\""
        );
        if let Some(algorithm) = self.algorithm {
            text += &format!(", algorithm={}", algorithm.name());
        }
        if let Some(qop) = self.qop {
            text += &format!(", qop={qop}, nc={:08x}, cnonce=\"abc\"", self.count);
        }
        let unsigned = format!("{text}, response=\"\"");
        let mut room = Vec::new();
        let parsed = DigestParameters::parse(unsigned.as_bytes(), &mut room);
        let parsed = parsed.unwrap().unwrap();
        let digest = DigestCredentials::read(&parsed).unwrap();
        let set = Ha1Set::from_password(user, realm, self.password);
        let response = digest.expected_response(
            set.get(digest.algorithm).unwrap(),
            method.as_bytes(),
            self.body.as_bytes(),
        );
        format!(
            "{text}, response=\"{}\"",
            String::from_utf8_lossy(response.as_bytes())
        )
    }

    fn register(&self, nonce: &str) -> Draft {
        request(
            "REGISTER",
            &format!("Authorization: {}\r\n", self.credentials(nonce, "REGISTER")),
            self.body,
        )
    }
}

fn nonce(authenticator: &Authenticator, random: u64) -> String {
    let challenge = authenticator.challenge(NOW, random, None, false).remove(0);
    let parsed = Challenge::parse(&challenge).unwrap();
    String::from_utf8(parsed.get(b"nonce").unwrap().to_vec()).unwrap()
}

fn verified(user: &str, algorithm: Algorithm) -> Verification {
    Verification::Verified {
        user: user.to_owned(),
        algorithm,
    }
}

#[test]
fn right_credentials_are_verified_with_every_algorithm() {
    let authenticator = authenticator(&Algorithm::ALL);
    for (random, algorithm) in (0..).zip(Algorithm::ALL) {
        let request = Phone {
            algorithm: Some(algorithm),
            ..PHONE
        }
        .register(&nonce(&authenticator, random));
        assert_eq!(
            authenticator.verify(&request, NOW, &users),
            verified("alice", algorithm)
        );
    }
}

#[test]
fn without_algorithm_it_is_md5() {
    let authenticator = authenticator(&Algorithm::ALL);
    let request = PHONE.register(&nonce(&authenticator, 1));
    assert_eq!(
        authenticator.verify(&request, NOW, &users),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn proxy_authorization_counts_as_well() {
    let authenticator = authenticator(&Algorithm::ALL);
    let credentials = PHONE.credentials(&nonce(&authenticator, 1), "INVITE");
    let request = request(
        "INVITE",
        &format!("Proxy-Authorization: {credentials}\r\n"),
        "",
    );
    assert_eq!(
        authenticator.verify(&request, NOW, &users),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn wrong_password_user_method_or_body_fail() {
    let authenticator = authenticator(&Algorithm::ALL);
    let nonce = nonce(&authenticator, 1);
    let verify = |request: &Draft| authenticator.verify(request, NOW, &users);
    assert_eq!(
        verify(
            &Phone {
                password: "other",
                ..PHONE
            }
            .register(&nonce)
        ),
        Verification::Failed
    );
    assert_eq!(
        verify(
            &Phone {
                user: "eve",
                ..PHONE
            }
            .register(&nonce)
        ),
        Verification::Failed
    );
    let credentials = PHONE.credentials(&nonce, "INVITE");
    assert_eq!(
        verify(&request(
            "REGISTER",
            &format!("Authorization: {credentials}\r\n"),
            ""
        )),
        Verification::Failed
    );
    let integrity = Phone {
        qop: Some("auth-int"),
        body: "v=0",
        ..PHONE
    };
    let credentials = integrity.credentials(&nonce, "REGISTER");
    let tampered = request(
        "REGISTER",
        &format!("Authorization: {credentials}\r\n"),
        "v=1",
    );
    assert_eq!(verify(&tampered), Verification::Failed);
    assert_eq!(
        verify(&integrity.register(&nonce)),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn credentials_for_other_realms_are_missing() {
    let authenticator = authenticator(&Algorithm::ALL);
    let nonce = nonce(&authenticator, 1);
    assert_eq!(
        authenticator.verify(&request("REGISTER", "", ""), NOW, &users),
        Verification::Missing
    );
    let other = Phone {
        realm: "other.example",
        ..PHONE
    };
    assert_eq!(
        authenticator.verify(&other.register(&nonce), NOW, &users),
        Verification::Missing
    );
    let basic = request("REGISTER", "Authorization: Basic YTpi\r\n", "");
    assert_eq!(
        authenticator.verify(&basic, NOW, &users),
        Verification::Missing
    );
}

#[test]
fn ours_are_found_among_several() {
    let authenticator = authenticator(&Algorithm::ALL);
    let nonce = nonce(&authenticator, 1);
    let other = Phone {
        realm: "other.example",
        ..PHONE
    }
    .credentials(&nonce, "REGISTER");
    let ours = PHONE.credentials(&nonce, "REGISTER");
    let both = request(
        "REGISTER",
        &format!("Authorization: {other}\r\nAuthorization: {ours}\r\n"),
        "",
    );
    assert_eq!(
        authenticator.verify(&both, NOW, &users),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn credentials_count_however_they_are_spelt() {
    let authenticator = authenticator(&Algorithm::ALL);
    for (random, (usual, other)) in (0..).zip([
        ("Digest ", "DIGEST\t"),
        ("username=\"alice\"", "UserName = \"\\al\\ice\" "),
        ("realm=\"example.com\"", "realm=\"e\\xample.co\\m\""),
        ("nonce=\"", "nonce=\r\n \""),
        ("uri=\"sip:", "uri=\"\\s\\ip:"),
        ("qop=auth", "qop=\"AUTH\""),
        ("nc=00000001", "nc=\"0000000\\1\""),
        ("cnonce=\"abc\"", "Cnonce=abc, opaque=\"\", OPAQUE2=x"),
        ("response=\"", "Response=\""),
        (", ", ",,\t"),
    ]) {
        let credentials = PHONE.credentials(&nonce(&authenticator, random), "REGISTER");
        let headers = format!("Authorization: {}\r\n", credentials.replace(usual, other));
        assert!(!headers.contains(usual), "{headers}");
        assert_eq!(
            authenticator.verify(&request("REGISTER", &headers, ""), NOW, &users),
            verified("alice", Algorithm::Md5),
            "{headers}"
        );
    }
}

#[test]
fn of_several_credentials_the_best_count() {
    let authenticator = authenticator(&Algorithm::ALL);
    let header = |phone: Phone, nonce: &str| {
        format!(
            "Authorization: {}\r\n",
            phone.credentials(nonce, "REGISTER")
        )
    };
    let wrong = Phone {
        password: "x",
        ..PHONE
    };
    let verify =
        |headers: String| authenticator.verify(&request("REGISTER", &headers, ""), NOW, &users);
    let nonce = nonce(&authenticator, 1);
    let (failed, stale, right) = (
        header(wrong, &nonce),
        header(PHONE, "x"),
        header(PHONE, &nonce),
    );
    assert_eq!(verify(failed.clone()), Verification::Failed);
    assert_eq!(verify(format!("{failed}{stale}")), Verification::Stale);
    assert_eq!(verify(format!("{stale}{failed}")), Verification::Stale);
    let broken = "Authorization: Digest realm=\"example.com\", nonce\r\n";
    assert_eq!(verify(broken.to_owned()), Verification::Missing);
    assert_eq!(
        verify(format!("{broken}{failed}{stale}Proxy-{right}")),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn a_count_is_eight_digits_in_any_case() {
    let authenticator = authenticator(&Algorithm::ALL);
    let nonce = nonce(&authenticator, 1);
    let verify = |nc: &str, random_count: u32| {
        let phone = Phone {
            count: random_count,
            ..PHONE
        };
        let credentials = phone.credentials(&nonce, "REGISTER");
        let usual = format!("nc={random_count:08x}");
        let headers = format!("Authorization: {}\r\n", credentials.replace(&usual, nc));
        authenticator.verify(&request("REGISTER", &headers, ""), NOW, &users)
    };
    assert_eq!(
        verify("nc=000000fe", 0xfe),
        verified("alice", Algorithm::Md5)
    );
    assert_eq!(
        verify("nc=01abcdef", 0x1ab_cdef),
        verified("alice", Algorithm::Md5)
    );
    assert_eq!(verify("nc=01abcdef", 0x1ab_cdef), Verification::Stale);
    assert_eq!(
        verify("nc=ffffffff", u32::MAX),
        verified("alice", Algorithm::Md5)
    );
    // Signed with the digits as they are spelt.
    assert_eq!(
        verify("nc=02ABCDEF", 0x2ab_cdef),
        Verification::Failed,
        "another spelling than was signed"
    );
}

#[test]
fn a_verified_name_has_room_for_the_realm() {
    let authenticator = authenticator(&Algorithm::ALL);
    let request = PHONE.register(&nonce(&authenticator, 1));
    let Verification::Verified { user, .. } = authenticator.verify(&request, NOW, &users) else {
        panic!("the credentials are right");
    };
    assert!(user.capacity() >= "alice@".len() + REALM.len());
}

#[test]
fn algorithm_that_is_not_offered_fails() {
    let authenticator = authenticator(&[Algorithm::Sha256]);
    let nonce = nonce(&authenticator, 1);
    assert_eq!(
        authenticator.verify(&PHONE.register(&nonce), NOW, &users),
        Verification::Failed
    );
    let request = Phone {
        algorithm: Some(Algorithm::Sha256),
        user: "old",
        ..PHONE
    }
    .register(&nonce);
    assert_eq!(
        authenticator.verify(&request, NOW, &users),
        Verification::Failed,
        "there is no such hash"
    );
}

#[test]
fn count_that_was_used_is_stale() {
    let authenticator = authenticator(&Algorithm::ALL);
    let nonce = nonce(&authenticator, 1);
    let verify = |phone: Phone| authenticator.verify(&phone.register(&nonce), NOW, &users);
    assert_eq!(verify(PHONE), verified("alice", Algorithm::Md5));
    assert_eq!(verify(PHONE), Verification::Stale);
    assert_eq!(
        verify(Phone { count: 2, ..PHONE }),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn nonce_without_qop_serves_once() {
    let authenticator = authenticator(&Algorithm::ALL);
    let nonce = nonce(&authenticator, 1);
    let old = Phone { qop: None, ..PHONE };
    assert_eq!(
        authenticator.verify(&old.register(&nonce), NOW, &users),
        verified("alice", Algorithm::Md5)
    );
    assert_eq!(
        authenticator.verify(&old.register(&nonce), NOW, &users),
        Verification::Stale
    );
}

#[test]
fn wrong_credentials_use_no_count_up() {
    let authenticator = authenticator(&Algorithm::ALL);
    let nonce = nonce(&authenticator, 1);
    let wrong = Phone {
        password: "other",
        ..PHONE
    };
    assert_eq!(
        authenticator.verify(&wrong.register(&nonce), NOW, &users),
        Verification::Failed
    );
    assert_eq!(
        authenticator.verify(&PHONE.register(&nonce), NOW, &users),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn old_or_foreign_nonce_is_stale_only_with_the_right_password() {
    let authenticator = authenticator(&Algorithm::ALL);
    let nonce = nonce(&authenticator, 1);
    let late = UnixTime(NOW.0 + 301);
    assert_eq!(
        authenticator.verify(&PHONE.register(&nonce), late, &users),
        Verification::Stale
    );
    assert_eq!(
        authenticator.verify(&PHONE.register("made-up"), NOW, &users),
        Verification::Stale
    );
    let wrong = Phone {
        password: "other",
        ..PHONE
    };
    assert_eq!(
        authenticator.verify(&wrong.register(&nonce), late, &users),
        Verification::Failed
    );
    let in_time = UnixTime(NOW.0 + 300);
    assert_eq!(
        authenticator.verify(&PHONE.register(&nonce), in_time, &users),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn nonce_of_another_router_is_stale() {
    let authenticator = authenticator(&Algorithm::ALL);
    let other = Authenticator::new([4; 32], authenticator.config().clone());
    let request = PHONE.register(&nonce(&other, 1));
    assert_eq!(
        authenticator.verify(&request, NOW, &users),
        Verification::Stale
    );
}

#[test]
fn uri_may_name_the_server_but_no_other_user() {
    let authenticator = authenticator(&Algorithm::ALL);
    let verify = |random: u64, uri: &'static str| {
        authenticator.verify(
            &Phone { uri, ..PHONE }.register(&nonce(&authenticator, random)),
            NOW,
            &users,
        )
    };
    assert_eq!(
        verify(1, "sip:EXAMPLE.com:5060;transport=udp"),
        verified("alice", Algorithm::Md5)
    );
    assert_eq!(
        verify(2, "sip:192.0.2.1:5060"),
        verified("alice", Algorithm::Md5)
    );
    assert_eq!(verify(3, "sip:bob@example.com"), Verification::Failed);
    assert_eq!(verify(4, "*"), Verification::Failed);
}

#[test]
fn edits_of_a_policy_do_not_break_the_credentials() {
    let authenticator = authenticator(&Algorithm::ALL);
    let mut request = PHONE.register(&nonce(&authenticator, 1));
    request.set_request_uri(b"sip:elsewhere.example").unwrap();
    assert_eq!(
        authenticator.verify(&request, NOW, &users),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn response_in_capitals_is_right_too() {
    let authenticator = authenticator(&Algorithm::ALL);
    let credentials = PHONE.credentials(&nonce(&authenticator, 1), "REGISTER");
    let (before, response) = credentials.split_at(credentials.len() - 33);
    let headers = format!(
        "Authorization: {before}{}\r\n",
        response.to_ascii_uppercase()
    );
    assert_eq!(
        authenticator.verify(&request("REGISTER", &headers, ""), NOW, &users),
        verified("alice", Algorithm::Md5)
    );
}

#[test]
fn response_cut_short_fails() {
    let authenticator = authenticator(&Algorithm::ALL);
    let credentials = PHONE.credentials(&nonce(&authenticator, 1), "REGISTER");
    let at = credentials.len() - 33;
    for response in ["", "6"] {
        let headers = format!("Authorization: {}{response}\"\r\n", &credentials[..at]);
        assert_eq!(
            authenticator.verify(&request("REGISTER", &headers, ""), NOW, &users),
            Verification::Failed
        );
    }
}

fn algorithms(challenges: &[Vec<u8>]) -> Vec<String> {
    let name = |value: &Vec<u8>| {
        String::from_utf8(
            Challenge::parse(value)
                .unwrap()
                .get(b"algorithm")
                .unwrap()
                .to_vec(),
        )
    };
    challenges
        .iter()
        .map(|value| name(value).unwrap())
        .collect()
}

#[test]
fn challenges_come_in_the_configured_order() {
    let authenticator = authenticator(&[Algorithm::Sha512_256, Algorithm::Md5, Algorithm::Sha256]);
    let challenges = authenticator.challenge(NOW, 1, None, false);
    assert_eq!(algorithms(&challenges), ["SHA-512-256", "MD5", "SHA-256"]);
    let text = String::from_utf8(challenges[0].clone()).unwrap();
    assert!(
        text.starts_with("Digest realm=\"example.com\", nonce=\""),
        "{text}"
    );
    assert!(
        text.ends_with("\", algorithm=SHA-512-256, qop=\"auth\""),
        "{text}"
    );
}

#[test]
fn stale_is_said() {
    let challenges = authenticator(&Algorithm::ALL).challenge(NOW, 1, None, true);
    assert!(
        challenges.iter().all(
            |value| Challenge::parse(value).unwrap().get(b"stale").as_deref() == Some(b"true")
        )
    );
}

#[test]
fn known_user_is_challenged_with_what_there_is_a_hash_for() {
    let authenticator = authenticator(&[Algorithm::Sha256, Algorithm::Md5]);
    let challenge = |user: &str| {
        algorithms(&authenticator.challenge(NOW, 1, users(user, REALM).as_ref(), false))
    };
    assert_eq!(challenge("alice"), ["SHA-256", "MD5"]);
    assert_eq!(challenge("old"), ["MD5"]);
    assert_eq!(challenge("eve"), ["SHA-256", "MD5"]);
}

#[test]
fn user_without_a_hash_for_any_looks_like_nobody() {
    let authenticator = authenticator(&[Algorithm::Sha256]);
    assert_eq!(
        algorithms(&authenticator.challenge(NOW, 1, users("old", REALM).as_ref(), false)),
        ["SHA-256"]
    );
}

#[test]
fn user_to_challenge_is_taken_from_the_request() {
    let authenticator = authenticator(&[Algorithm::Sha256, Algorithm::Md5]);
    let challenge = |request: &Draft| {
        algorithms(&authenticator.challenge_request(request, NOW, 1, &users, false))
    };
    assert_eq!(
        challenge(&request("REGISTER", "", "")),
        ["MD5"],
        "To names `old`"
    );
    assert_eq!(
        challenge(&request("INVITE", "", "")),
        ["SHA-256", "MD5"],
        "From names `alice`"
    );
    let request = Phone {
        user: "old",
        ..PHONE
    }
    .register("x");
    assert_eq!(challenge(&request), ["MD5"], "the credentials name `old`");
}

#[test]
fn quotes_in_a_realm_are_escaped() {
    let config = AuthConfig {
        realm: "a \"b\" c\\d".to_owned(),
        ..AuthConfig::default()
    };
    let challenge = Authenticator::new([3; 32], config)
        .challenge(NOW, 1, None, false)
        .remove(0);
    let parsed = Challenge::parse(&challenge).unwrap();
    assert_eq!(parsed.get(b"realm").as_deref(), Some(&b"a \"b\" c\\d"[..]));
}

#[test]
fn at_most_four_credentials_are_looked_at() {
    let authenticator = authenticator(&Algorithm::ALL);
    let nonce = nonce(&authenticator, 1);
    let wrong = format!(
        "Authorization: {}\r\n",
        Phone {
            password: "x",
            ..PHONE
        }
        .credentials(&nonce, "REGISTER")
    );
    let right = format!(
        "Authorization: {}\r\n",
        PHONE.credentials(&nonce, "REGISTER")
    );
    let request = request("REGISTER", &format!("{}{right}", wrong.repeat(4)), "");
    assert_eq!(request.headers(HeaderName::Authorization).count(), 5);
    assert_eq!(
        authenticator.verify(&request, NOW, &users),
        Verification::Failed
    );
}

#[test]
fn arbitrary_credentials_never_panic() {
    use proptest::prelude::*;
    let authenticator = authenticator(&Algorithm::ALL);
    proptest!(|(value in "(Digest )?[ -~]{0,80}", realm in prop::bool::ANY)| {
        let realm = if realm { ", realm=\"example.com\"" } else { "" };
        let request = request("REGISTER", &format!("Authorization: {value}{realm}\r\n"), "");
        let verified = matches!(authenticator.verify(&request, NOW, &users), Verification::Verified { .. });
        prop_assert!(!verified);
    });
}
