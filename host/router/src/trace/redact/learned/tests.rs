use std::net::SocketAddr;

use super::super::super::file::Line;
use super::super::super::model::{
    Act, Answer, ContactTrace, EventTrace, FlowTrace, HookTrace, MessageTrace, Outcome, TargetTrace,
};
use super::super::super::outside::{
    HttpExchange, KeyValueCall, KeyValueExchange, KeyValueTold, RequestTrace, ResponseTrace,
};
use super::super::super::scrub::tests::trace_of;
use super::super::tests::redactor;
use super::*;

fn line(redactor: &mut Redactor, trace: &HookTrace) -> String {
    let json = redactor.line(&Line::Run(Box::new(trace.clone())));
    String::from_utf8(json.expect("JSON")).expect("text")
}

fn response(body: &str) -> Answer {
    Answer::Http(Box::new(HttpExchange {
        request: RequestTrace {
            method: "GET".to_owned(),
            url: "http://lcr.example/".to_owned(),
            headers: Vec::new(),
            body: Text::default(),
        },
        response: Some(ResponseTrace {
            status: 200,
            headers: Vec::new(),
            body: Text(body.as_bytes().to_vec()),
        }),
        error: None,
    }))
}

fn header(name: &str, value: &str) -> Vec<(Text, Text)> {
    let text = |text: &str| Text(text.as_bytes().to_vec());
    vec![(text(name), text(value))]
}

#[test]
fn copies_of_a_body_are_hidden_as_the_body_is() {
    let mut redactor = redactor();
    let mut trace = trace_of("X-Class: shared\r\n", "");
    trace.answers = vec![response(
        "{\"route\": \"premium-7\", \"class\": \"shared\"}",
    )];
    trace.effects.reply_headers = header("X-Route", "to premium-7, shared");
    let hidden = line(&mut redactor, &trace);
    assert!(!hidden.contains("premium-7"), "{hidden}");
    assert!(hidden.contains("to xxxxxxxxx, shared"), "{hidden}");

    // A hook that runs later has it in its message.
    let mut later = trace_of("", "");
    let with_route = trace_of("X-Route: premium-7\r\nclass: kept\r\n", "");
    let with_route = with_route.input.request.expect("a request").received;
    later.input.request = later.input.request.map(|message| MessageTrace {
        current: Some(with_route),
        ..message
    });
    let hidden = line(&mut redactor, &later);
    assert!(!hidden.contains("premium-7"), "{hidden}");
    assert!(hidden.contains("X-Route: xxxxxxxxx"), "{hidden}");
    assert!(hidden.contains("class: kept"), "{hidden}");

    let mut whole = trace_of("", "");
    whole.answers = vec![response("two words")];
    whole.effects.reply_headers = header("X-All", "200 two words");
    let hidden = line(&mut redactor, &whole);
    assert!(hidden.contains("\"200 xxxxxxxxx\""), "{hidden}");
}

#[test]
fn keys_are_hidden_behind_their_grant_and_so_are_copies() {
    let mut redactor = redactor();
    let grants = serde_json::json!({"environment": {"keyvalue": ["calls/"]}});
    redactor.learned.take(&grants);
    let mut trace = trace_of("X-Tenant: kept\r\n", "");
    let exchange = |request, told| {
        Answer::Keyvalue(Box::new(KeyValueExchange {
            request,
            told: Some(told),
            error: None,
        }))
    };
    let get = KeyValueCall::Get {
        key: "calls/load/kept".to_owned(),
    };
    let list = KeyValueCall::ListKeys {
        prefix: "calls/".to_owned(),
        after: String::new(),
    };
    let keys = vec!["calls/zoe".to_owned()];
    trace.answers = vec![
        exchange(get, KeyValueTold::Value(None)),
        exchange(list, KeyValueTold::Keys(keys)),
    ];
    trace.effects.reply_headers = header("X-Keys", "zoe load");
    let hidden = line(&mut redactor, &trace);
    for gone in ["load", "zoe"] {
        assert!(!hidden.contains(gone), "{gone} is in {hidden}");
    }
    let (load, kept) = (redactor.user(b"load"), redactor.user(b"kept"));
    let zoe = redactor.user(b"zoe");
    assert!(
        hidden.contains(&format!("\"calls/{load}/{kept}\"")),
        "{hidden}"
    );
    assert!(hidden.contains(&format!("[\"calls/{zoe}\"]")), "{hidden}");
    assert!(hidden.contains(&format!("\"{zoe} {load}\"")), "{hidden}");
    assert!(hidden.contains("X-Tenant: kept"), "{hidden}");
}

fn get(key: &str) -> Answer {
    Answer::Keyvalue(Box::new(KeyValueExchange {
        request: KeyValueCall::Get {
            key: key.to_owned(),
        },
        told: Some(KeyValueTold::Value(None)),
        error: None,
    }))
}

fn read(line: &str) -> HookTrace {
    match serde_json::from_str(line) {
        Ok(Line::Run(trace)) => *trace,
        other => panic!("{other:?} in {line}"),
    }
}

fn target(uri: &str, remote: &str) -> TargetTrace {
    TargetTrace {
        uri: Text(uri.as_bytes().to_vec()),
        q: 1000,
        group: 0,
        path: Vec::new(),
        flow: Some(FlowTrace {
            transport: "udp".to_owned(),
            remote: remote.parse().expect("an address"),
            local: "127.0.0.1:5060".parse().expect("an address"),
            listener: 0,
        }),
        next_hop: None,
        listener: None,
        no_answer_ms: None,
    }
}

#[test]
fn addresses_stay_addresses_whatever_was_told() {
    let remotes = ["203.0.113.5:5060", "[2001:db8:cafe::7]:5060"];
    for body in ["5060 203.0.113.5, cafe", "[2001:db8:cafe::7]", "cafe 127"] {
        let mut trace = trace_of("X-User: <sip:5060@h>, <sip:2001@h>\r\n", "");
        let contact = |remote: &&str| ContactTrace {
            uri: format!("sip:bob@{remote}"),
            q: 1000,
            expires_secs: 60,
            received: (*remote).to_owned(),
            user_agent: String::new(),
            instance: None,
            path: Vec::new(),
            flow: target("", remote).flow,
        };
        trace.answers = vec![
            get("rate/203.0.113.5"),
            get("rate/2001:db8:cafe::7"),
            get("rate/5060/cafe/113.5"),
            response(body),
            Answer::Lookup {
                aor: "sip:bob@example.com".to_owned(),
                contacts: remotes.iter().map(contact).collect(),
                error: None,
            },
        ];
        let uri = |remote: &str| format!("sip:bob@{remote}");
        let targets = remotes.iter().map(|remote| target(&uri(remote), remote));
        trace.effects.targets = targets.collect();
        let mut redactor = redactor();
        let text = line(&mut redactor, &trace);
        let hidden = read(&text);
        for (target, remote) in hidden.effects.targets.iter().zip(remotes) {
            let remote: SocketAddr = remote.parse().expect("an address");
            let remote = SocketAddr::new(redactor.address(remote.ip()), remote.port());
            let flow = target.flow.as_ref().expect("a flow");
            assert_eq!(flow.remote, remote);
            let uri = format!("sip:{}@{remote}", redactor.user(b"bob"));
            assert_eq!(target.uri.lossy(), uri, "{text}");
            assert!(
                text.contains(&format!("\"received\":\"{remote}\"")),
                "{text}"
            );
        }
        let ipv6 = "2001:db8:cafe::7".parse().expect("an address");
        let key = format!("\"rate/{}\"", redactor.address(ipv6));
        assert!(
            !text.contains("203.0.113.5") && !text.contains("db8"),
            "{text}"
        );
        assert!(!text.contains("rate/2001"), "{key} {text}");
    }
}

#[test]
fn users_that_are_parts_of_keys_are_hidden_once() {
    let mut trace = trace_of("", "");
    trace.answers = vec![get("forward/carol"), response("\"dave\"")];
    trace.effects.targets = vec![
        target("sip:carol;x=1@example.com", "127.0.0.1:5060"),
        target("sip:dave@example.com", "127.0.0.1:5060"),
    ];
    trace.effects.reply_headers = header("X-To", "carol, <sip:carol@example.com>");
    let mut redactor = redactor();
    let hidden = line(&mut redactor, &trace);
    let user = redactor.user(b"carol");
    let dave = redactor.user(b"dave");
    assert!(
        hidden.contains(&format!("sip:{dave}@example.com")),
        "{hidden}"
    );
    assert!(
        hidden.contains(&format!("{user},<sip:{user}@example.com>")),
        "{hidden}"
    );
    // The call that was forwarded to her is forwarded once more.
    let mut next = trace_of("X-To: <sip:carol@example.com>\r\n", "");
    next.answers = vec![get("forward/dave")];
    next.effects.targets = vec![target("sip:carol@example.com", "127.0.0.1:5060")];
    let hidden = read(&line(&mut redactor, &next));
    let request = hidden.request().expect("a message");
    let uri = format!("sip:{user}@example.com");
    assert_eq!(hidden.effects.targets[0].uri.lossy(), uri);
    assert_eq!(request.header("X-To"), Some(format!("<{uri}>").as_bytes()));
}

#[test]
fn a_value_that_is_no_text_is_still_one() {
    let set = |value: &[u8]| {
        Answer::Keyvalue(Box::new(KeyValueExchange {
            request: KeyValueCall::Set {
                key: "a".to_owned(),
                value: Text(value.to_vec()),
                ttl_secs: None,
            },
            told: Some(KeyValueTold::Done),
            error: None,
        }))
    };
    let mut trace = trace_of("", "");
    trace.answers = vec![set(&[0xff]), set(b"")];
    let hidden = read(&line(&mut redactor(), &trace));
    for (hidden, asked) in hidden.answers.iter().zip(&trace.answers) {
        let (Answer::Keyvalue(hidden), Answer::Keyvalue(asked)) = (hidden, asked) else {
            panic!("calls of the store");
        };
        assert!(hidden.request.may_hide(&asked.request), "{hidden:?}");
    }
    assert_ne!(hidden.answers[0], hidden.answers[1]);
}

#[test]
fn reasons_and_names_of_timers_are_hidden_as_other_copies() {
    let mut redactor = redactor();
    let mut trace = trace_of("", "");
    let name = "premium-7".to_owned();
    trace.answers = vec![
        response("premium-7 Forbidden"),
        Answer::Act {
            act: Act::SetTimer {
                name: name.clone(),
                delay_ms: 5,
            },
            answer: 0,
            error: None,
        },
    ];
    trace.outcome = Outcome::Verdict {
        verdict: "reply".to_owned(),
        status: Some(403),
        reason: "Forbidden premium-7".to_owned(),
    };
    let hidden = line(&mut redactor, &trace);
    assert!(!hidden.contains("premium-7"), "{hidden}");
    assert!(
        hidden.contains("\"reason\":\"Forbidden xxxxxxxxx\""),
        "{hidden}"
    );
    let mut later = trace_of("", "");
    later.input.event = Some(EventTrace::Timer { name });
    let hidden = read(&line(&mut redactor, &later));
    let name = "xxxxxxxxx".to_owned();
    assert_eq!(hidden.input.event, Some(EventTrace::Timer { name }));
}

#[test]
fn a_policy_that_does_not_go_by_a_body_makes_the_same_of_it() {
    let mut redactor = redactor();
    redactor.learned.take(&serde_json::json!({"environment": {
        "domains": ["example.com"],
        "settings": {"carrier": "north", "by": "sip:zoey@example.com"},
        "write_headers": ["X-Class"],
    }}));
    let mut trace = trace_of("X-Kept: kept\r\n", "");
    let told = "{\"carrier\": \"north\", \"example.com\": true, \"X-Class\": null, \"a\": [\"kept\", \"zoey\"]}";
    trace.answers = vec![response(told), response("true"), response("replaces")];
    trace.effects.reply_headers = header("X-Class", "north carrier=true; kept example.com");
    let refusal = ("Require", "replaces");
    trace
        .effects
        .reply_headers
        .extend(header(refusal.0, refusal.1));
    trace.effects.variables = Some(vec![("carrier".to_owned(), "north".to_owned())]);
    let hidden = read(&line(&mut redactor, &trace));
    assert_eq!(hidden.effects, trace.effects);
    assert_eq!(hidden.outcome, trace.outcome);
    // A user of the configuration is hidden there.
    trace.effects.reply_headers = header("X-Class", "zoey");
    let hidden = line(&mut redactor, &trace);
    assert!(hidden.contains("\"xxxx\""), "{hidden}");
}

#[test]
fn only_the_latest_words_are_remembered() {
    let mut learned = Learned::default();
    for number in 0..MAX_WORDS {
        learned.add(&format!("word-{number}"), Source::Body);
    }
    learned.add("word-0", Source::Key);
    assert!(learned.meet("word-1"));
    for number in MAX_WORDS..MAX_WORDS + 10 {
        learned.add(&format!("word-{number}"), Source::Body);
    }
    assert_eq!(learned.words.len(), MAX_WORDS);
    assert_eq!(learned.by_time.len(), MAX_WORDS);
    assert!(learned.words.contains_key("word-0") && learned.words.contains_key("word-1"));
    assert!(!learned.words.contains_key("word-11"));
    assert!(learned.words.contains_key("word-12"));
}
