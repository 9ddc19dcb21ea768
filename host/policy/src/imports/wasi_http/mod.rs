//! `wasi:http@0.2`, the side that asks, for components that bring a client for it, such as `fetch` of JavaScript.
//!
//! A request goes through the same door as that of `interface http`, whole: it is sent when its body is finished, and the response is there
//! when all of it is. So the grants, the connections, the limits and the times are the same. Of `wasi:io` and `wasi:clocks` there is what the
//! client needs to write, to read and to wait. Only components can import it.

#![allow(
    unreachable_pub,
    reason = "the generated bindings name the types of resources again"
)]

mod bindings;
mod clock;
mod error_code;
mod exchange;
mod fields;
mod held;
mod poll;
mod request;
mod response;
mod server;
mod streams;

use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, ResourceTable};

use crate::host::Host;
use crate::state::State;
use exchange::Exchange;
use held::{Held, Holder};

/// The interfaces, of any version 0.2.
const INTERFACES: [&str; 6] = [
    ASKING,
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/monotonic-clock",
];
/// Those of them that hooks can wait with.
const WAITING: [&str; 3] = [
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:clocks/monotonic-clock",
];
/// The one of them that reaches beyond the router.
const ASKING: &str = "wasi:http/outgoing-handler";

/// What an instance may have open: more than one leaves behind that never closes anything and is then replaced.
const MAX_OPEN: usize = 100_000;
/// Requests of one hook.
const MAX_EXCHANGES: usize = 16;
/// Timers of one hook.
const MAX_TIMERS: usize = 1000;

/// Whether an import is one of the interfaces.
pub(crate) fn provides(import: &str) -> bool {
    INTERFACES.iter().any(|name| is_version_of(import, name))
}

/// Whether an import is an interface of which calls can wait.
pub(crate) fn can_wait(import: &str) -> bool {
    let mut waiting = WAITING.iter();
    waiting.any(|name| is_version_of(import, name))
}

/// Whether an import is the interface that sends requests.
pub(crate) fn asks(import: &str) -> bool {
    is_version_of(import, ASKING)
}

/// Whether an import is a finished version 0.2 of an interface.
fn is_version_of(import: &str, interface: &str) -> bool {
    import
        .strip_prefix(interface)
        .and_then(|rest| rest.strip_prefix("@0.2."))
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What an instance has open.
pub(crate) struct Web {
    table: ResourceTable,
    /// Those of the hook that runs.
    exchanges: Vec<Exchange>,
    /// How many timers it has set.
    timers: usize,
    holder: Holder,
}

impl Default for Web {
    fn default() -> Web {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_OPEN);
        Web {
            table,
            exchanges: Vec::new(),
            timers: 0,
            holder: Holder::default(),
        }
    }
}

impl Web {
    /// A hook begins: what the one before has asked and not taken is gone.
    pub(crate) fn begin(&mut self) {
        self.timers = 0;
        for exchange in self.exchanges.drain(..) {
            exchange.end();
        }
    }

    /// Whether this hook may set one more timer.
    fn count_timer(&mut self) -> bool {
        self.timers += 1;
        self.timers <= MAX_TIMERS
    }

    /// A new request of this hook, unless it has too many.
    fn exchange(&mut self) -> Option<Exchange> {
        if self.exchanges.len() >= MAX_EXCHANGES {
            return None;
        }
        let exchange = Exchange::default();
        self.exchanges.push(exchange.clone());
        Some(exchange)
    }

    /// A count of bytes that are held for the guest.
    fn held(&self) -> Held {
        self.holder.held()
    }
}

impl<H: Host> State<H> {
    fn web(&mut self) -> &mut Web {
        self.web.get_or_insert_default()
    }

    fn table(&mut self) -> &mut ResourceTable {
        &mut self.web().table
    }
}

pub(super) fn add<H: Host>(linker: &mut Linker<State<H>>) -> Result<()> {
    bindings::error::add_to_linker::<State<H>, HasSelf<State<H>>>(linker, |state| state)?;
    bindings::poll::add_to_linker::<State<H>, HasSelf<State<H>>>(linker, |state| state)?;
    bindings::streams::add_to_linker::<State<H>, HasSelf<State<H>>>(linker, |state| state)?;
    bindings::monotonic_clock::add_to_linker::<State<H>, HasSelf<State<H>>>(linker, |state| state)?;
    bindings::types::add_to_linker::<State<H>, HasSelf<State<H>>>(linker, |state| state)?;
    bindings::outgoing_handler::add_to_linker::<State<H>, HasSelf<State<H>>>(linker, |state| state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finished_version_0_2_is_provided_and_no_other() {
        for import in [
            "wasi:http/outgoing-handler@0.2.0",
            "wasi:io/streams@0.2.12",
            "wasi:http/types@0.2.99",
        ] {
            assert!(provides(import), "{import}");
        }
        for import in [
            "wasi:http/outgoing-handler@0.3.0",
            "wasi:http/types@0.2.0-rc-2023-12-05",
            "wasi:http/types@0.2.",
            "wasi:http/types",
            "wasi:http/incoming-handler@0.2.0",
            "wasi:clocks/wall-clock@0.2.0",
            "wasi:cli/environment@0.2.0",
        ] {
            assert!(!provides(import), "{import}");
        }
        assert!(asks("wasi:http/outgoing-handler@0.2.3"));
        assert!(!asks("wasi:http/types@0.2.3"));
    }

    #[test]
    fn a_hook_has_so_many_requests_and_the_next_one_again() {
        let mut web = Web::default();
        for _ in 0..MAX_EXCHANGES {
            assert!(web.exchange().is_some());
        }
        assert!(web.exchange().is_none());
        web.begin();
        assert!(web.exchange().is_some());
    }
}
