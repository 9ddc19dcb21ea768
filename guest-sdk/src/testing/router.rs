//! The state behind the host functions: what the router knows, and the transaction a hook runs in.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use patchbay_message::{AddressOfRecord, Draft, Uri};

use super::outcome::{LogLine, Qualities};
use crate::auth::Verification;
use crate::bindings::imports::patchbay::policy::http;
use crate::location::Binding;
use crate::transaction::Transport;

/// What the router knows before a request comes.
#[derive(Clone, Debug)]
pub(super) struct Router {
    /// The first is the realm.
    pub(super) domains: Vec<String>,
    /// Address-of-records that are known, with their contacts.
    pub(super) users: Vec<(String, Vec<Binding>)>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) registration_required: bool,
    pub(super) verification: Verification,
    pub(super) verified_user: Option<String>,
    /// Address-of-records whose connection the requests come over.
    pub(super) registered_sources: Vec<String>,
    pub(super) in_dialog: bool,
    pub(super) returned_parameters: Vec<(String, String)>,
    pub(super) transport: Transport,
    pub(super) source: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) time: Duration,
    /// What is answered at a URL.
    pub(super) responses: Vec<(String, http::Response)>,
    /// The key-value store.
    pub(super) values: BTreeMap<String, Vec<u8>>,
}

impl Router {
    pub(super) fn user_mut(&mut self, uri: &str) -> &mut Vec<Binding> {
        let aor =
            address_of_record(uri).unwrap_or_else(|| panic!("{uri:?} is no address-of-record"));
        let index = self
            .users
            .iter()
            .position(|(known, _)| *known == aor)
            .unwrap_or_else(|| {
                self.users.push((aor, Vec::new()));
                self.users.len() - 1
            });
        &mut self.users.get_mut(index).expect("it was found or pushed").1
    }

    pub(super) fn user(&self, uri: &str) -> Option<&[Binding]> {
        let aor = address_of_record(uri)?;
        self.users
            .iter()
            .find(|(known, _)| *known == aor)
            .map(|(_, bindings)| bindings.as_slice())
    }

    pub(super) fn is_local(&self, uri: &str) -> bool {
        let Ok(uri) = Uri::parse(uri.as_bytes()) else {
            return false;
        };
        uri.is_sip()
            && self
                .domains
                .iter()
                .any(|domain| domain.as_bytes().eq_ignore_ascii_case(uri.host_raw))
    }
}

/// The canonical address-of-record in a URI.
pub(super) fn address_of_record(uri: &str) -> Option<String> {
    let uri = Uri::parse(uri.as_bytes()).ok()?;
    AddressOfRecord::from_uri(&uri).map(|aor| aor.as_str().to_owned())
}

/// One hook run.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) router: Router,
    /// The current message of `request_route`, `branch_route`, `failure_route`; `None` when no message is current.
    pub(super) request: Option<Draft>,
    /// The response of `onreply_route` and `failure_route`.
    pub(super) response: Option<Draft>,
    /// Whether the response is the current message.
    pub(super) response_is_current: bool,
    pub(super) failure_round: u32,
    pub(super) variables: Vec<(String, String)>,
    pub(super) lookups: Vec<Vec<Binding>>,
    pub(super) qualities: Qualities,
    pub(super) log: Vec<LogLine>,
    pub(super) counters: Vec<(String, u64)>,
    pub(super) timers: Vec<(String, Duration)>,
    pub(super) random: u64,
    pub(super) http_requests: Vec<http::Request>,
}

impl World {
    pub(super) fn new(router: Router) -> World {
        World {
            router,
            request: None,
            response: None,
            response_is_current: false,
            failure_round: 0,
            variables: Vec::new(),
            lookups: Vec::new(),
            qualities: Qualities::default(),
            log: Vec::new(),
            counters: Vec::new(),
            timers: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
            http_requests: Vec::new(),
        }
    }

    /// The current message.
    pub(super) fn message(&self) -> Option<&Draft> {
        if self.response_is_current {
            self.response.as_ref()
        } else {
            self.request.as_ref()
        }
    }

    pub(super) fn message_mut(&mut self) -> Option<&mut Draft> {
        if self.response_is_current {
            self.response.as_mut()
        } else {
            self.request.as_mut()
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Runs `hook` with this world behind the host functions, and returns what became of it.
pub(super) fn run_in<T>(world: World, hook: impl FnOnce() -> T) -> (T, World) {
    let before = CURRENT.replace(Some(world));
    let result = hook();
    let world = CURRENT.replace(before).expect("the world of this run");
    (result, world)
}

/// Gives a host function the current world.
pub(super) fn with<T>(call: impl FnOnce(&mut World) -> T) -> T {
    CURRENT.with_borrow_mut(|world| match world {
        Some(world) => call(world),
        None => {
            panic!("there is no router here: run the policy with patchbay_sdk::testing::Scenario")
        }
    })
}
