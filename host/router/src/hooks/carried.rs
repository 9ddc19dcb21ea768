//! What a hook finds of the policies before it in the chain, as a trace has it.

use std::time::Duration;

use patchbay_core::door::{self, Hook, ListenerId, Routing};

use super::HookHost;
use crate::trace::{Carried, FlowTrace, TargetTrace, Text};

impl HookHost {
    /// What the policies before have decided; `None`: nothing, or what they decided does not matter in this hook.
    pub(super) fn carried(&self) -> Option<Box<Carried>> {
        let context = self.context.as_deref()?;
        let routing = &context.routing;
        let carried = Carried {
            targets: routing.targets.iter().map(target_trace).collect(),
            record_route: routing.record_route,
            record_route_parameters: routing.record_route_parameters.clone(),
            group: self.group,
            no_answer_ms: self.no_answer_ms,
        };
        let matters = context.hook == Hook::RequestRoute && carried != Carried::default();
        matters.then(|| Box::new(carried))
    }

    /// Begins a run that is played again with what the policies before had decided.
    pub(super) fn take_up(&mut self, carried: Option<&Carried>) {
        let (Some(carried), Some(context)) = (carried, &mut self.context) else {
            return;
        };
        context.routing = Routing {
            targets: carried.targets.iter().map(target).collect(),
            record_route: carried.record_route,
            record_route_parameters: carried.record_route_parameters.clone(),
            ..Routing::default()
        };
        self.group = carried.group;
        self.no_answer_ms = carried.no_answer_ms;
    }
}

/// A target as a trace has it.
pub(super) fn target_trace(target: &door::Target) -> TargetTrace {
    let text = |bytes: &Vec<u8>| Text(bytes.clone());
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    TargetTrace {
        uri: text(&target.uri),
        q: target.q,
        group: target.group,
        path: target.path.iter().map(text).collect(),
        flow: target.flow.as_ref().map(FlowTrace::from),
        next_hop: target.next_hop.as_ref().map(text),
        listener: target.listener.map(|listener| listener.0),
        no_answer_ms: target.no_answer.map(milliseconds),
    }
}

fn target(trace: &TargetTrace) -> door::Target {
    door::Target {
        uri: trace.uri.0.clone(),
        q: trace.q,
        group: trace.group,
        path: trace.path.iter().map(|text| text.0.clone()).collect(),
        flow: trace.flow.as_ref().map(FlowTrace::flow),
        next_hop: trace.next_hop.as_ref().map(|text| text.0.clone()),
        listener: trace.listener.map(ListenerId),
        no_answer: trace.no_answer_ms.map(Duration::from_millis),
    }
}
