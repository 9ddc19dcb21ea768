//! The load: callers and phones on one side of the server, those who are called on the other. Each side is a process of its own, so that what
//! it costs can be told from what the server costs.

mod answer;
mod batch;
mod call;
mod caller;
mod digest;
mod message;
mod plan;
mod register;
mod report;
mod script;
mod sockets;
mod template;
mod verify;

pub(crate) use answer::{Answering, CalleePlan, answer};
pub(crate) use caller::generate;
pub(crate) use plan::{Kind, Pace, Plan, Transport};
pub(crate) use report::{CalleeReport, Report};

/// What callers and callees offer each other; it has to arrive unchanged.
pub(crate) const SESSION: &str = "v=0\r\n\
    o=side-by-side 1 1 IN IP4 127.0.0.1\r\n\
    s=-\r\n\
    c=IN IP4 127.0.0.1\r\n\
    t=0 0\r\n\
    m=audio 40000 RTP/AVP 0 8 101\r\n\
    a=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\n\
    a=sendrecv\r\n";
