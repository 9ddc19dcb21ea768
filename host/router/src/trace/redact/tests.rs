use super::super::file::Line;
use super::super::model::{Answer, HookTrace};
use super::super::scrub::tests::trace_of;
use super::*;

pub(super) fn redactor() -> Redactor {
    Redactor {
        key: [7; 32],
        learned: Learned::default(),
    }
}

/// A run in JSON with everything hidden.
pub(super) fn hidden_line(trace: &HookTrace) -> String {
    let json = redactor().line(&Line::Run(Box::new(trace.clone())));
    String::from_utf8(json.expect("JSON")).expect("text")
}

fn hidden(text: &str, users: &[&str]) -> String {
    let users: Vec<Vec<u8>> = users.iter().map(|user| user.as_bytes().to_vec()).collect();
    redactor().string(text, &users)
}

fn leading_bits_in_common(left: IpAddr, right: IpAddr) -> u32 {
    let bits = |address| match address {
        IpAddr::V4(address) => Ipv4Addr::to_bits(address),
        IpAddr::V6(_) => panic!("IPv4 only"),
    };
    (bits(left) ^ bits(right)).leading_zeros()
}

#[test]
fn users_are_hidden_and_hosts_stay() {
    let once = hidden("<sip:alice@example.com>;tag=1", &[]);
    assert!(
        once.starts_with("<sip:u") && once.ends_with("@example.com>;tag=1"),
        "{once}"
    );
    let user = once.get(5..16).expect("a user");
    assert_eq!(
        hidden("X alice; bob=alice2", &["alice"]),
        format!("X {user}; bob=alice2")
    );
    assert_eq!(hidden("sip:example.com;x", &[]), "sip:example.com;x");
    assert!(!hidden("sips:a:secret@b", &[]).contains("secret"));
}

#[test]
fn addresses_are_hidden_with_their_ports_kept() {
    let one = hidden("SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK1.2.3", &[]);
    assert!(!one.contains("192.0.2.7"), "{one}");
    assert!(one.contains(":5060;branch=z9hG4bK1.2.3"), "{one}");
    assert!(!hidden("[2001:db8::7]:5060", &[]).contains("db8::7"));
    for same in [
        "127.0.0.1:5060",
        "sip:localhost:x;a@b:5060",
        "[::1]:5060",
        "a.b:5060",
    ] {
        let kept = hidden(same, &["5060"]);
        assert!(kept.ends_with(":5060"), "{kept}");
    }
    assert!(!hidden("caller:5060", &["5060"]).contains("5060"));
    for same in ["127.0.0.1:5060", "0.0.0.0", "a.b", "12:30:45", "1.2.3"] {
        assert_eq!(hidden(same, &[]), same);
    }
}

#[test]
fn networks_still_have_their_addresses() {
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let redactor = redactor();
    for (left, right) in [
        ("10.0.0.0", "10.200.3.4"),
        ("192.0.2.1", "192.0.2.2"),
        ("10.0.0.1", "203.0.113.9"),
    ] {
        let (left, right) = (address(left), address(right));
        assert_eq!(
            leading_bits_in_common(redactor.address(left), redactor.address(right)),
            leading_bits_in_common(left, right)
        );
    }
}

#[test]
fn a_run_is_a_run_without_its_users_and_addresses() {
    let mut trace = trace_of(
        "Content-Type: application/sdp\r\nX-Caller: alice\r\n",
        "v=0\r\no=alice 1 1 IN IP4 192.0.2.7\r\ns=Alice's call\r\nc=IN IP4 192.0.2.7\r\n",
    );
    trace.input.variables = vec![("caller".to_owned(), "alice".to_owned())];
    trace.answers = vec![Answer::RegisteredSource {
        uri: "sip:alice@example.com".to_owned(),
        answer: true,
    }];
    let mut redactor = redactor();
    let json = redactor
        .line(&Line::Run(Box::new(trace.clone())))
        .expect("JSON");
    let text = String::from_utf8(json.clone()).expect("text");
    for gone in ["alice", "Alice", "192.0.2.7", "bob"] {
        assert!(!text.contains(gone), "{gone} is in {text}");
    }
    let Ok(Line::Run(read)) = serde_json::from_slice(&json) else {
        panic!("no run: {text}");
    };
    let read: HookTrace = *read;
    assert_eq!(read.outcome, trace.outcome);
    let user = read.input.variables[0].1.clone();
    let request = read.request().expect("a message");
    assert_eq!(request.header("X-Caller"), Some(user.as_bytes()));
    assert!(request.header("From").is_some_and(|from| {
        String::from_utf8_lossy(from).starts_with(&format!("<sip:{user}@example.com>"))
    }));
    assert!(String::from_utf8_lossy(request.body()).contains("o=- 1 1 IN IP4 "));
}

#[test]
fn a_message_that_is_no_text_stays_a_message() {
    let mut trace = trace_of("X-Name: \u{e4}\r\n", "");
    let request = trace.input.request.as_mut().expect("a request");
    // The second byte of the character is another one now.
    request
        .received
        .0
        .iter_mut()
        .filter(|byte| **byte == 0xa4)
        .for_each(|byte| *byte = 0xff);
    let json = redactor().line(&Line::Run(Box::new(trace))).expect("JSON");
    let Ok(Line::Run(read)) = serde_json::from_slice(&json) else {
        panic!("no run");
    };
    let request = read.request().expect("a message");
    assert_eq!(request.header("X-Name"), Some(b"\xc3\xff".as_slice()));
    assert!(!request.as_bytes().windows(5).any(|part| part == b"alice"));
}

#[test]
fn numbers_of_the_protocol_are_no_users() {
    let headers = "CSeq: 101 INVITE\r\nMax-Forwards: 70\r\nX-Users: <sip:101@h>, <sip:70@h>, <sip:udp@h>, 101\r\nContent-Type: application/sdp\r\n";
    let sdp = "v=0\r\no=101 1 1 IN IP4 127.0.0.1\r\nm=audio 70 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    let mut trace = trace_of(headers, sdp);
    trace.effects.reply_headers = vec![(
        Text(b"Retry-After".to_vec()),
        Text(b"70 (until then)".to_vec()),
    )];
    let mut redactor = redactor();
    let json = redactor.line(&Line::Run(Box::new(trace.clone())));
    let Ok(Line::Run(read)) = serde_json::from_slice(&json.expect("JSON")) else {
        panic!("no run");
    };
    assert_eq!(read.effects, trace.effects);
    let request = read.request().expect("a message");
    assert_eq!(
        request.header("CSeq"),
        trace.request().expect("a message").header("CSeq")
    );
    assert_eq!(request.header("Max-Forwards"), Some(b"70".as_slice()));
    let users = request.header("X-Users").unwrap_or_default();
    assert!(!users.windows(3).any(|part| part == b"101"));
    let body = String::from_utf8_lossy(request.body()).into_owned();
    assert_eq!(body, sdp.replace("o=101", "o=-"));
}

#[test]
fn other_bodies_keep_nothing_but_their_length() {
    let trace = trace_of("Content-Type: text/plain\r\n", "private words");
    let json = redactor().line(&Line::Run(Box::new(trace))).expect("JSON");
    let text = String::from_utf8(json).expect("text");
    assert!(
        !text.contains("private") && text.contains("xxxxxxxxxxxxx"),
        "{text}"
    );
}
