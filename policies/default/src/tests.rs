//! What the default policy decides, hook by hook.

use super::*;
use patchbay_sdk::testing::{Decision, Scenario};

const BOB: &str = "sip:bob@example.com";
const DESK: &str = "sip:bob@192.0.2.2:5060";
const VOICEMAIL: &str = "sip:voicemail@192.0.2.9:5090";

/// A request of alice.
fn request(method: &str, uri: &str, from: &str, extra: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0
        Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1
        Max-Forwards: 70
        From: <{from}>;tag=1
        To: <{uri}>
        Call-ID: 1@192.0.2.1
        CSeq: 1 {method}
        {extra}"
    )
    .trim_end()
    .to_owned()
}

fn alice(method: &str, uri: &str) -> String {
    request(method, uri, "sip:alice@example.com", "")
}

/// Bob has a phone, carol none; nobody has to authenticate.
fn open() -> Scenario<DefaultPolicy> {
    Scenario::new(DefaultPolicy::default())
        .user("carol")
        .registered(BOB, DESK)
}

fn with_voicemail() -> Scenario<DefaultPolicy> {
    open().setting("voicemail", VOICEMAIL)
}

#[test]
fn a_call_goes_to_every_contact() {
    let call = open()
        .registered(BOB, "sip:bob@192.0.2.3")
        .request(&alice("INVITE", BOB));
    assert_eq!(call.target_groups(), [[DESK, "sip:bob@192.0.2.3"]]);
    assert_eq!(call.no_answer(), Some(Duration::from_secs(30)));
}

#[test]
fn nobody_is_404_and_a_user_without_a_phone_480() {
    assert_eq!(
        open()
            .request(&alice("INVITE", "sip:eve@example.com"))
            .decision(),
        Decision::Reply(404)
    );
    assert_eq!(
        open()
            .request(&alice("INVITE", "sip:carol@example.com"))
            .decision(),
        Decision::Reply(480)
    );
}

#[test]
fn busy_no_answer_and_unavailable_go_to_voicemail_and_nothing_else() {
    let call = with_voicemail().request(&alice("INVITE", BOB));
    for status in [486, 600, 408, 480] {
        assert_eq!(call.failure(status).targets(), [VOICEMAIL], "{status}");
    }
    for status in [403, 404, 500, 503, 603] {
        assert_eq!(call.failure(status).decision(), Decision::Pass, "{status}");
    }
}

#[test]
fn without_voicemail_a_busy_call_fails() {
    assert!(!open().request(&alice("INVITE", BOB)).armed().failure_route);
}

#[test]
fn a_user_without_a_phone_has_voicemail() {
    assert_eq!(
        with_voicemail()
            .request(&alice("INVITE", "sip:carol@example.com"))
            .targets(),
        [VOICEMAIL]
    );
}

#[test]
fn a_text_message_never_reaches_voicemail() {
    let message = with_voicemail().request(&alice("MESSAGE", BOB));
    assert_eq!(
        (message.targets(), message.armed().failure_route),
        (vec![DESK.to_owned()], false)
    );
    let to_carol = with_voicemail().request(&alice("MESSAGE", "sip:carol@example.com"));
    assert_eq!(to_carol.decision(), Decision::Reply(480));
}

#[test]
fn phones_ring_as_long_as_the_setting_says() {
    let call = open()
        .setting("no_answer_timeout", "5s")
        .request(&alice("INVITE", BOB));
    assert_eq!(call.no_answer(), Some(Duration::from_secs(5)));
}

#[test]
fn wrong_settings_are_refused_at_activation() {
    for (name, value) in [
        ("no_answer_timeout", "soon"),
        ("voicemail", "the machine"),
        ("trusted", "10.0.0.0/33"),
        ("trusted", "192.0.2.1, gateway.example.com"),
        ("trusted", "2001:db8::/129"),
    ] {
        let error = open().setting(name, value).init().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    let networks = "10.0.0.0/8, 192.0.2.1\t2001:db8::/32  ::1";
    open().setting("trusted", networks).init().unwrap();
}

#[test]
fn foreign_destinations_are_refused_for_everybody() {
    let foreign = alice("INVITE", "sip:bob@foreign.example");
    assert_eq!(open().request(&foreign).decision(), Decision::Reply(403));
    assert_eq!(
        open()
            .setting("trusted", "192.0.2.0/24")
            .request(&foreign)
            .decision(),
        Decision::Reply(403)
    );
    let known = open()
        .registration_required()
        .credentials("alice@example.com");
    assert_eq!(known.request(&foreign).decision(), Decision::Reply(403));
}

#[test]
fn callers_of_our_domains_authenticate_when_registration_does() {
    let call = alice("INVITE", BOB);
    let required = || open().registration_required();
    assert_eq!(required().request(&call).decision(), Decision::Challenge);
    assert_eq!(
        required()
            .credentials("alice@example.com")
            .request(&call)
            .decision(),
        Decision::Relay
    );
    assert_eq!(
        required()
            .registered_source("sip:alice@example.com")
            .request(&call)
            .decision(),
        Decision::Relay
    );
    assert_eq!(
        required()
            .setting("trusted", "10.0.0.0/8 192.0.2.1")
            .request(&call)
            .decision(),
        Decision::Relay
    );
    assert_eq!(
        required()
            .setting("trusted", "10.0.0.0/8")
            .request(&call)
            .decision(),
        Decision::Challenge
    );
}

#[test]
fn a_password_is_good_for_ones_own_address_only() {
    let call = alice("INVITE", BOB);
    let mallory = open()
        .registration_required()
        .credentials("mallory@example.com");
    assert_eq!(mallory.request(&call).decision(), Decision::Reply(403));
}

#[test]
fn strangers_are_refused_when_authentication_is_required() {
    let call = request("INVITE", BOB, "sip:eve@foreign.example", "");
    assert_eq!(
        open().registration_required().request(&call).decision(),
        Decision::Reply(403)
    );
    assert_eq!(open().request(&call).decision(), Decision::Relay);
}

#[test]
fn an_identity_asserted_by_a_stranger_is_removed() {
    let header = "P-Asserted-Identity";
    let call = request(
        "INVITE",
        BOB,
        "sip:alice@example.com",
        "P-Asserted-Identity: <sip:ceo@example.com>",
    );
    assert_eq!(open().request(&call).header(header), None);
    let trusted = open().setting("trusted", "192.0.2.1").request(&call);
    assert_eq!(
        trusted.header(header).as_deref(),
        Some("<sip:ceo@example.com>")
    );
}

#[test]
fn registrations_are_saved_or_challenged() {
    let register = alice("REGISTER", "sip:example.com")
        .replace("To: <sip:example.com>", "To: <sip:alice@example.com>");
    assert_eq!(open().request(&register).decision(), Decision::Save);
    let required = || open().registration_required();
    assert_eq!(
        required().request(&register).decision(),
        Decision::Challenge
    );
    assert_eq!(
        required()
            .credentials("alice@example.com")
            .request(&register)
            .decision(),
        Decision::Save
    );
}

#[test]
fn a_registration_for_another_domain_is_refused() {
    let abroad = alice("REGISTER", "sip:foreign.example");
    assert_eq!(open().request(&abroad).decision(), Decision::Reply(403));
    let address = alice("REGISTER", "sip:example.com")
        .replace("To: <sip:example.com>", "To: <sip:bob@foreign.example>");
    assert_eq!(open().request(&address).decision(), Decision::Reply(404));
}

#[test]
fn the_router_answers_options_and_no_other_method() {
    let options = open()
        .registration_required()
        .request(&alice("OPTIONS", "sip:example.com"));
    assert_eq!(options.decision(), Decision::Reply(200));
    assert_eq!(options.reply_header("Allow"), Some(ALLOW));
    assert_eq!(
        open()
            .request(&alice("INVITE", "sip:example.com"))
            .decision(),
        Decision::Reply(405)
    );
}

#[test]
fn the_router_understands_no_extension_of_options() {
    let required = request(
        "OPTIONS",
        "sip:example.com",
        "sip:alice@example.com",
        "Require: foo, bar",
    );
    let options = open().request(&required);
    assert_eq!(options.decision(), Decision::Reply(420));
    assert_eq!(options.reply_header("Unsupported"), Some("foo, bar"));
    let relayed = open().request(&required.replace("sip:example.com", BOB));
    assert_eq!(relayed.decision(), Decision::Relay);
}

#[test]
fn requests_in_a_dialog_follow_its_route() {
    let bye = open()
        .registration_required()
        .in_dialog()
        .request(&alice("BYE", "sip:bob@192.0.2.2:5060"));
    assert_eq!((bye.decision(), bye.targets().len()), (Decision::Relay, 0));
}

#[test]
fn an_ack_of_nothing_is_dropped() {
    assert_eq!(
        open().request(&alice("ACK", BOB)).decision(),
        Decision::Drop
    );
}
