//! Calls everything that the router provides; what it has to see and to do is in tests/tests/conformance/imports.rs.
//!
//! It uses the bindings below the SDK, so that every function is called as such.

use std::cell::RefCell;
use std::fmt::Display;

use patchbay_sdk::bindings::imports::patchbay::policy as wit;
use patchbay_sdk::prelude::*;
use wit::message::MessageFacts;
use wit::types::Error as HostError;

const BOB: &str = "sip:bob@example.com";

#[derive(Default)]
pub struct Conformance {
    in_init: String,
    beyond: String,
    report: RefCell<String>,
}

fn option<T: Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn attempt<T>(result: Result<T, HostError>, shown: impl FnOnce(T) -> String) -> String {
    match result {
        Ok(value) => shown(value),
        Err(error) => match error.kind {
            ErrorKind::NotFound => "not-found",
            ErrorKind::InvalidArgument => "invalid-argument",
            ErrorKind::WrongHook => "wrong-hook",
            ErrorKind::Denied => "denied",
            ErrorKind::Limit => "limit",
            ErrorKind::Unavailable => "unavailable",
        }
        .to_owned(),
    }
}

fn done(result: Result<(), HostError>) -> String {
    attempt(result, |()| "ok".to_owned())
}

fn number(result: Result<u32, HostError>) -> String {
    attempt(result, |value| value.to_string())
}

fn text(value: Result<Option<Vec<u8>>, HostError>) -> String {
    attempt(value, |value| {
        option(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    })
}

fn ask(url: &str) -> Result<wit::http::Response, HostError> {
    wit::http::fetch(&wit::http::Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: None,
    })
}

macro_rules! say {
    ($policy:ident, $name:literal $(, $value:expr)+ $(,)?) => {{
        let words = [$($value.to_string()),+].join(" ");
        let mut report = $policy.report.borrow_mut();
        if !report.is_empty() {
            report.push('\n');
        }
        report.push_str(&format!("{}: {words}", $name));
    }};
}

impl Conformance {
    fn read_message(&self) {
        let s = wit::message::summary();
        say!(
            self,
            "summary",
            s.method,
            s.request_uri,
            s.from_uri,
            s.to_uri,
            s.call_id,
            s.source,
            s.in_dialog
        );
        let facts = wit::message::facts();
        let has = |fact| facts.contains(fact);
        say!(
            self,
            "facts",
            has(MessageFacts::INVITE),
            has(MessageFacts::ACK),
            has(MessageFacts::UPDATE),
            has(MessageFacts::IN_DIALOG)
        );
        say!(
            self,
            "message",
            wit::message::method(),
            wit::message::request_uri(),
            wit::message::request_user(),
            wit::message::from_uri(),
            wit::message::to_uri(),
            wit::message::call_id()
        );
        say!(
            self,
            "status",
            option(wit::message::status()),
            option(wit::message::response_status()),
            option(wit::message::response_header("Server"))
        );
        say!(self, "body", String::from_utf8_lossy(&wit::message::body()));
        say!(
            self,
            "header",
            option(wit::message::header("Subject")),
            option(wit::message::header("X-None")),
            wit::message::has_header("Subject"),
            wit::message::has_header("X-None")
        );
        say!(
            self,
            "headers",
            wit::message::headers("X-Many").join(" "),
            wit::message::headers("X-None").len()
        );
        let names = ["Subject", "X-None", "X-Many"].map(str::to_owned);
        let named: Vec<String> = wit::message::headers_named(&names)
            .into_iter()
            .map(option)
            .collect();
        say!(self, "named", named.join(" "));
        say!(
            self,
            "joined",
            wit::message::headers_joined("Subject,X-None")
        );
    }

    fn edit_message(&self) {
        use wit::message::{add_header, remove_header, set_body, set_header, set_request_uri};
        say!(
            self,
            "set",
            done(set_header("X-New", "1")),
            done(set_header("Via", "x"))
        );
        say!(
            self,
            "add",
            done(add_header("X-Many", "three")),
            done(add_header("X Bad", ""))
        );
        say!(
            self,
            "remove",
            number(remove_header("X-Many")),
            number(remove_header("From"))
        );
        say!(
            self,
            "uri",
            done(set_request_uri("sip:carol@example.com")),
            done(set_request_uri("nothing"))
        );
        say!(
            self,
            "set body",
            done(set_body("text/plain", b"new")),
            done(set_body("nothing", b"x"))
        );
    }

    fn use_transaction(&self) {
        use wit::transaction as tx;
        let s = tx::source();
        let transport = format!("{:?}", s.transport).to_lowercase();
        let transport = transport.rsplit("::").next().unwrap_or_default().to_owned();
        say!(
            self,
            "source",
            transport,
            s.address,
            s.port,
            s.local,
            tx::source_address()
        );
        say!(
            self,
            "networks",
            tx::source_in("192.0.2.0/24"),
            tx::source_in("10.0.0.0/8")
        );
        say!(
            self,
            "transaction",
            tx::in_dialog(),
            tx::is_local_uri("sip:x@example.com"),
            tx::is_local_uri("sip:x@example.org"),
            tx::failure_round()
        );
        say!(
            self,
            "variable",
            option(tx::variable("class")),
            done(tx::set_variable("class", "größer")),
            option(tx::variable("class"))
        );
        tx::arm(tx::Hooks::BRANCH_ROUTE | tx::Hooks::FAILURE_ROUTE);
        tx::set_record_route(false);
        say!(
            self,
            "parameter",
            done(tx::add_record_route_parameter("tenant", "red")),
            option(tx::record_route_parameter("tenant")),
            option(tx::record_route_parameter("none"))
        );
    }

    fn use_targets(&self) {
        use wit::targets;
        say!(
            self,
            "targets",
            done(targets::add_uri("sip:a@192.0.2.5")),
            done(targets::add_uri("nothing")),
            targets::count()
        );
        let full = targets::Target {
            uri: "sip:b@192.0.2.6".to_owned(),
            q: 700,
            next_hop: Some("sip:192.0.2.7".to_owned()),
            listener: Some("udp:192.0.2.8:5060".to_owned()),
            no_answer_ms: Some(1500),
        };
        let bare = targets::Target {
            uri: "sip:c@192.0.2.6".to_owned(),
            q: 0,
            next_hop: None,
            listener: None,
            no_answer_ms: None,
        };
        say!(
            self,
            "target",
            done(targets::add(&full)),
            done(targets::add(&bare))
        );
        targets::next_group();
        targets::set_no_answer_timeout(9000);
        say!(
            self,
            "lookup",
            number(targets::add_lookup(7)),
            targets::count()
        );
        targets::clear();
        say!(
            self,
            "reply",
            done(wit::reply::add_header("X-Reply", "yes")),
            done(wit::reply::add_header("Via", "x"))
        );
    }

    fn use_location(&self) {
        use wit::location;
        let shown = |found: location::LookupResult| format!("{} {}", found.lookup, found.count);
        let found = attempt(location::lookup(BOB), shown);
        say!(
            self,
            "found",
            found,
            attempt(location::lookup_request_uri(), shown)
        );
        for index in 0..3 {
            match location::binding_at(7, index) {
                Some(b) => say!(
                    self,
                    "binding",
                    b.uri,
                    b.q,
                    b.expires_secs,
                    b.received,
                    b.user_agent,
                    option(b.instance)
                ),
                None => say!(self, "binding", "none"),
            }
        }
        say!(
            self,
            "registered",
            location::is_registered_source("sip:alice@example.com"),
            location::is_registered_source(BOB)
        );
        say!(
            self,
            "contacts",
            done(location::save_contact(BOB, "sip:bob@192.0.2.3", 60)),
            number(location::remove_contact(BOB, ""))
        );
    }

    fn use_services(&self) {
        use wit::auth::Verification;
        use wit::log::Level;
        let verification = match wit::auth::verify() {
            Verification::Verified => "verified",
            Verification::Missing => "missing",
            Verification::Stale => "stale",
            Verification::Failed => "failed",
        };
        say!(
            self,
            "auth",
            verification,
            option(wit::auth::verified_user()),
            wit::auth::required(),
            wit::auth::realm()
        );
        let all: Vec<String> = wit::settings::all()
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        say!(
            self,
            "settings",
            option(wit::settings::get("colour")),
            option(wit::settings::get("none")),
            all.join(" ")
        );
        say!(
            self,
            "log",
            wit::log::enabled(Level::Trace),
            wit::log::enabled(Level::Warn)
        );
        wit::log::log(Level::Warn, "a line");
        say!(
            self,
            "clock",
            wit::clock::unix_ms(),
            wit::clock::monotonic_us(),
            wit::random::u64()
        );
        say!(
            self,
            "counters",
            done(wit::counters::add("calls", 5)),
            done(wit::counters::add("no name", 1)),
            self.in_init
        );
        say!(
            self,
            "timers",
            done(wit::timers::set("known", 250)),
            done(wit::timers::set("no name", 1)),
            wit::timers::cancel("known"),
            wit::timers::cancel("unknown")
        );
    }
}

impl Conformance {
    fn use_http(&self) {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let response = wit::http::fetch(&wit::http::Request {
            method: "POST".to_owned(),
            url: "http://lcr.example/route".to_owned(),
            headers: vec![header("X-A", "1"), header("X-B", "größer")],
            body: b"hello".to_vec(),
            timeout_ms: Some(250),
        });
        let shown = attempt(response, |response| {
            let pair = |(name, value): &(String, String)| format!("{name}={value}");
            let headers: Vec<String> = response.headers.iter().map(pair).collect();
            let body = String::from_utf8_lossy(&response.body);
            format!("{} {} {body}", response.status, headers.join(","))
        });
        say!(self, "http", shown);
        for url in [
            "http://empty.example/",
            "http://none.example/",
            "http://other.example/",
        ] {
            let shown = attempt(ask(url), |response| {
                let (headers, body) = (response.headers.len(), response.body.len());
                format!("{} {headers} {body}", response.status)
            });
            say!(self, "http", shown);
        }
    }

    fn use_keyvalue(&self) {
        use wit::keyvalue as values;
        let truth = |result| attempt(result, |value: bool| value.to_string());
        let sum = |result| attempt(result, |value: i64| value.to_string());
        let get = |key| text(values::get(key));
        say!(self, "keyvalue", get("calls/a"), truth(values::exists("calls/a")));
        say!(
            self,
            "set",
            done(values::set("calls/a", "größer".as_bytes())),
            done(values::set_with_ttl("calls/b", b"", 60)),
            done(values::set_with_ttl("calls/b", b"b", 0)),
            get("calls/a"),
            get("calls/b"),
            truth(values::exists("calls/b"))
        );
        say!(
            self,
            "increment",
            sum(values::increment("calls/n", 1 << 40)),
            sum(values::increment_with_ttl("calls/n", -(1 << 40) - 7, 60)),
            sum(values::increment("calls/a", 1))
        );
        let keys = |prefix, after| values::list_keys(prefix, after).unwrap_or_default();
        say!(
            self,
            "keys",
            keys("calls/", "").join(","),
            keys("calls/", "calls/a").join(","),
            keys("calls/x", "").len()
        );
        say!(
            self,
            "delete",
            done(values::delete("calls/b")),
            truth(values::exists("calls/b")),
            get("other")
        );
        say!(self, "beyond", self.beyond);
    }
}

#[patchbay_sdk::policy]
impl Policy for Conformance {
    fn init(&mut self) -> Result<()> {
        if let Some(refuse) = settings::get("refuse") {
            return Err(Error::new(refuse));
        }
        self.in_init = done(wit::counters::add("calls", 1));
        let asked = attempt(ask("http://lcr.example/route"), |_| String::new());
        self.beyond = format!("{asked} {}", text(wit::keyvalue::get("calls/a")));
        Ok(())
    }

    fn request_route(&self, _request: &mut Request) -> Result<Verdict> {
        match wit::message::header("X-Verdict").as_deref() {
            Some("relay") => return Ok(forward()),
            Some("reply") => return Ok(reply(486).reason("Später")),
            Some("challenge") => return Ok(challenge()),
            Some("save") => return Ok(save()),
            Some("drop") => return Ok(drop()),
            Some(_) => return Ok(next()),
            None => {}
        }
        self.report.borrow_mut().clear();
        self.read_message();
        self.edit_message();
        self.use_transaction();
        self.use_targets();
        self.use_location();
        self.use_services();
        self.use_http();
        self.use_keyvalue();
        wit::reply::set_body("text/plain", self.report.borrow().as_bytes())?;
        Ok(reply(299))
    }

    fn branch_route(&self, request: &mut Request) -> Result<Verdict> {
        if request.has_header("X-Verdict") {
            return Ok(drop());
        }
        request.set_uri("sip:branch@192.0.2.5")?;
        Ok(pass())
    }

    fn onreply_route(&self, response: &mut Response) -> Result<Verdict> {
        if wit::message::has_header("X-Verdict") {
            return Ok(drop());
        }
        let status = option(wit::message::status());
        let seen = format!(
            "{status} {} {}",
            response.status(),
            option(response.header("Server"))
        );
        response.set_header("X-Status", &seen)?;
        Ok(pass())
    }

    fn failure_route(&self, _request: &mut Request, response: &Response) -> Result<Verdict> {
        match response.header("X-Verdict").as_deref() {
            Some("relay") => Ok(relay("sip:again@192.0.2.5")),
            Some("reply") => Ok(reply(response.status() + 1).reason("Later")),
            _ => Ok(pass()),
        }
    }

    fn event_route(&self, event: Event) -> Result<()> {
        let (change, registration) = match event {
            Event::RegistrationAdded(registration) => ("added", registration),
            Event::RegistrationRefreshed(registration) => ("refreshed", registration),
            Event::RegistrationRemoved(registration) => ("removed", registration),
            Event::RegistrationExpired(registration) => ("expired", registration),
            Event::Timer(name) => return counters::add(&format!("timer_{name}"), 1),
            _ => return Ok(()),
        };
        let name = format!(
            "registration-{change}_{}_{}",
            registration.aor, registration.contact
        );
        counters::add(&name, registration.expires.as_secs())
    }
}
