//! What a policy in JavaScript or Python hands over although the router does not take it is an error with a text, which the policy can
//! catch; what it does not catch is in the log with the place.

use patchbay_policy::{Hook, LoadError, Verdict};
use patchbay_tests::policies::guest_in;

use crate::guest::Guest;
use crate::host::World;

fn options(user: &str) -> World {
    World {
        message: Some(format!(
            "OPTIONS sip:{user}@example.com SIP/2.0\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\nMax-Forwards: 70\n\
             From: <sip:alice@example.com>;tag=a1\nTo: <sip:bob@example.com>\nCall-ID: c1@192.0.2.1\nCSeq: 1 OPTIONS\n\
             Content-Length: 0\n\n"
        )),
        ..World::default()
    }
}

fn guest(name: &str) -> Guest {
    Guest::load(&guest_in(name), 10_000, &World::default()).expect("a policy")
}

/// Calls that the policy makes in vain, with what it is told.
fn are_refused(guest: &Guest, calls: &[(&str, &str)]) {
    for (call, told) in calls {
        let world = options(&format!("call-{call}"));
        let (verdict, host) = guest.run(Hook::RequestRoute, world, None);
        let Ok(Verdict::Reply { reason, .. }) = verdict else {
            panic!("{call}: {verdict:?}");
        };
        assert_eq!(&reason, told, "{call}");
        assert!(host.done().is_empty(), "{call}: {:?}", host.done());
    }
}

/// Calls that the policy makes, with what they do.
fn are_made(guest: &Guest, calls: &[(&str, &str)]) {
    for (call, done) in calls {
        let world = options(&format!("call-{call}"));
        let (verdict, host) = guest.run(Hook::RequestRoute, world, None);
        assert_eq!(verdict, Ok(Verdict::Relay), "{call}");
        assert_eq!(host.done(), [*done], "{call}");
    }
}

/// Hooks that end as a fault, with the line of the log.
fn are_logged(guest: &Guest, hooks: &[(Hook, &str, &str)]) {
    for (hook, user, line) in hooks {
        let (verdict, host) = guest.run(*hook, options(user), None);
        assert!(verdict.is_err(), "{user}: {verdict:?}");
        let [logged] = host.done().try_into().expect("one line");
        assert!(logged.starts_with(line), "{user}: {logged}");
    }
}

#[test]
fn what_javascript_gets_wrong_is_told() {
    let guest = guest("mistaken-js");
    are_refused(
        &guest,
        &[
            (
                "text",
                "invalid-argument: message.header: name is number 5, not a string",
            ),
            (
                "half",
                "invalid-argument: message.setHeader: value has half of a character (a lone surrogate)",
            ),
            (
                "list",
                "invalid-argument: message.headersNamed: names[1] is null, not a string",
            ),
            (
                "part",
                "invalid-argument: targets.add: target.q is undefined, not a number from 0 to 65535",
            ),
            (
                "range",
                "invalid-argument: targets.setNoAnswerTimeout: ms is number -1, not a number from 0 to 4294967295",
            ),
            (
                "case",
                "invalid-argument: log.log: level is 'nope', not one of 'trace', 'debug', 'info', 'warn', 'error'",
            ),
            (
                "flag",
                "invalid-argument: transaction.arm: hooks.failureroute is none of branchRoute, onreplyRoute, failureRoute",
            ),
            (
                "truth",
                "invalid-argument: transaction.setRecordRoute: enabled is undefined, not true or false",
            ),
            (
                "bytes",
                "invalid-argument: reply.setBody: body is 'text', not a Uint8Array",
            ),
            (
                "beyond",
                "invalid-argument: counters.add: value is 1152921504606846976n: numbers are exact up to 2^53",
            ),
        ],
    );
    are_made(
        &guest,
        &[
            ("long", "count calls 5"),
            ("signed", "increment calls/n -5 for -"),
            ("fraction", "no answer 1500"),
        ],
    );
    let verdict = |name| (Hook::RequestRoute, name);
    let lines = [
        (
            verdict("verdict-nothing"),
            "log Error request-route: the verdict is undefined, not an object like { tag: 'relay' }",
        ),
        (
            verdict("verdict-tag"),
            "log Error request-route: the verdict.tag is 'nope', not one of 'relay', 'reply', ",
        ),
        (
            verdict("verdict-half"),
            "log Error request-route: the verdict.val.reason is undefined, not a string",
        ),
        (
            (Hook::BranchRoute, "any"),
            "log Error branch-route: the verdict is an object, not one of 'pass', 'drop'",
        ),
        (
            verdict("raise"),
            "log Error request-route: nobody catches this     at raise (/policy.mjs:",
        ),
    ];
    are_logged(
        &guest,
        &lines.map(|((hook, user), line)| (hook, user, line)),
    );
}

#[test]
fn what_python_gets_wrong_is_told() {
    let guest = guest("mistaken-py");
    are_refused(
        &guest,
        &[
            ("text", "message.header: name is 5, not a str"),
            (
                "half",
                "message.set_header: value has half of a character (a lone surrogate)",
            ),
            ("list", "message.headers_named: names[1] is None, not a str"),
            ("named", "message.header: name is 5, not a str"),
            (
                "part",
                "targets.add: target.q is None, not an int from 0 to 65535",
            ),
            (
                "range",
                "targets.set_no_answer_timeout: ms is -1, not an int from 0 to 4294967295",
            ),
            (
                "case",
                "log.log: level is 'info', not one of Level, such as Level.TRACE",
            ),
            (
                "flag",
                "transaction.arm: hooks is 'failure-route', not one of Hooks, such as Hooks.BRANCH_ROUTE",
            ),
            (
                "truth",
                "transaction.set_record_route: enabled is None, not True or False",
            ),
            ("bytes", "reply.set_body: body is 'text', not bytes"),
            (
                "beyond",
                "counters.add: value is 18446744073709551616, not an int from 0 to 18446744073709551615",
            ),
        ],
    );
    are_made(
        &guest,
        &[
            ("long", "count calls 5"),
            ("signed", "increment calls/n -5 for -"),
        ],
    );
    let verdict = |name| (Hook::RequestRoute, name);
    let lines = [
        (
            verdict("verdict-nothing"),
            "log Error request-route: TypeError('the verdict is None, not one of RequestVerdict_Relay(), RequestVerdict_Reply(…), ",
        ),
        (
            verdict("verdict-class"),
            "log Error request-route: TypeError('the verdict is the class RequestVerdict_Relay, not one of RequestVerdict_Relay(), ",
        ),
        (
            verdict("verdict-half"),
            "log Error request-route: TypeError('the verdict.value.reason is None, not a str')",
        ),
        (
            (Hook::BranchRoute, "any"),
            "log Error branch-route: TypeError(\"the verdict is 'pass', not one of BranchVerdict, such as BranchVerdict.PASS\")",
        ),
        (
            verdict("raise"),
            "log Error request-route: ValueError('nobody catches this') (mistaken.py:33 in fail, from mistaken.py:46 in request_route)",
        ),
    ];
    are_logged(
        &guest,
        &lines.map(|((hook, user), line)| (hook, user, line)),
    );
}

#[test]
fn what_fails_in_init_of_python_is_told() {
    let world = World::default().setting("fail", "yes");
    let Err(LoadError::Init(text)) = Guest::load(&guest_in("mistaken-py"), 1, &world) else {
        panic!("init has to fail");
    };
    for part in ["WRONG_HOOK", "(mistaken.py:", " in init)"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn where_go_panicked_is_told() {
    let guest = guest("mistaken-go");
    let lines = [
        (
            Hook::RequestRoute,
            "raise",
            "log Error panic: nobody catches this (mistaken.go:21 in main.fail, from mistaken.go:15 in main.route)",
        ),
        (
            Hook::RequestRoute,
            "index",
            "log Error panic: runtime error: index out of range [1] with length 1 (mistaken.go:24 in main.second, from mistaken.go:17 in main.route)",
        ),
    ];
    are_logged(&guest, &lines);
}
