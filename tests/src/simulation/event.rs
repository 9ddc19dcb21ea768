//! What can happen in a run.

use std::net::SocketAddr;

use patchbay_core::door::{
    Destination, HookContext, HookFault, HookId, PolicyVersion, Reject, ResolveId, SendId,
    UpdateId, Verdict,
};
use patchbay_core::registrar::Bindings;

use super::Alarm;
use crate::text::Text;

/// Something that is going to happen.
pub(crate) enum Event {
    ToRouter {
        from: SocketAddr,
        reliable: bool,
        bytes: Vec<u8>,
    },
    ToAgent {
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    AgentAlarm {
        agent: SocketAddr,
        alarm: Alarm,
    },
    Hook {
        id: HookId,
        result: Result<Verdict, HookFault>,
        context: Option<Box<HookContext>>,
        version: PolicyVersion,
    },
    Resolved {
        id: ResolveId,
        destinations: Vec<Destination>,
    },
    Updated {
        id: UpdateId,
        result: Result<Bindings, Reject>,
    },
    SendFailed {
        id: SendId,
        branch: String,
    },
    Probe,
    Drain,
}

impl Event {
    /// For a trace.
    pub(crate) fn line(&self) -> String {
        match self {
            Event::ToRouter { from, bytes, .. } => {
                format!("{from} -> router  {}", Text::parse(bytes).line())
            }
            Event::ToAgent { to, bytes } => {
                format!("  router -> {to}  {}", Text::parse(bytes).line())
            }
            Event::AgentAlarm { agent, alarm } => format!("{agent} {alarm:?}"),
            Event::Hook {
                id,
                result,
                context,
                ..
            } => {
                let call_id = context
                    .as_ref()
                    .map(|context| String::from_utf8_lossy(context.request.call_id()).into_owned());
                format!("hook {:x} returns {result:?} for {call_id:?}", id.0)
            }
            Event::Resolved { id, destinations } => {
                format!("resolved {:x}: {destinations:?}", id.0)
            }
            Event::Updated { id, result } => format!("updated {:x}: {}", id.0, result.is_ok()),
            Event::SendFailed { id, .. } => format!("send {:x} failed", id.0),
            Event::Probe => "probe".to_owned(),
            Event::Drain => "drain".to_owned(),
        }
    }
}
