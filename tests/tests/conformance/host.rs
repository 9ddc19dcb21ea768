//! A host that answers what a case says, and writes down what it was asked to do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use patchbay_message::{Draft, Limits, Message};
use patchbay_policy::{
    Armed, Binding, Capability, ErrorKind, Host, HostError, HttpAnswer, HttpRequest, HttpResponse,
    KeyValueAnswer, KeyValueRequest, Level, LookupResult, Sleep, Source, Target, Transport,
    Verification,
};

/// What a case starts from.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) message: Option<String>,
    pub(crate) response: Option<String>,
    pub(crate) in_dialog: bool,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) denied_header: Option<&'static str>,
    pub(crate) contacts: Result<u32, ErrorKind>,
    pub(crate) auth_required: bool,
    pub(crate) verification: Verification,
}

impl Default for World {
    fn default() -> World {
        World {
            message: None,
            response: None,
            in_dialog: false,
            settings: Vec::new(),
            denied_header: None,
            contacts: Err(ErrorKind::NotFound),
            auth_required: false,
            verification: Verification::Missing,
        }
    }
}

impl World {
    pub(crate) fn setting(mut self, name: &str, value: &str) -> World {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// One hook's host.
#[derive(Debug)]
pub(crate) struct Recorder {
    world: World,
    draft: Option<Draft>,
    response: Option<Draft>,
    variables: Vec<(String, String)>,
    values: BTreeMap<String, Vec<u8>>,
    /// What was done, in order; also what can only be read is written down when it goes to the log.
    done: Mutex<Vec<String>>,
}

impl Recorder {
    pub(crate) fn new(world: World) -> Recorder {
        Recorder {
            draft: world.message.as_deref().map(draft),
            response: world.response.as_deref().map(draft),
            world,
            variables: Vec::new(),
            values: BTreeMap::new(),
            done: Mutex::default(),
        }
    }

    /// What was done, in order.
    pub(crate) fn done(&self) -> Vec<String> {
        self.done.lock().expect("nobody panics with it").clone()
    }

    /// The header as the current message would be sent.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let value = self.draft.as_ref()?.header(name)?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    fn note(&self, line: String) {
        self.done.lock().expect("nobody panics with it").push(line);
    }

    fn noted<T>(&self, line: String, value: T) -> Result<T, HostError> {
        if self.draft.is_none() && !line.starts_with("count") && !line.starts_with("timer") {
            return Err(error(ErrorKind::WrongHook));
        }
        self.note(line);
        Ok(value)
    }

    fn found(&self, line: String) -> Result<LookupResult, HostError> {
        let count = self.world.contacts.map_err(error)?;
        self.noted(line, LookupResult { lookup: 7, count })
    }
}

impl Recorder {
    /// A store as the router's, without an end of anything.
    fn value(&mut self, request: KeyValueRequest<'_>) -> Result<KeyValueAnswer, HostError> {
        let key = request.key();
        if !key.starts_with("calls/") {
            return Err(error(ErrorKind::Denied));
        }
        let known = self.values.get(key).cloned();
        let time = |ttl_secs: Option<u32>| text(&ttl_secs.map(|secs| secs.to_string())).to_owned();
        Ok(match request {
            KeyValueRequest::Get { .. } => KeyValueAnswer::Value(known),
            KeyValueRequest::Exists { .. } => KeyValueAnswer::Exists(known.is_some()),
            KeyValueRequest::Set {
                value, ttl_secs, ..
            } => {
                let shown = String::from_utf8_lossy(value);
                self.note(format!("set {key} {shown} for {}", time(ttl_secs)));
                self.values.insert(key.to_owned(), value.to_vec());
                KeyValueAnswer::Done
            }
            KeyValueRequest::Delete { .. } => {
                self.note(format!("delete {key}"));
                self.values.remove(key);
                KeyValueAnswer::Done
            }
            KeyValueRequest::Increment {
                delta, ttl_secs, ..
            } => {
                self.note(format!("increment {key} {delta} for {}", time(ttl_secs)));
                let number = String::from_utf8(known.unwrap_or_else(|| b"0".to_vec()));
                let number = number.ok().and_then(|text| text.parse::<i64>().ok());
                let sum = number.ok_or_else(|| error(ErrorKind::InvalidArgument))? + delta;
                self.values
                    .insert(key.to_owned(), sum.to_string().into_bytes());
                KeyValueAnswer::Number(sum)
            }
            KeyValueRequest::ListKeys { prefix, after } => {
                let keys = self.values.keys();
                let keys = keys.filter(|key| key.starts_with(prefix) && key.as_str() > after);
                KeyValueAnswer::Keys(keys.cloned().collect())
            }
        })
    }
}

/// A request as it is written down.
fn asked(request: &HttpRequest) -> String {
    let headers: Vec<String> = request
        .headers
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!(
        "http {} {} {} {} ms={}",
        request.method,
        request.url,
        headers.join(","),
        String::from_utf8_lossy(&request.body),
        text(&request.timeout_ms.map(|ms| ms.to_string()))
    )
}

fn response(url: &str) -> Result<HttpResponse, HostError> {
    let header = |value: &str| ("x-server".to_owned(), value.to_owned());
    match url {
        "http://lcr.example/route" => Ok(HttpResponse {
            status: 201,
            headers: vec![header("one"), header("zwei")],
            body: "größer".into(),
        }),
        "http://empty.example/" => Ok(HttpResponse {
            status: 204,
            ..HttpResponse::default()
        }),
        "http://none.example/" => Err(error(ErrorKind::Unavailable)),
        _ => Err(error(ErrorKind::Denied)),
    }
}

fn draft(text: &str) -> Draft {
    let text = text.replace('\n', "\r\n");
    let message = Message::parse(text.as_bytes(), &Limits::default()).expect("a SIP message");
    Draft::new(Arc::new(message))
}

fn error(kind: ErrorKind) -> HostError {
    HostError {
        kind,
        message: format!("{kind:?}"),
    }
}

fn text(value: &Option<String>) -> &str {
    value.as_deref().unwrap_or("-")
}

impl Host for Recorder {
    type Before = (Option<Draft>, Option<Draft>, Vec<(String, String)>, usize);

    fn before(&mut self) -> Option<Self::Before> {
        let done = self.done.lock().expect("nobody panics with it").len();
        let (draft, response) = (self.draft.clone(), self.response.clone());
        Some((draft, response, self.variables.clone(), done))
    }
    fn undo(&mut self, before: Self::Before) {
        let done;
        (self.draft, self.response, self.variables, done) = before;
        let notes = self.done.get_mut().expect("nobody panics with it");
        notes.truncate(done);
    }
    fn grants(&self, _: Capability) -> bool {
        true
    }
    fn fetch(&mut self, request: HttpRequest, _: Duration) -> HttpAnswer {
        self.note(asked(&request));
        Box::pin(async move {
            // The hook is suspended meanwhile.
            tokio::task::yield_now().await;
            response(&request.url)
        })
    }
    fn sleep(&mut self, _: Duration) -> Sleep {
        Box::pin(std::future::ready(()))
    }
    fn key_value(&mut self, request: KeyValueRequest<'_>) -> Result<KeyValueAnswer, HostError> {
        self.value(request)
    }
    fn message(&self) -> Option<&Draft> {
        self.draft.as_ref()
    }
    fn message_mut(&mut self) -> Option<&mut Draft> {
        self.draft.as_mut()
    }
    fn may_write(&self, name: &str) -> bool {
        self.world
            .denied_header
            .is_none_or(|denied| !denied.eq_ignore_ascii_case(name))
    }
    fn response(&self) -> Option<&Draft> {
        self.response.as_ref()
    }
    fn source(&self) -> Option<Source> {
        self.draft.as_ref()?;
        Some(Source {
            transport: Transport::Tls,
            remote: "192.0.2.1:5061".parse().expect("an address"),
            local: "198.51.100.1:5061".parse().expect("an address"),
        })
    }
    fn in_dialog(&self) -> bool {
        self.world.in_dialog
    }
    fn is_local_uri(&self, uri: &str) -> bool {
        uri.ends_with("@example.com")
    }
    fn failure_round(&self) -> u32 {
        2
    }
    fn variable(&self, name: &str) -> Option<&str> {
        let variable = self.variables.iter().find(|(known, _)| known == name);
        variable.map(|(_, value)| value.as_str())
    }
    fn set_variable(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        self.variables.push((name.to_owned(), value.to_owned()));
        self.noted(format!("variable {name}={value}"), ())
    }
    fn arm(&mut self, hooks: Armed) {
        let names = [
            (hooks.branch_route, " branch-route"),
            (hooks.onreply_route, " onreply-route"),
            (hooks.failure_route, " failure-route"),
        ];
        let armed = names.iter().filter(|(armed, _)| *armed);
        self.note(format!(
            "arm{}",
            armed.map(|(_, name)| *name).collect::<String>()
        ));
    }
    fn set_record_route(&mut self, enabled: bool) {
        self.note(format!("record-route {enabled}"));
    }
    fn add_record_route_parameter(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        self.noted(format!("record-route-parameter {name}={value}"), ())
    }
    fn record_route_parameter(&self, name: &str) -> Option<&str> {
        (name == "tenant").then_some("blue")
    }
    fn add_target(&mut self, target: Target) -> Result<(), HostError> {
        let time = target.no_answer_ms.map(|ms| ms.to_string());
        let line = format!(
            "target {} q={} hop={} listener={} ms={}",
            target.uri,
            target.q,
            text(&target.next_hop),
            text(&target.listener),
            text(&time)
        );
        self.noted(line, ())
    }
    fn add_lookup(&mut self, lookup: u32) -> Result<u32, HostError> {
        let count = self.world.contacts.map_err(error)?;
        self.noted(format!("targets of lookup {lookup}"), count)
    }
    fn next_group(&mut self) {
        self.note("next group".to_owned());
    }
    fn set_no_answer_timeout(&mut self, ms: u32) {
        self.note(format!("no answer {ms}"));
    }
    fn clear_targets(&mut self) {
        self.note("clear".to_owned());
    }
    fn target_count(&self) -> u32 {
        self.done()
            .iter()
            .filter(|line| line.starts_with("target "))
            .count() as u32
    }
    fn add_reply_header(&mut self, name: &str, value: &str) -> Result<(), HostError> {
        self.noted(format!("reply header {name}: {value}"), ())
    }
    fn set_reply_body(&mut self, content_type: &str, body: &[u8]) -> Result<(), HostError> {
        let body = String::from_utf8_lossy(body).into_owned();
        self.noted(format!("reply body {content_type}: {body}"), ())
    }
    fn lookup(&mut self, uri: &str) -> Result<LookupResult, HostError> {
        self.found(format!("lookup {uri}"))
    }
    fn lookup_request_uri(&mut self) -> Result<LookupResult, HostError> {
        self.found("lookup of the Request-URI".to_owned())
    }
    fn binding_at(&self, lookup: u32, index: u32) -> Option<Binding> {
        (index < 2).then(|| Binding {
            uri: format!("sip:bob@192.0.2.{index}"),
            q: 500,
            expires_secs: 3600,
            received: "192.0.2.9:5060".to_owned(),
            user_agent: format!("phone of lookup {lookup}"),
            instance: (index == 0).then(|| "urn:uuid:1".to_owned()),
        })
    }
    fn is_registered_source(&self, uri: &str) -> bool {
        uri == "sip:alice@example.com"
    }
    fn save_contact(&mut self, aor: &str, contact: &str, secs: u32) -> Result<(), HostError> {
        self.noted(format!("save {aor} {contact} {secs}"), ())
    }
    fn remove_contact(&mut self, aor: &str, contact: &str) -> Result<u32, HostError> {
        self.noted(format!("remove {aor} {contact}"), 3)
    }
    fn verify(&mut self) -> Verification {
        self.world.verification
    }
    fn verified_user(&self) -> Option<&str> {
        (self.world.verification == Verification::Verified).then_some("alice@example.com")
    }
    fn auth_required(&self) -> bool {
        self.world.auth_required
    }
    fn realm(&self) -> &str {
        "example.com"
    }
    fn setting(&self, name: &str) -> Option<&str> {
        let setting = self.world.settings.iter().find(|(known, _)| known == name);
        setting.map(|(_, value)| value.as_str())
    }
    fn settings(&self) -> Vec<(String, String)> {
        self.world.settings.clone()
    }
    fn log(&self, level: Level, message: &str) {
        // The sentences that explain a refusal are not part of what has to be alike.
        if level != Level::Debug {
            self.note(format!("log {level:?} {message}"));
        }
    }
    fn log_enabled(&self, level: Level) -> bool {
        level != Level::Trace
    }
    fn unix_ms(&self) -> u64 {
        1_700_000_000_123
    }
    fn monotonic_us(&self) -> u64 {
        4_000_000_007
    }
    fn random_u64(&mut self) -> u64 {
        0x0001_2345_6789_abcd
    }
    fn add_counter(&mut self, name: &str, value: u64) -> Result<(), HostError> {
        self.noted(format!("count {name} {value}"), ())
    }
    fn set_timer(&mut self, name: &str, delay_ms: u32) -> Result<(), HostError> {
        self.noted(format!("timer {name} {delay_ms}"), ())
    }
    fn cancel_timer(&mut self, name: &str) -> bool {
        self.note(format!("cancel {name}"));
        name == "known"
    }
}
