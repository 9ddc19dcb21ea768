use std::sync::Arc;

use patchbay_message::{Draft, Limits, Message};
use proptest::prelude::*;

use super::*;
use crate::door::{Flow, ListenerId, Reject, Transport};
use crate::time::UnixTime;

const NOW: UnixTime = UnixTime(1_000_000);
const CONFIG: RegistrarConfig = RegistrarConfig {
    default_expires_secs: 3600,
    min_expires_secs: 60,
    max_expires_secs: 7200,
    max_contacts: 3,
};

fn flow() -> Flow {
    Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: "192.0.2.4:5070".parse().unwrap(),
        connection: None,
    }
}

fn request(call_id: &str, cseq: u32, headers: &str) -> Draft {
    let text = format!(
        "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.4:5070;branch=z9hG4bK1\r\n\
         From: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@EXAMPLE.com;user=phone>\r\nCall-ID: {call_id}\r\n\
         CSeq: {cseq} REGISTER\r\nUser-Agent: phone/1\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    Draft::new(Arc::new(
        Message::parse(text.as_bytes(), &Limits::default()).unwrap(),
    ))
}

fn read(headers: &str) -> Result<Registration, Reject> {
    Registration::from_request(&request("c1", 1, headers), flow())
}

/// Applies a request to the bindings.
fn step(
    bindings: &mut Vec<ContactBinding>,
    call_id: &str,
    cseq: u32,
    headers: &str,
) -> Result<Vec<ChangeKind>, Reject> {
    let registration = Registration::from_request(&request(call_id, cseq, headers), flow())?;
    let applied = apply(bindings, &registration, &CONFIG, NOW)?;
    *bindings = applied.bindings.to_vec();
    Ok(applied.changes.iter().map(|change| change.kind).collect())
}

fn written(bindings: &[ContactBinding]) -> Vec<String> {
    bindings
        .iter()
        .map(|binding| {
            let mut out = Vec::new();
            write_contact(&mut out, binding, NOW);
            String::from_utf8(out).unwrap()
        })
        .collect()
}

/// The Contact values of the 200 to a first registration.
fn answer(headers: &str) -> Vec<String> {
    let mut bindings = Vec::new();
    step(&mut bindings, "c1", 1, headers).unwrap();
    written(&bindings)
}

fn status(headers: &str) -> u16 {
    step(&mut Vec::new(), "c1", 1, headers).unwrap_err().status
}

#[test]
fn registration_says_what_the_request_says() {
    let registration = read("Contact: <sip:alice@192.0.2.4>\r\n").unwrap();
    assert_eq!(registration.aor.as_str(), "sip:alice@example.com");
    assert_eq!(
        (registration.call_id.as_slice(), registration.cseq),
        (&b"c1"[..], 1)
    );
    assert_eq!(registration.user_agent, b"phone/1");
    let applied = apply(&[], &registration, &CONFIG, NOW).unwrap();
    assert_eq!(applied.bindings[0].flow(), Some(flow()));
    assert_eq!(applied.bindings[0].user_agent(), b"phone/1");
    assert_eq!(applied.bindings[0].updated(), NOW);
}

#[test]
fn several_contacts_of_several_headers_are_kept_in_order() {
    let contacts = answer("Contact: <sip:a@h1>, <sip:b@h2>\r\nm: <sip:c@h3>\r\n");
    assert_eq!(
        contacts,
        [
            "<sip:a@h1>;expires=3600",
            "<sip:b@h2>;expires=3600",
            "<sip:c@h3>;expires=3600"
        ]
    );
}

#[test]
fn all_contact_parameters_come_back() {
    let contacts = answer(
        "Contact: \"A, B\" <sip:a@h1;transport=tcp>;q=0.5;expires=100;+sip.instance=\"<urn:x>\";Foo=bar;baz\r\n",
    );
    assert_eq!(
        contacts,
        [
            "\"A, B\" <sip:a@h1;transport=tcp>;q=0.5;+sip.instance=\"<urn:x>\";Foo=bar;baz;expires=100"
        ]
    );
}

#[test]
fn bare_uri_gets_brackets_and_its_parameters_are_the_headers() {
    assert_eq!(
        answer("Contact: sip:a@h1;q=0.3;x=1\r\n"),
        ["<sip:a@h1>;q=0.3;x=1;expires=3600"]
    );
}

#[test]
fn parameter_wins_over_header_and_header_over_default() {
    assert_eq!(
        answer("Contact: <sip:a@h>;expires=100\r\nExpires: 200\r\n"),
        ["<sip:a@h>;expires=100"]
    );
    assert_eq!(
        answer("Contact: <sip:a@h>\r\nExpires: 200\r\n"),
        ["<sip:a@h>;expires=200"]
    );
    assert_eq!(answer("Contact: <sip:a@h>\r\n"), ["<sip:a@h>;expires=3600"]);
}

#[test]
fn malformed_expires_means_the_default() {
    assert_eq!(
        answer("Contact: <sip:a@h>;expires=soon\r\nExpires: 200\r\n"),
        ["<sip:a@h>;expires=3600"]
    );
    assert_eq!(
        answer("Contact: <sip:a@h>\r\nExpires: -1\r\n"),
        ["<sip:a@h>;expires=3600"]
    );
}

#[test]
fn long_expires_is_cut_to_the_maximum() {
    assert_eq!(
        answer("Contact: <sip:a@h>;expires=7201\r\n"),
        ["<sip:a@h>;expires=7200"]
    );
    assert_eq!(
        answer("Contact: <sip:a@h>;expires=99999999999999999999\r\n"),
        ["<sip:a@h>;expires=7200"]
    );
}

#[test]
fn brief_expires_gets_423_with_min_expires() {
    let reject = step(
        &mut Vec::new(),
        "c1",
        1,
        "Contact: <sip:a@h>;expires=59\r\n",
    )
    .unwrap_err();
    assert_eq!(
        (reject.status, reject.headers),
        (423, vec![("Min-Expires", "60".to_owned())])
    );
    assert_eq!(
        answer("Contact: <sip:a@h>;expires=60\r\n"),
        ["<sip:a@h>;expires=60"]
    );
}

#[test]
fn an_hour_is_never_too_brief() {
    let config = RegistrarConfig {
        min_expires_secs: 5000,
        ..CONFIG
    };
    let registration = read("Contact: <sip:a@h>;expires=3600\r\n").unwrap();
    assert!(apply(&[], &registration, &config, NOW).is_ok());
    let registration = read("Contact: <sip:a@h>;expires=3599\r\n").unwrap();
    assert_eq!(
        apply(&[], &registration, &config, NOW).unwrap_err().status,
        423
    );
}

#[test]
fn one_brief_contact_refuses_the_whole_request() {
    let mut bindings = Vec::new();
    let headers = "Contact: <sip:a@h>;expires=100, <sip:b@h>;expires=1\r\n";
    assert_eq!(
        step(&mut bindings, "c1", 1, headers).unwrap_err().status,
        423
    );
    assert!(bindings.is_empty());
}

#[test]
fn zero_removes_one_contact() {
    let mut bindings = Vec::new();
    step(&mut bindings, "c1", 1, "Contact: <sip:a@h>, <sip:b@h>\r\n").unwrap();
    assert_eq!(
        step(&mut bindings, "c1", 2, "Contact: <sip:a@h>;expires=0\r\n").unwrap(),
        [ChangeKind::Removed]
    );
    assert_eq!(written(&bindings), ["<sip:b@h>;expires=3600"]);
    assert_eq!(
        step(
            &mut bindings,
            "c1",
            3,
            "Contact: <sip:unknown@h>;expires=0\r\n"
        )
        .unwrap(),
        []
    );
}

#[test]
fn request_without_contact_only_lists() {
    let mut bindings = Vec::new();
    step(&mut bindings, "c1", 5, "Contact: <sip:a@h>\r\n").unwrap();
    assert_eq!(step(&mut bindings, "c1", 1, "").unwrap(), []);
    assert_eq!(written(&bindings), ["<sip:a@h>;expires=3600"]);
}

#[test]
fn star_removes_everything() {
    let mut bindings = Vec::new();
    step(&mut bindings, "c1", 1, "Contact: <sip:a@h>\r\n").unwrap();
    step(&mut bindings, "c2", 9, "Contact: <sip:b@h>\r\n").unwrap();
    let kinds = step(&mut bindings, "c1", 2, "Contact: *\r\nExpires: 0\r\n").unwrap();
    assert_eq!(kinds, [ChangeKind::Removed, ChangeKind::Removed]);
    assert!(bindings.is_empty());
}

#[test]
fn star_needs_expires_zero_and_to_be_alone() {
    assert_eq!(status("Contact: *\r\n"), 400);
    assert_eq!(status("Contact: *\r\nExpires: 1\r\n"), 400);
    assert_eq!(status("Contact: *\r\nExpires: none\r\n"), 400);
    assert_eq!(status("Contact: *, <sip:a@h>\r\nExpires: 0\r\n"), 400);
    assert_eq!(
        status("Contact: *\r\nContact: *, <sip:a@h>\r\nExpires: 0\r\n"),
        400
    );
}

#[test]
fn star_out_of_order_fails_and_removes_nothing() {
    let mut bindings = Vec::new();
    step(&mut bindings, "c2", 1, "Contact: <sip:b@h>\r\n").unwrap();
    step(&mut bindings, "c1", 7, "Contact: <sip:a@h>\r\n").unwrap();
    assert_eq!(
        step(&mut bindings, "c1", 7, "Contact: *\r\nExpires: 0\r\n")
            .unwrap_err()
            .status,
        500
    );
    assert_eq!(bindings.len(), 2);
}

#[test]
fn same_call_id_needs_a_higher_cseq() {
    let mut bindings = Vec::new();
    step(&mut bindings, "c1", 5, "Contact: <sip:a@h>\r\n").unwrap();
    for cseq in [4, 5] {
        assert_eq!(
            step(&mut bindings, "c1", cseq, "Contact: <sip:a@h>;q=0.1\r\n")
                .unwrap_err()
                .status,
            500
        );
        assert_eq!(
            step(
                &mut bindings,
                "c1",
                cseq,
                "Contact: <sip:a@h>;expires=0\r\n"
            )
            .unwrap_err()
            .status,
            500
        );
    }
    assert_eq!(
        step(&mut bindings, "c1", 6, "Contact: <sip:a@h>;q=0.1\r\n").unwrap(),
        [ChangeKind::Refreshed]
    );
    assert_eq!(bindings[0].cseq(), 6);
}

#[test]
fn another_call_id_may_have_any_cseq() {
    let mut bindings = Vec::new();
    step(&mut bindings, "c1", 5, "Contact: <sip:a@h>\r\n").unwrap();
    assert_eq!(
        step(&mut bindings, "c2", 1, "Contact: <sip:a@h>\r\n").unwrap(),
        [ChangeKind::Refreshed]
    );
    assert_eq!((bindings[0].call_id(), bindings[0].cseq()), (&b"c2"[..], 1));
    assert_eq!(
        step(&mut bindings, "c3", 1, "Contact: <sip:a@h>;expires=0\r\n").unwrap(),
        [ChangeKind::Removed]
    );
}

#[test]
fn out_of_order_contact_undoes_the_others() {
    let mut bindings = Vec::new();
    step(&mut bindings, "c1", 5, "Contact: <sip:a@h>\r\n").unwrap();
    let before = bindings.clone();
    assert!(
        step(
            &mut bindings,
            "c1",
            5,
            "Contact: <sip:new@h>, <sip:a@h>\r\n"
        )
        .is_err()
    );
    assert_eq!(bindings, before);
}

#[test]
fn contacts_are_compared_as_uris() {
    let mut bindings = Vec::new();
    step(
        &mut bindings,
        "c1",
        1,
        "Contact: <sip:%61lice@H.example.com;transport=udp>\r\n",
    )
    .unwrap();
    let kinds = step(
        &mut bindings,
        "c1",
        2,
        "Contact: <sip:alice@h.example.com;Transport=UDP>\r\n",
    )
    .unwrap();
    assert_eq!(kinds, [ChangeKind::Refreshed]);
    let kinds = step(
        &mut bindings,
        "c1",
        3,
        "Contact: <sip:alice@h.example.com;transport=tcp>\r\n",
    )
    .unwrap();
    assert_eq!(kinds, [ChangeKind::Added]);
}

#[test]
fn contact_named_twice_is_taken_once() {
    assert_eq!(
        answer("Contact: <sip:a@h>;q=0.1, <sip:a@h>;q=0.2\r\n"),
        ["<sip:a@h>;q=0.2;expires=3600"]
    );
}

#[test]
fn too_many_contacts_get_403_and_change_nothing() {
    let mut bindings = Vec::new();
    step(
        &mut bindings,
        "c1",
        1,
        "Contact: <sip:a@h>, <sip:b@h>, <sip:c@h>\r\n",
    )
    .unwrap();
    assert_eq!(
        step(&mut bindings, "c1", 2, "Contact: <sip:d@h>\r\n")
            .unwrap_err()
            .status,
        403
    );
    assert_eq!(bindings.len(), 3);
    step(
        &mut bindings,
        "c1",
        3,
        "Contact: <sip:a@h>;expires=0, <sip:d@h>\r\n",
    )
    .unwrap();
    assert_eq!(bindings.len(), 3);
}

#[test]
fn lower_limit_still_lets_contacts_go() {
    let mut bindings = Vec::new();
    step(
        &mut bindings,
        "c1",
        1,
        "Contact: <sip:a@h>, <sip:b@h>, <sip:c@h>\r\n",
    )
    .unwrap();
    let registration = Registration::from_request(
        &request("c1", 2, "Contact: <sip:a@h>;expires=0\r\n"),
        flow(),
    )
    .unwrap();
    let config = RegistrarConfig {
        max_contacts: 1,
        ..CONFIG
    };
    assert_eq!(
        apply(&bindings, &registration, &config, NOW)
            .unwrap()
            .bindings
            .len(),
        2
    );
}

#[test]
fn expired_bindings_are_dropped_and_do_not_count() {
    let mut bindings = Vec::new();
    step(
        &mut bindings,
        "c1",
        9,
        "Contact: <sip:a@h>;expires=60, <sip:b@h>;expires=600\r\n",
    )
    .unwrap();
    let registration =
        Registration::from_request(&request("c1", 1, "Contact: <sip:a@h>\r\n"), flow()).unwrap();
    let applied = apply(&bindings, &registration, &CONFIG, UnixTime(NOW.0 + 60)).unwrap();
    let kinds: Vec<_> = applied.changes.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Expired, ChangeKind::Added]);
    assert_eq!(applied.bindings.len(), 2);
}

#[test]
fn q_is_read_in_thousandths() {
    let q = |text: &str| match read(&format!("Contact: <sip:a@h>;q={text}\r\n"))
        .unwrap()
        .contacts
    {
        Contacts::Change(changes) => changes[0].q,
        other => unreachable!("{other:?}"),
    };
    let read: Vec<_> = ["0", "0.7", "0.75", "0.123", "1", "1.0", "1.000", ".5"]
        .into_iter()
        .map(q)
        .collect();
    assert_eq!(read, [0, 700, 750, 123, 1000, 1000, 1000, 500]);
    let malformed: Vec<_> = ["2", "1.001", "0.1234", "x", ".", "-1"]
        .into_iter()
        .map(q)
        .collect();
    assert_eq!(malformed, [1000; 6]);
}

#[test]
fn path_is_stored_in_order() {
    let mut bindings = Vec::new();
    let headers = "Supported: timer, path\r\nPath: <sip:p1;lr>, <sip:p2;lr>\r\nPath: <sip:p3;lr>\r\nContact: <sip:a@h>\r\n";
    step(&mut bindings, "c1", 1, headers).unwrap();
    let path: Vec<_> = bindings[0].path().collect();
    assert_eq!(path, [b"<sip:p1;lr>", b"<sip:p2;lr>", b"<sip:p3;lr>"]);
}

#[test]
fn path_that_the_phone_does_not_support_gets_420() {
    let reject = read("Path: <sip:p1;lr>\r\nContact: <sip:a@h>\r\n").unwrap_err();
    assert_eq!(
        (reject.status, reject.headers),
        (420, vec![("Unsupported", "path".to_owned())])
    );
}

#[test]
fn an_extension_that_is_required_and_not_understood_gets_420() {
    let reject = read("Require: path, foo\r\nRequire: bar\r\nContact: <sip:a@h>\r\n").unwrap_err();
    assert_eq!(
        (reject.status, reject.headers),
        (420, vec![("Unsupported", "foo, bar".to_owned())])
    );
    read("Require: Path, outbound\r\nRequire:\r\nContact: <sip:a@h>\r\n").unwrap();
}

#[test]
fn malformed_contact_gets_400() {
    assert_eq!(status("Contact: <sip:a@h\r\n"), 400);
    assert_eq!(status("Contact: <sip:a@h>, \"x\r\n"), 400);
}

#[test]
fn folded_values_come_back_on_one_line() {
    let contacts = answer("Contact: \"A\r\n B\" <sip:a@h>;x=1\r\n ;y=2\r\n");
    assert!(!contacts[0].contains(['\r', '\n']), "{contacts:?}");
    assert!(contacts[0].contains("x=1") && contacts[0].contains("y=2"));
}

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:1>\"";

#[test]
fn flow_replaces_the_contact_of_its_instance_and_reg_id() {
    let mut bindings = Vec::new();
    let contact = |host: &str, reg_id: u32| {
        format!("Supported: outbound\r\nContact: <sip:a@{host}>;{INSTANCE};reg-id={reg_id}\r\n")
    };
    step(&mut bindings, "c1", 1, &contact("h1", 1)).unwrap();
    assert_eq!(
        step(&mut bindings, "c2", 1, &contact("h2", 1)).unwrap(),
        [ChangeKind::Refreshed]
    );
    assert_eq!(
        step(&mut bindings, "c3", 1, &contact("h2", 2)).unwrap(),
        [ChangeKind::Added]
    );
    let uris: Vec<_> = bindings
        .iter()
        .map(|binding| (binding.uri(), binding.reg_id()))
        .collect();
    assert_eq!(
        uris,
        [(&b"sip:a@h2"[..], Some(1)), (&b"sip:a@h2"[..], Some(2))]
    );
}

#[test]
fn reg_id_without_instance_is_ignored() {
    let mut bindings = Vec::new();
    step(&mut bindings, "c1", 1, "Contact: <sip:a@h1>;reg-id=1\r\n").unwrap();
    assert_eq!(
        step(&mut bindings, "c1", 2, "Contact: <sip:a@h2>;reg-id=1\r\n").unwrap(),
        [ChangeKind::Added]
    );
    assert_eq!(bindings[0].reg_id(), None);
}

#[test]
fn outbound_needs_a_first_hop_that_supports_it() {
    let behind_proxy = "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK2\r\n";
    let contact = format!("Contact: <sip:a@h>;{INSTANCE};reg-id=1\r\n");
    let outbound = |headers: String| read(&headers).map(|registration| registration.outbound);
    assert_eq!(
        outbound(format!("Supported: outbound\r\n{contact}")),
        Ok(OutboundSupport::Required)
    );
    assert_eq!(outbound(contact.clone()), Ok(OutboundSupport::Flows));
    assert_eq!(
        outbound(format!("{behind_proxy}{contact}")),
        Ok(OutboundSupport::None)
    );
    let reject = outbound(format!("{behind_proxy}Supported: outbound\r\n{contact}")).unwrap_err();
    assert_eq!(reject.status, 439);
    let path = "Supported: outbound, path\r\nPath: <sip:p;lr;ob>\r\n";
    assert_eq!(
        outbound(format!("{behind_proxy}{path}{contact}")),
        Ok(OutboundSupport::Required)
    );
}

#[test]
fn flow_beside_another_new_contact_gets_400() {
    assert_eq!(
        status(&format!(
            "Contact: <sip:a@h>;{INSTANCE};reg-id=1, <sip:b@h>\r\n"
        )),
        400
    );
    assert!(
        read(&format!(
            "Contact: <sip:a@h>;{INSTANCE};reg-id=1, <sip:b@h>;expires=0\r\n"
        ))
        .is_ok()
    );
}

#[test]
fn contact_of_a_policy_has_no_order_and_no_minimum() {
    let aor = read("").unwrap().aor;
    let mut bindings = Vec::new();
    step(&mut bindings, "c1", 5, "Contact: <sip:a@h>\r\n").unwrap();
    let registration = Registration::of_contact(aor.clone(), b"sip:a@h", 10, None).unwrap();
    let applied = apply(&bindings, &registration, &CONFIG, NOW).unwrap();
    assert_eq!(written(&applied.bindings), ["<sip:a@h>;expires=10"]);
    let registration = Registration::of_contact(
        aor.clone(),
        b"\"A\" <sip:b@h;x=1>;q=0.2;expires=99",
        20,
        None,
    )
    .unwrap();
    let applied = apply(&[], &registration, &CONFIG, NOW).unwrap();
    assert_eq!(
        written(&applied.bindings),
        ["\"A\" <sip:b@h;x=1>;q=0.2;expires=20"]
    );
    let applied = apply(&bindings, &Registration::of_removal(aor), &CONFIG, NOW).unwrap();
    assert!(applied.bindings.is_empty());
}

const LATER: UnixTime = UnixTime(NOW.0 + 100);
const PHONE: &str = "Contact: \"A\" <sip:a@h:5070;transport=udp>;q=0.5;x=1\r\n";

/// What a first request leaves.
fn registered(headers: &str) -> Bindings {
    let registration = read(headers).unwrap();
    let applied = apply(&[], &registration, &CONFIG, NOW).unwrap();
    applied.bindings
}

/// Refreshes in place; says whether that was done and what came of it otherwise.
fn refreshed(bindings: &Bindings, registration: &Registration) -> bool {
    let mut bindings: Bindings = bindings
        .iter()
        .map(|it| it.with_stamp(it.stamp()))
        .collect();
    let before = bindings.clone();
    assert_eq!(
        refresh(&mut bindings, registration, &CONFIG, LATER),
        None,
        "they are shared"
    );
    let bytes = before.iter().map(|it| it.as_bytes().to_vec());
    let mut bindings = bytes
        .map(|bytes| ContactBinding::from_bytes(&bytes).unwrap())
        .collect();
    let applied = apply(&before, registration, &CONFIG, LATER);
    let Some(overwritten) = refresh(&mut bindings, registration, &CONFIG, LATER) else {
        assert_eq!(bindings, before);
        return false;
    };
    let applied = applied.unwrap();
    assert_eq!(bindings, applied.bindings);
    assert_eq!(
        overwritten.change(&bindings).as_ref(),
        applied.changes.first()
    );
    assert_eq!(overwritten.before(&bindings), before);
    true
}

#[test]
fn usual_refresh_is_made_in_place() {
    let again = |headers: &str, cseq: u32| {
        Registration::from_request(&request("c1", cseq, headers), flow()).unwrap()
    };
    let flow_contact = format!("Supported: outbound\r\nContact: <sip:a@h>;{INSTANCE};reg-id=1\r\n");
    let path = "Supported: path\r\nPath: <sip:p1;lr>, <sip:p2;lr>\r\nContact: <sip:a@h>\r\n";
    let two = "Contact: <sip:b@h>, <sip:a@h>\r\n";
    for headers in [PHONE, &flow_contact, path] {
        assert!(
            refreshed(&registered(headers), &again(headers, 2)),
            "{headers}"
        );
    }
    let one_of_two = again("Contact: <sip:a@h>;expires=900\r\n", 2);
    assert!(refreshed(&registered(two), &one_of_two));
}

#[test]
fn what_says_more_is_no_refresh_in_place() {
    let bindings = registered(PHONE);
    let is_refreshed = |call_id: &str, cseq: u32, headers: &str| {
        let registration = Registration::from_request(&request(call_id, cseq, headers), flow());
        refreshed(&bindings, &registration.unwrap())
    };
    assert!(is_refreshed("c1", 2, PHONE));
    assert!(!is_refreshed("c1", 1, PHONE), "out of order");
    assert!(!is_refreshed("c2", 2, PHONE), "another call");
    for other in [
        PHONE.replace("\"A\"", "\"B\""),
        PHONE.replace("\"A\" ", ""),
        PHONE.replace("5070", "5071"),
        PHONE.replace("a@h", "a@H"),
        PHONE.replace("0.5", "0.6"),
        PHONE.replace("x=1", "x=2"),
        PHONE.replace("x=1", "expires=0"),
        PHONE.replace("x=1", "x=1;expires=10"),
        format!("{PHONE}Supported: path\r\nPath: <sip:p;lr>\r\n"),
        format!("{PHONE}Contact: <sip:b@h>\r\n"),
        String::new(),
    ] {
        assert!(!is_refreshed("c1", 2, &other), "{other}");
    }
    let moved = Flow {
        remote: "192.0.2.9:5070".parse().unwrap(),
        ..flow()
    };
    let registration = Registration::from_request(&request("c1", 2, PHONE), moved).unwrap();
    assert!(!refreshed(&bindings, &registration));
    let gone: Bindings = bindings.iter().map(|it| it.with_listener(None)).collect();
    let registration = Registration {
        flow: None,
        ..registration
    };
    assert!(!refreshed(&gone, &registration));
}

#[test]
fn expired_binding_beside_it_is_no_refresh_in_place() {
    let bindings = registered("Contact: <sip:a@h>, <sip:b@h>;expires=60\r\n");
    let again = Registration::from_request(&request("c1", 2, "Contact: <sip:a@h>\r\n"), flow());
    assert!(!refreshed(&bindings, &again.unwrap()));
}

proptest! {
    /// Whatever comes, the bindings are live, within the limits, and each contact is there once.
    #[test]
    fn bindings_stay_sound(steps in prop::collection::vec((0..3u8, 1..6u32, 0..5u8, 0..9000u32), 1..40)) {
        let mut bindings = Vec::new();
        for (call, cseq, contact, secs) in steps {
            let before = bindings.clone();
            let headers = format!("Contact: <sip:u{contact}@h>;expires={secs}\r\n");
            if step(&mut bindings, &call.to_string(), cseq, &headers).is_err() {
                prop_assert_eq!(&bindings, &before);
            }
            let mut uris: Vec<_> = bindings.iter().map(|binding| binding.uri().to_vec()).collect();
            uris.sort();
            uris.dedup();
            prop_assert_eq!(uris.len(), bindings.len());
            prop_assert!(bindings.len() <= CONFIG.max_contacts);
            prop_assert!(bindings.iter().all(|binding| binding.is_live(NOW) && binding.remaining_secs(NOW) <= 7200));
        }
    }
}
