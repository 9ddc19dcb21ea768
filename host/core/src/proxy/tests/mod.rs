//! The proxy against the RFCs, message by message.

mod calls;
mod stage;
