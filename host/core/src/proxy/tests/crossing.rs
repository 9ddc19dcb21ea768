//! Responses that cross what the router has decided already.

use std::time::Duration;

use super::calls::ringing;
use super::cancelling::cancel;
use super::stage::*;
use crate::door::*;

#[test]
fn a_2xx_after_a_failure_is_forwarded() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![Target {
        no_answer: Some(Duration::from_secs(1)),
        ..Target::of_uri(b"sip:bob@192.0.2.2:5060".to_vec())
    }];
    stage.decide(hook, Verdict::Relay);
    let forwarded = stage.next_request("INVITE");
    stage.wait(Duration::from_millis(1100));
    while stage.next().status() != Some(408) {}

    stage.answer(&forwarded, 200, "bob");
    assert_eq!(stage.next_response(200).to, ALICE.parse().unwrap());
    stage.answer(&forwarded, 200, "bob");
    stage.next_response(200);
}

#[test]
fn a_2xx_that_crosses_the_cancel_is_forwarded() {
    let (mut stage, forwarded) = ringing();
    stage.answer(&forwarded, 180, "bob");
    stage.next_response(180);
    stage.receive(ALICE, &cancel());
    stage.next_response(200);
    stage.next_request("CANCEL");
    stage.answer(&forwarded, 200, "bob");
    assert!(stage.next_response(200).header("CSeq").ends_with("INVITE"));
}

#[test]
fn a_2xx_to_a_message_starts_no_other_branch() {
    let mut stage = stage();
    stage.receive(
        ALICE,
        &request("MESSAGE", "sip:bob@example.com", "z9hG4bKm", ""),
    );
    stage.relay_to(&["sip:bob@192.0.2.2:5060", "sip:bob@elsewhere.example.org"]);
    let forwarded = stage.next_request("MESSAGE");
    let (elsewhere, _) = stage.resolves.pop_front().unwrap();
    stage.answer(&forwarded, 200, "bob");
    stage.next_response(200);
    stage.input(Input::Resolved {
        id: elsewhere,
        destinations: vec![Destination {
            transport: Transport::Udp,
            address: CAROL.parse().unwrap(),
            host: None,
            listener: None,
            local: None,
        }],
    });
    stage.assert_silent();
}

#[test]
fn a_message_is_never_cancelled() {
    let mut stage = stage();
    stage.receive(
        ALICE,
        &request("MESSAGE", "sip:bob@example.com", "z9hG4bKm", ""),
    );
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![Target {
        no_answer: Some(Duration::from_millis(100)),
        ..Target::of_uri(b"sip:bob@192.0.2.2:5060".to_vec())
    }];
    stage.decide(hook, Verdict::Relay);
    let forwarded = stage.next_request("MESSAGE");
    stage.wait(Duration::from_millis(200));
    stage.answer(&forwarded, 100, "");
    stage.assert_silent();
}

#[test]
fn a_503_that_led_elsewhere_is_still_acknowledged() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&["sip:bob@example.org"]);
    let (id, _) = stage.resolves.pop_front().unwrap();
    let to = |address: &str| Destination {
        transport: Transport::Udp,
        address: address.parse().unwrap(),
        host: None,
        listener: None,
        local: None,
    };
    let destinations = vec![to(BOB), to(CAROL)];
    stage.input(Input::Resolved { id, destinations });
    let first = stage.next_request("INVITE");
    stage.answer(&first, 503, "bob");
    stage.next_request("ACK");
    let second = stage.next_request("INVITE");
    assert_eq!(second.to, CAROL.parse().unwrap());
    stage.answer(&first, 503, "bob");
    assert_eq!(stage.next_request("ACK").to, BOB.parse().unwrap());
    stage.answer(&second, 200, "carol");
    stage.next_response(200);
    stage.assert_empties();
}

#[test]
fn a_6xx_that_waits_for_its_hook_ends_the_search() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![
        Target::of_uri(b"sip:bob@192.0.2.2:5060".to_vec()),
        Target::of_uri(b"sip:carol@192.0.2.3:5060".to_vec()),
    ];
    hook.context.routing.armed = Armed {
        branch_route: true.into(),
        onreply_route: true.into(),
        failure_route: false.into(),
    };
    stage.decide(hook, Verdict::Relay);
    let first = stage.hook();
    stage.decide(first, Verdict::Pass);
    let forwarded = stage.next_request("INVITE");
    let second = stage.hook();
    stage.answer(&forwarded, 603, "bob");
    stage.next_request("ACK");
    stage.decide(second, Verdict::Pass);
    stage.assert_silent();
    let reply = stage.hook();
    stage.decide(reply, Verdict::Pass);
    stage.next_response(603);
}

#[test]
fn a_2xx_during_failure_route_wins() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.targets = vec![Target {
        no_answer: Some(Duration::from_millis(100)),
        ..Target::of_uri(b"sip:bob@192.0.2.2:5060".to_vec())
    }];
    hook.context.routing.armed = Armed {
        branch_route: false.into(),
        onreply_route: true.into(),
        failure_route: true.into(),
    };
    stage.decide(hook, Verdict::Relay);
    let forwarded = stage.next_request("INVITE");
    stage.wait(Duration::from_millis(150));
    let mut failure = stage.hook();
    assert_eq!(failure.hook, Hook::FailureRoute);
    stage.answer(&forwarded, 200, "bob");
    failure.context.routing.targets = vec![Target::of_uri(b"sip:mail@192.0.2.3:5060".to_vec())];
    stage.decide(failure, Verdict::Relay);
    stage.assert_silent();
    let reply = stage.hook();
    stage.decide(reply, Verdict::Pass);
    stage.next_response(200);
    stage.assert_empties();
}
