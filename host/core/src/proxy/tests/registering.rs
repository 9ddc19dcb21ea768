//! REGISTER through the core: who may change which address-of-record.

use super::stage::*;
use crate::door::*;
use crate::registrar::{ContactChange, Contacts, OutboundSupport, RegistrarConfig, apply};

fn register(to: &str) -> String {
    request_tagged(
        "REGISTER",
        "sip:example.com",
        "reg",
        to,
        "Expires: 600\r\nUser-Agent: test\r\n",
    )
}

fn save(stage: &mut StageCore, user: Option<&str>) {
    let mut hook = stage.hook();
    hook.context.verified_user = user.map(Into::into);
    hook.context.challenge = vec![b"Digest realm=\"example.com\", nonce=\"n\"".to_vec()];
    stage.decide(hook, Verdict::Save);
}

#[test]
fn a_verified_user_registers_his_own_address() {
    let mut stage = stage();
    stage.receive(ALICE, &register("<sip:alice@example.com>"));
    save(&mut stage, Some("alice@example.com"));
    stage.assert_silent();
    let (id, registration) = stage.updates.pop_front().unwrap();
    assert_eq!(registration.aor.as_str(), "sip:alice@example.com");
    let config = RegistrarConfig {
        default_expires_secs: 3600,
        min_expires_secs: 60,
        max_expires_secs: 7200,
        max_contacts: 10,
    };
    let applied = apply(&[], &registration, &config, stage.now.unix).unwrap();
    stage.input(Input::BindingsUpdated {
        id,
        result: Ok(applied.bindings),
    });
    let answer = stage.next_response(200);
    let contact = answer.header("Contact");
    assert!(
        contact.starts_with("<sip:alice@192.0.2.1:5060>") && contact.contains("expires=600"),
        "{contact}"
    );
    assert_eq!(answer.header("Date"), "Tue, 14 Nov 2023 22:13:20 GMT");
    stage.assert_empties();
}

#[test]
fn without_credentials_save_is_401_with_a_challenge() {
    let mut stage = stage();
    stage.receive(ALICE, &register("<sip:alice@example.com>"));
    save(&mut stage, None);
    assert!(
        stage
            .next_response(401)
            .header("WWW-Authenticate")
            .starts_with("Digest ")
    );
    assert!(stage.updates.is_empty());
}

#[test]
fn another_users_address_is_403() {
    for (to, user) in [
        ("<sip:bob@example.com>", "alice@example.com"),
        ("<sip:alice@example.com>", "alice@example.net"),
        ("<sip:alice@example.org>", "alice@example.com"),
    ] {
        let mut stage = stage();
        stage.receive(ALICE, &register(to));
        save(&mut stage, Some(user));
        stage.next_response(403);
        assert!(stage.updates.is_empty(), "{to} {user}");
    }
}

#[test]
fn open_registration_needs_no_user_but_our_domain() {
    let mut stage = stage_with(CoreConfig {
        registration_required: false,
        ..config()
    });
    stage.receive(ALICE, &register("<sip:alice@example.com>"));
    save(&mut stage, None);
    assert_eq!(stage.updates.len(), 1);
    stage.receive(
        ALICE,
        &register("<sip:alice@example.org>").replace("z9hG4bKreg", "z9hG4bKreg2"),
    );
    save(&mut stage, None);
    stage.next_response(403);
}

#[test]
fn save_is_for_register_only() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    save(&mut stage, Some("alice@example.com"));
    stage.next_response(500);
    assert!(stage.events.contains(&Event::HookFault {
        hook: Hook::RequestRoute,
        fault: HookFault::Verdict
    }));
}

#[test]
fn a_refusal_of_the_location_service_is_answered() {
    let mut stage = stage();
    stage.receive(ALICE, &register("<sip:alice@example.com>"));
    save(&mut stage, Some("alice@example.com"));
    let (id, _) = stage.updates.pop_front().unwrap();
    let reject = Reject {
        status: 423,
        reason: "",
        headers: vec![("Min-Expires", "60".into())],
    };
    stage.input(Input::BindingsUpdated {
        id,
        result: Err(reject),
    });
    assert_eq!(stage.next_response(423).header("Min-Expires"), "60");
}

#[test]
fn a_registration_has_nothing_of_the_one_whose_memory_it_uses() {
    let mut stage = stage();
    let full = request_tagged(
        "REGISTER",
        "sip:example.com",
        "full",
        "<sip:alice@example.com>",
        "Contact: \"A\" <sip:second@192.0.2.9>;q=0.5;+sip.instance=\"<urn:uuid:1>\"\r\nSupported: path, outbound\r\n\
         Path: <sip:edge.example.com;lr;ob>\r\nExpires: 600\r\nUser-Agent: a very long name of a phone\r\n",
    );
    stage.receive(ALICE, &full);
    save(&mut stage, Some("alice@example.com"));
    let (_, used) = stage.updates.pop_front().unwrap();
    assert_eq!(used.path.len(), 1);
    stage.core.give_back(used);
    let plain = request_tagged(
        "REGISTER",
        "sip:example.com",
        "plain",
        "<sip:bob@example.com>",
        "",
    );
    stage.receive(ALICE, &plain);
    save(&mut stage, Some("bob@example.com"));
    let (_, registration) = stage.updates.pop_front().unwrap();
    assert_eq!(registration.aor.as_str(), "sip:bob@example.com");
    assert!(registration.path.is_empty() && registration.user_agent.is_empty());
    assert_eq!(registration.outbound, OutboundSupport::None);
    assert_eq!(registration.call_id, b"call-1@192.0.2.1");
    let change = ContactChange {
        uri: b"sip:alice@192.0.2.1:5060".to_vec(),
        q: 1000,
        ..ContactChange::default()
    };
    assert_eq!(registration.contacts, Contacts::Change(vec![change]));
}
