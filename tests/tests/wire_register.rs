//! Registrations through the real binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::time::Duration;

use patchbay_tests::agent::Agent;
use patchbay_tests::router::{Router, Setup, wait_until};
use patchbay_tests::tenants::reload;

fn contacts(answer: &patchbay_tests::text::Text) -> Vec<String> {
    answer
        .headers("Contact")
        .flat_map(|value| value.split(',').map(|c| c.trim().to_owned()))
        .collect()
}

#[test]
fn open_registration_asks_nobody() {
    let router = Router::start();
    let mut bob = Agent::udp(router.udp(), "bob");
    let answer = bob.register();
    let contacts = contacts(&answer);
    assert_eq!(contacts.len(), 1, "{answer:?}");
    assert!(contacts[0].contains(&bob.contact()), "{answer:?}");
    assert!(
        contacts[0].contains("expires=300") || contacts[0].contains("expires=299"),
        "{answer:?}"
    );
}

#[test]
fn required_registration_challenges_then_accepts() {
    let router = Setup::new().user("bob", "secret").start();
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register_with("secret");
    let list = router.get("/api/v1/registrations?aor=sip:bob@localhost");
    assert!(list.to_string().contains(&bob.contact()), "{list}");
}

#[test]
fn a_reload_decides_from_then_on_whether_registration_needs_a_password() {
    let router = Router::start();
    let mut bob = Agent::udp(router.udp(), "bob");
    let status = |bob: &mut Agent| {
        let text = bob.compose("REGISTER", "sip:localhost", &bob.aor(), "", "");
        bob.request(text);
        bob.final_response().status()
    };
    assert_eq!(status(&mut bob), 200);
    for (before, after, answer) in [("open", "required", 401), ("required", "open", 200)] {
        let setting = |value| format!("registration = \"{value}\"");
        reload(&router, |text| {
            assert!(text.contains(&setting(before)), "{text}");
            text.replacen(&setting(before), &setting(after), 1)
        });
        wait_until("the worker to take it over", || status(&mut bob) == answer);
    }
}

#[test]
fn a_wrong_password_is_challenged_again() {
    let router = Setup::new().user("bob", "secret").start();
    let mut bob = Agent::udp(router.udp(), "bob");
    let uri = "sip:localhost";
    let text = bob.compose("REGISTER", uri, &bob.aor(), "", "");
    bob.request(text);
    let challenge = bob.expect(401);
    let credentials = bob.credentials(&challenge, "WWW-Authenticate", "REGISTER", uri, "wrong");
    let text = bob.compose(
        "REGISTER",
        uri,
        &bob.aor(),
        &format!("Authorization: {credentials}\r\n"),
        "",
    );
    bob.request(text);
    let status = bob.final_response().status();
    assert!(status == 401 || status == 403, "got {status}");
    assert_eq!(
        router.get("/api/v1/registrations")["registrations"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn replayed_credentials_are_refused() {
    let router = Setup::new().user("bob", "secret").start();
    let mut bob = Agent::udp(router.udp(), "bob");
    let uri = "sip:localhost";
    let text = bob.compose("REGISTER", uri, &bob.aor(), "", "");
    bob.request(text);
    let challenge = bob.expect(401);
    let credentials = format!(
        "Authorization: {}\r\n",
        bob.credentials(&challenge, "WWW-Authenticate", "REGISTER", uri, "secret")
    );
    let text = bob.compose("REGISTER", uri, &bob.aor(), &credentials, "");
    bob.request(text);
    bob.expect(200);
    let mut mallory = Agent::udp(router.udp(), "bob");
    let text = mallory.compose("REGISTER", uri, &mallory.aor(), &credentials, "");
    mallory.request(text);
    let answer = mallory.expect(401);
    assert!(
        answer
            .header("WWW-Authenticate")
            .to_ascii_lowercase()
            .contains("stale=true"),
        "the nonce was good: {answer:?}"
    );
}

#[test]
fn a_registration_for_another_address_of_record_is_forbidden() {
    let router = Setup::new()
        .user("bob", "secret")
        .user("mallory", "hers")
        .start();
    let mut mallory = Agent::udp(router.udp(), "mallory");
    let uri = "sip:localhost";
    let text = mallory.compose("REGISTER", uri, "sip:bob@localhost", "", "");
    mallory.request(text);
    let challenge = mallory.expect(401);
    let credentials = mallory.credentials(&challenge, "WWW-Authenticate", "REGISTER", uri, "hers");
    let text = mallory.compose(
        "REGISTER",
        uri,
        "sip:bob@localhost",
        &format!("Authorization: {credentials}\r\n"),
        "",
    );
    mallory.request(text);
    mallory.expect(403);
    assert_eq!(
        router.get("/api/v1/registrations")["registrations"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
}

#[test]
fn a_short_expiry_is_refused_with_min_expires() {
    let router = Setup::new()
        .section("[registrar]\nmin_expires = \"60s\"")
        .start();
    let mut bob = Agent::udp(router.udp(), "bob");
    let text = bob.compose(
        "REGISTER",
        "sip:localhost",
        &bob.aor(),
        "Expires: 5\r\n",
        "",
    );
    bob.request(text);
    assert_eq!(bob.expect(423).header("Min-Expires"), "60");
}

#[test]
fn a_star_removes_every_contact() {
    let router = Router::start();
    let (mut desk, mut mobile) = (
        Agent::udp(router.udp(), "bob"),
        Agent::udp(router.udp(), "bob"),
    );
    desk.register();
    assert_eq!(contacts(&mobile.register()).len(), 2);
    let text = desk.compose(
        "REGISTER",
        "sip:localhost",
        &desk.aor(),
        "Expires: 0\r\n",
        "",
    );
    let contact = format!("Contact: <{}>", desk.contact());
    let text = text.replace(&contact, "Contact: *");
    desk.request(text);
    assert_eq!(contacts(&desk.expect(200)).len(), 0);
}

#[test]
fn an_expired_contact_is_not_called() {
    let router = Setup::new()
        .section("[registrar]\nmin_expires = \"1s\"")
        .start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    let text = bob.compose(
        "REGISTER",
        "sip:localhost",
        &bob.aor(),
        "Expires: 1\r\n",
        "",
    );
    bob.request(text);
    bob.expect(200);
    std::thread::sleep(Duration::from_millis(2200));
    alice.invite(&bob.aor());
    // With open registration nobody is known who is not registered.
    alice.expect(404);
    bob.expect_silence(Duration::from_millis(200));
}

#[test]
fn all_parameters_of_a_contact_are_kept_and_returned() {
    let router = Router::start();
    let mut bob = Agent::udp(router.udp(), "bob");
    let text = bob.compose(
        "REGISTER",
        "sip:localhost",
        &bob.aor(),
        "Expires: 300\r\n",
        "",
    );
    let contact = format!("<{}>", bob.contact());
    let rich = format!(
        "\"Bob\" {contact};q=0.7;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\";x-custom=yes;audio"
    );
    bob.request(text.replace(&contact, &rich));
    let answer = bob.expect(200);
    let value = answer.header("Contact");
    for part in [
        "q=0.7",
        "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000A95A0E128>\"",
        "x-custom=yes",
        "audio",
    ] {
        assert!(value.contains(part), "{part} is missing in {value}");
    }
}

#[test]
fn registrations_survive_a_restart() {
    let router = Router::start();
    let mut bob = Agent::udp(router.udp(), "bob");
    bob.register();
    let directory = router.stop();
    let router = Setup::new().directory(directory).start();
    let list = router.get("/api/v1/registrations?aor=sip:bob@localhost");
    assert!(list.to_string().contains(&bob.contact()), "{list}");
}

#[test]
fn an_operator_can_remove_a_registration() {
    let router = Router::start();
    let (mut alice, mut bob) = (
        Agent::udp(router.udp(), "alice"),
        Agent::udp(router.udp(), "bob"),
    );
    bob.register();
    let url = format!(
        "http://{}/api/v1/registrations/sip:bob@localhost",
        router.admin()
    );
    let response = ureq::delete(url)
        .header("Content-Type", "application/json")
        .call()
        .expect("DELETE");
    assert!(response.status().is_success());
    alice.invite(&bob.aor());
    alice.expect(404);
}
