//! Hooks as outputs that are answered later.

use super::stage::*;
use crate::door::*;

fn armed(branch_route: bool, onreply_route: bool, failure_route: bool) -> Armed {
    Armed {
        branch_route: branch_route.into(),
        onreply_route: onreply_route.into(),
        failure_route: failure_route.into(),
    }
}

fn relayed(armed: Armed, uris: &[&str]) -> StageCore {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.routing.targets = uris
        .iter()
        .map(|uri| Target::of_uri(uri.as_bytes().to_vec()))
        .collect();
    hook.context.routing.armed = armed;
    hook.context.variables = vec![("who".into(), "alice".into())];
    stage.decide(hook, Verdict::Relay);
    stage
}

#[test]
fn failure_route_sends_a_busy_call_to_voicemail() {
    let mut stage = relayed(armed(false, false, true), &["sip:bob@192.0.2.2"]);
    let bob = stage.next_request("INVITE");
    stage.answer(&bob, 486, "b");
    stage.next_request("ACK");
    stage.assert_silent();
    let mut hook = stage.hook();
    assert_eq!(
        (hook.hook, hook.version, hook.context.failure_round),
        (Hook::FailureRoute, PolicyVersion(1), 0)
    );
    assert_eq!(hook.context.response.as_ref().unwrap().status(), Some(486));
    assert_eq!(
        hook.context.variables,
        [("who".to_string(), "alice".to_string())]
    );
    hook.context.routing.targets = vec![Target::of_uri(b"sip:voicemail@192.0.2.3".to_vec())];
    stage.decide(hook, Verdict::Relay);
    let voicemail = stage.next_request("INVITE");
    assert_eq!(voicemail.to, CAROL.parse().unwrap());
    stage.answer(&voicemail, 200, "v");
    stage.next_response(200);
    stage.assert_silent();
    stage.assert_empties();
    assert_eq!(stage.unpinned, [PolicyVersion(1)]);
}

#[test]
fn failure_route_passes_and_replies() {
    for (verdict, status) in [
        (Verdict::Pass, 486),
        (
            Verdict::Reply(Reply {
                status: 480,
                ..Reply::default()
            }),
            480,
        ),
    ] {
        let mut stage = relayed(armed(false, false, true), &["sip:bob@192.0.2.2"]);
        let bob = stage.next_request("INVITE");
        stage.answer(&bob, 486, "b");
        stage.next_request("ACK");
        let hook = stage.hook();
        stage.decide(hook, verdict);
        stage.next_response(status);
    }
}

#[test]
fn a_fault_in_failure_route_lets_the_best_response_through() {
    let mut stage = relayed(armed(false, false, true), &["sip:bob@192.0.2.2"]);
    let bob = stage.next_request("INVITE");
    stage.answer(&bob, 486, "b");
    stage.next_request("ACK");
    let hook = stage.hook();
    stage.return_hook(hook, Err(HookFault::Trap));
    stage.next_response(486);
    assert!(stage.events.contains(&Event::HookFault {
        hook: Hook::FailureRoute,
        fault: HookFault::Trap
    }));
}

#[test]
fn failure_route_sees_a_timeout_as_408() {
    let mut stage = relayed(
        armed(false, false, true),
        &["sip:bob@192.0.2.2;transport=tcp"],
    );
    stage.next_request("INVITE");
    stage.wait(std::time::Duration::from_millis(32_002));
    stage.next_response(100);
    let hook = stage.hook();
    assert_eq!(hook.context.response.as_ref().unwrap().status(), Some(408));
    stage.decide(hook, Verdict::Pass);
    stage.next_response(408);
}

#[test]
fn rounds_of_failure_route_are_limited() {
    let mut stage = stage_with(CoreConfig {
        max_failure_rounds: 1,
        ..config()
    });
    stage.receive(ALICE, &invite());
    for round in 0..3 {
        let mut hook = stage.hook();
        hook.context.routing.targets = vec![Target::of_uri(b"sip:bob@192.0.2.2".to_vec())];
        hook.context.routing.armed.failure_route = true.into();
        stage.decide(hook, Verdict::Relay);
        if round == 2 {
            break;
        }
        let bob = stage.next_request("INVITE");
        stage.answer(&bob, 486, "b");
        stage.next_request("ACK");
    }
    stage.next_response(486);
    assert!(stage.events.contains(&Event::Limit("max_failure_rounds")));
}

#[test]
fn branch_route_edits_its_branch_only() {
    let mut stage = relayed(
        armed(true, false, false),
        &["sip:a@192.0.2.2", "sip:b@192.0.2.3"],
    );
    let mut first = stage.hook();
    assert_eq!(
        (first.hook, first.context.request.request_uri()),
        (Hook::BranchRoute, &b"sip:a@192.0.2.2"[..])
    );
    first.context.request.set("X-Leg", b"one").unwrap();
    stage.decide(first, Verdict::Pass);
    let second = stage.hook();
    stage.decide(second, Verdict::Pass);
    assert_eq!(stage.next_request("INVITE").header("X-Leg"), "one");
    assert_eq!(stage.next_request("INVITE").header("X-Leg"), "");
}

#[test]
fn branch_route_drops_a_branch() {
    let mut stage = relayed(
        armed(true, false, false),
        &["sip:a@192.0.2.2", "sip:b@192.0.2.3"],
    );
    for _ in 0..2 {
        let hook = stage.hook();
        stage.decide(hook, Verdict::Drop);
    }
    stage.next_response(480);
    stage.assert_empties();
}

#[test]
fn hooks_of_a_transaction_run_one_at_a_time() {
    let mut stage = relayed(
        armed(true, true, false),
        &["sip:a@192.0.2.2", "sip:b@192.0.2.3"],
    );
    let first = stage.hook();
    assert!(stage.hooks.is_empty(), "the other branch waits");
    stage.decide(first, Verdict::Pass);
    let second = stage.hook();
    let forwarded = stage.next_request("INVITE");
    stage.answer(&forwarded, 180, "a");
    assert!(stage.hooks.is_empty(), "the response waits");
    stage.decide(second, Verdict::Pass);
    assert_eq!(stage.hook().hook, Hook::OnreplyRoute);
}

#[test]
fn branch_route_that_outlives_its_branch_delays_failure_route() {
    let mut stage = relayed(
        armed(true, false, true),
        &["sip:a@192.0.2.2", "sip:b@192.0.2.3"],
    );
    let first = stage.hook();
    stage.decide(first, Verdict::Pass);
    let second = stage.hook();
    let forwarded = stage.next_request("INVITE");
    stage.answer(&forwarded, 603, "a");
    assert!(stage.hooks.is_empty(), "the branch of the hook is over");
    stage.decide(second, Verdict::Pass);
    assert_eq!(stage.hook().hook, Hook::FailureRoute);
}

#[test]
fn edits_of_request_route_hold_for_all_branches() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let mut hook = stage.hook();
    hook.context.request.set("X-Tenant", b"blue").unwrap();
    hook.context.routing.targets = vec![
        Target::of_uri(b"sip:a@192.0.2.2".to_vec()),
        Target::of_uri(b"sip:b@192.0.2.3".to_vec()),
    ];
    stage.decide(hook, Verdict::Relay);
    assert_eq!(stage.next_request("INVITE").header("X-Tenant"), "blue");
    assert_eq!(stage.next_request("INVITE").header("X-Tenant"), "blue");
}

#[test]
fn edits_of_a_faulty_hook_are_ignored() {
    let mut stage = relayed(armed(true, false, false), &["sip:a@192.0.2.2"]);
    let mut hook = stage.hook();
    hook.context.request.set("X-Leg", b"one").unwrap();
    stage.return_hook(hook, Err(HookFault::Memory));
    assert_eq!(stage.next_request("INVITE").header("X-Leg"), "");
}

#[test]
fn replies_keep_their_order_through_a_slow_hook() {
    let mut stage = relayed(armed(false, true, false), &["sip:bob@192.0.2.2"]);
    let invite = stage.next_request("INVITE");
    stage.answer(&invite, 180, "b");
    let ringing = stage.hook();
    stage.answer(&invite, 183, "b");
    stage.answer(&invite, 200, "b");
    assert!(stage.hooks.is_empty(), "one hook at a time");
    stage.assert_silent();
    stage.decide(ringing, Verdict::Pass);
    stage.next_response(180);
    let mut answered = stage.hook();
    assert_eq!(
        answered.context.response.as_ref().unwrap().status(),
        Some(200),
        "the 183 is discarded"
    );
    answered
        .context
        .response
        .as_mut()
        .unwrap()
        .set("X-Edit", b"yes")
        .unwrap();
    stage.decide(answered, Verdict::Pass);
    assert_eq!(stage.next_response(200).header("X-Edit"), "yes");
    stage.answer(&invite, 200, "b");
    assert!(stage.hooks.is_empty(), "a retransmitted 2xx runs no hook");
    assert_eq!(stage.next_response(200).header("X-Edit"), "yes");
    stage.assert_empties();
}

#[test]
fn only_an_unreliable_provisional_can_be_dropped() {
    let mut stage = relayed(armed(false, true, false), &["sip:bob@192.0.2.2"]);
    let invite = stage.next_request("INVITE");
    stage.answer(&invite, 180, "b");
    let hook = stage.hook();
    stage.decide(hook, Verdict::Drop);
    stage.assert_silent();
    stage.answer_with(&invite, 183, "b", "Require: 100rel\r\nRSeq: 1\r\n");
    let hook = stage.hook();
    stage.decide(hook, Verdict::Drop);
    stage.next_response(183);
    stage.answer(&invite, 486, "b");
    stage.next_request("ACK");
    let hook = stage.hook();
    stage.decide(hook, Verdict::Drop);
    stage.next_response(486);
    stage.assert_empties();
}

#[test]
fn a_fault_outside_of_dialogs_is_500_and_an_overload_503() {
    for (fault, status) in [
        (HookFault::Trap, 500),
        (HookFault::Deadline, 500),
        (HookFault::NoPolicy, 500),
        (HookFault::Unavailable, 503),
    ] {
        let mut stage = stage();
        stage.receive(ALICE, &invite());
        let AskedHook { id, .. } = stage.hook();
        stage.input(Input::HookReturned {
            id,
            result: Err(fault),
            context: None,
            version: PolicyVersion(0),
            tenant: None,
        });
        stage.next_response(status);
        assert!(stage.unpinned.is_empty());
    }
}

#[test]
fn a_provisional_reply_is_no_verdict() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let hook = stage.hook();
    stage.decide(
        hook,
        Verdict::Reply(Reply {
            status: 180,
            ..Reply::default()
        }),
    );
    stage.next_response(500);
    assert!(stage.events.contains(&Event::HookFault {
        hook: Hook::RequestRoute,
        fault: HookFault::Verdict
    }));
}

#[test]
fn a_reply_carries_its_headers_and_body() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let hook = stage.hook();
    let headers = vec![(b"Contact".to_vec(), b"<sip:else@example.net>".to_vec())];
    let body = Some((b"text/plain".to_vec(), b"moved".to_vec()));
    stage.decide(
        hook,
        Verdict::Reply(Reply {
            status: 302,
            reason: "Gone There".into(),
            headers,
            body,
        }),
    );
    let answer = stage.next_response(302);
    assert_eq!(
        (answer.message.reason(), answer.message.body()),
        (&b"Gone There"[..], &b"moved"[..])
    );
    assert_eq!(answer.header("Contact"), "<sip:else@example.net>");
}

#[test]
fn a_challenge_is_401_for_register_and_407_else() {
    for (method, status, name) in [
        ("REGISTER", 401, "WWW-Authenticate"),
        ("INVITE", 407, "Proxy-Authenticate"),
    ] {
        let mut stage = stage();
        stage.receive(ALICE, &request(method, "sip:example.com", "c", ""));
        let hook = stage.hook();
        stage.decide(
            hook,
            Verdict::Challenge(vec![b"Digest realm=\"example.com\", nonce=\"n\"".to_vec()]),
        );
        assert!(
            stage
                .next_response(status)
                .header(name)
                .starts_with("Digest ")
        );
    }
}

#[test]
fn drop_absorbs_retransmissions_and_ends() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let hook = stage.hook();
    stage.decide(hook, Verdict::Drop);
    stage.receive(ALICE, &invite());
    stage.assert_silent();
    assert!(stage.hooks.is_empty());
    stage.assert_empties();
}

#[test]
fn relay_without_targets_to_ourselves_is_404() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    stage.relay_to(&[]);
    stage.next_response(404);
}

#[test]
fn relay_without_targets_goes_where_the_request_says() {
    let mut stage = stage();
    stage.receive(ALICE, &request("INVITE", "sip:bob@192.0.2.2:5070", "w", ""));
    stage.relay_to(&[]);
    assert_eq!(
        stage.next_request("INVITE").to,
        "192.0.2.2:5070".parse().unwrap()
    );
}

#[test]
fn an_answer_to_a_hook_that_is_gone_is_ignored() {
    let mut stage = stage();
    stage.receive(ALICE, &invite());
    let hook = stage.hook();
    let id = HookId(hook.id.0 + 1);
    stage.input(Input::HookReturned {
        id,
        result: Ok(Verdict::Relay),
        context: None,
        version: PolicyVersion(1),
        tenant: None,
    });
    stage.assert_silent();
}
