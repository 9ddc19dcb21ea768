//! What the router knows before a request comes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::router::{Router, World, address_of_record, run_in};
use super::run::Run;
use super::text;
use crate::auth::Verification;
use crate::bindings::imports::patchbay::policy::http;
use crate::error::Result;
use crate::event::Event;
use crate::export;
use crate::hooks::Policy;
use crate::location::Binding;
use crate::transaction::Transport;

/// A router with users, contacts and settings, and the policy that routes in it.
///
/// Unless told otherwise it is responsible for `example.com`, asks nobody to authenticate, and requests come from
/// `udp:192.0.2.1:5060`.
#[derive(Debug)]
pub struct Scenario<P> {
    policy: Rc<RefCell<P>>,
    router: Router,
    has_own_domains: bool,
}

impl<P: Policy> Scenario<P> {
    /// A router that knows nobody yet.
    pub fn new(policy: P) -> Scenario<P> {
        let router = Router {
            domains: vec!["example.com".to_owned()],
            users: Vec::new(),
            settings: Vec::new(),
            registration_required: false,
            verification: Verification::Missing,
            verified_user: None,
            registered_sources: Vec::new(),
            in_dialog: false,
            returned_parameters: Vec::new(),
            transport: Transport::Udp,
            source: SocketAddr::from(([192, 0, 2, 1], 5060)),
            local: SocketAddr::from(([198, 51, 100, 1], 5060)),
            time: Duration::from_secs(1_700_000_000),
            responses: Vec::new(),
            values: BTreeMap::new(),
        };
        Scenario {
            policy: Rc::new(RefCell::new(policy)),
            router,
            has_own_domains: false,
        }
    }

    /// A domain the router is responsible for, instead of `example.com`; the first one is the realm. Call it before
    /// [`Scenario::user`].
    pub fn domain(mut self, name: &str) -> Scenario<P> {
        if !self.has_own_domains {
            self.router.domains.clear();
            self.has_own_domains = true;
        }
        self.router.domains.push(name.to_owned());
        self
    }

    /// A user of the first domain without a contact.
    pub fn user(mut self, name: &str) -> Scenario<P> {
        let domain = self.router.domains.first().cloned().unwrap_or_default();
        self.router.user_mut(&format!("sip:{name}@{domain}"));
        self
    }

    /// A contact of an address-of-record. Several are found in this order.
    pub fn registered(mut self, aor: &str, contact: &str) -> Scenario<P> {
        let binding = Binding {
            uri: contact.to_owned(),
            q: 1000,
            expires_secs: 3600,
            received: self.router.source.to_string(),
            user_agent: String::new(),
            instance: None,
        };
        self.router.user_mut(aor).push(binding);
        self
    }

    /// A setting of the operator.
    pub fn setting(mut self, name: &str, value: &str) -> Scenario<P> {
        self.router
            .settings
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// `[auth] registration = "required"`.
    pub fn registration_required(mut self) -> Scenario<P> {
        self.router.registration_required = true;
        self
    }

    /// Requests carry the right password of this user, `user@realm`.
    pub fn credentials(mut self, user: &str) -> Scenario<P> {
        self.router.verification = Verification::Verified;
        self.router.verified_user = Some(user.to_owned());
        self
    }

    /// Requests carry credentials that do so when they are checked.
    pub fn verification(mut self, verification: Verification) -> Scenario<P> {
        self.router.verification = verification;
        self.router.verified_user = None;
        self
    }

    /// Requests come over the connection that registered this address-of-record.
    pub fn registered_source(mut self, aor: &str) -> Scenario<P> {
        let aor =
            address_of_record(aor).unwrap_or_else(|| panic!("{aor:?} is no address-of-record"));
        self.router.registered_sources.push(aor);
        self
    }

    /// Requests come from there: `tcp:192.0.2.7:40000`.
    pub fn source(mut self, source: &str) -> Scenario<P> {
        (self.router.transport, self.router.source) = text::source(source);
        self
    }

    /// Requests belong to a dialog that went through the router.
    pub fn in_dialog(mut self) -> Scenario<P> {
        self.router.in_dialog = true;
        self
    }

    /// A parameter of the router's Record-Route that comes back with the requests of the dialog.
    pub fn record_route_parameter(mut self, name: &str, value: &str) -> Scenario<P> {
        self.router
            .returned_parameters
            .push((name.to_owned(), value.to_owned()));
        self.in_dialog()
    }

    /// The time, since 1970-01-01 UTC. It stands still.
    pub fn time(mut self, unix: Duration) -> Scenario<P> {
        self.router.time = unix;
        self
    }

    /// What is answered over HTTP at exactly this URL. Other requests fail, as if nobody were there.
    ///
    /// ```
    /// use patchbay_sdk::prelude::*;
    /// use patchbay_sdk::testing::{Decision, Scenario};
    ///
    /// /// Asks where a call goes, for two calls a minute.
    /// #[derive(Default)]
    /// struct LeastCost;
    ///
    /// #[patchbay_sdk::policy]
    /// impl Policy for LeastCost {
    ///     fn request_route(&self, request: &mut Request) -> Result<Verdict> {
    ///         if keyvalue::increment_for("lcr/calls", 1, Duration::from_secs(60))? > 2 {
    ///             return Ok(reply(503));
    ///         }
    ///         let number = request.uri().user().unwrap_or_default().into_owned();
    ///         match http::get(format!("https://lcr.example.com/{number}")).send() {
    ///             Ok(response) if response.is_success() => Ok(relay(response.text().into_owned())),
    ///             _ => Ok(relay("sip:gateway@192.0.2.9")),
    ///         }
    ///     }
    /// }
    ///
    /// const INVITE: &str = "\
    /// INVITE sip:4930@example.com SIP/2.0
    /// Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1
    /// Max-Forwards: 70
    /// From: <sip:alice@example.com>;tag=1
    /// To: <sip:4930@example.com>
    /// Call-ID: 1@192.0.2.1
    /// CSeq: 1 INVITE
    /// ";
    ///
    /// let url = "https://lcr.example.com/4930";
    /// let call = Scenario::new(LeastCost).http(url, 200, "sip:cheap@192.0.2.8").request(INVITE);
    /// assert_eq!(call.targets(), ["sip:cheap@192.0.2.8"]);
    /// assert_eq!(call.http_requests(), [("GET", url)]);
    /// assert_eq!(call.keyvalue("lcr/calls"), Some(&b"1"[..]));
    ///
    /// let call = Scenario::new(LeastCost).request(INVITE);
    /// assert_eq!(call.targets(), ["sip:gateway@192.0.2.9"]);
    ///
    /// let call = Scenario::new(LeastCost).keyvalue("lcr/calls", "2").request(INVITE);
    /// assert_eq!(call.decision(), Decision::Reply(503));
    /// ```
    pub fn http(mut self, url: &str, status: u16, body: &str) -> Scenario<P> {
        let response = http::Response {
            status,
            headers: Vec::new(),
            body: body.as_bytes().to_vec(),
        };
        self.router.responses.push((url.to_owned(), response));
        self
    }

    /// A value of the key-value store.
    pub fn keyvalue(mut self, key: &str, value: impl AsRef<[u8]>) -> Scenario<P> {
        let value = value.as_ref().to_vec();
        self.router.values.insert(key.to_owned(), value);
        self
    }

    /// Runs `init`.
    ///
    /// # Errors
    /// What `init` answered.
    pub fn init(&self) -> Result<()> {
        let (result, _) = run_in(World::new(self.router.clone()), || {
            self.policy.borrow_mut().init()
        });
        result
    }

    /// Runs `init` and `request_route` on a request.
    pub fn request(&self, text: &str) -> Run<P> {
        if let Err(error) = self.init() {
            panic!("init failed: {error}");
        }
        let mut world = World::new(self.router.clone());
        world.request = Some(text::message(text));
        Run::request_route(Rc::clone(&self.policy), world)
    }

    /// Runs `init` and `event_route` on an event.
    pub fn event(&self, event: Event) {
        if let Err(error) = self.init() {
            panic!("init failed: {error}");
        }
        let world = World::new(self.router.clone());
        run_in(world, || {
            export::run_event_route(&*self.policy.borrow(), event)
        });
    }
}
