//! Hook runs, whole: recorded to files, kept for a while by call, run again on other versions, compared.
//!
//! A worker that is told to traces each hook run: [`HookTrace`] has what the hook saw, what the host answered, and what it decided.
//! [`Traces`] takes the traces off the workers through a bounded queue, and everything else happens on a thread of its own: the ring of
//! recent calls, the recording, the shadow. A [`Replayer`] runs a trace on a version, with the answers that it has, and
//! `differences` tells where the two part.

mod collect;
mod conversions;
mod differences;
mod environment;
pub mod file;
mod hidden;
mod model;
mod outside;
mod recording;
mod redact;
mod replay;
mod ring;
mod scrub;
mod shadow;
mod text;

pub use collect::{RecordError, TraceCounts, TraceThread, Traces};
pub use differences::{Difference, RunDifference, changes};
pub use environment::{Environment, ListenerTrace};
pub use model::{
    Act, Answer, Carried, ContactTrace, Effects, ErrorTrace, EventTrace, FlowTrace, HookTrace,
    Input, MessageTrace, Outcome, RegistrationTrace, TargetTrace,
};
pub use outside::{
    HttpExchange, KeyValueCall, KeyValueExchange, KeyValueTold, RequestTrace, ResponseTrace,
};
pub use recording::{RecordingBounds, RecordingReport};
pub use replay::{ReplayError, Replayer};
pub use ring::{CallReport, CallSummary};
pub use scrub::scrubbed;
pub use shadow::{Copies, ShadowReport};
pub use text::Text;

pub(crate) use collect::Captured;
pub(crate) use conversions::{verification_name, verification_named};
pub(crate) use environment::World;
