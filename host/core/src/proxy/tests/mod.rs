//! The proxy against the RFCs, message by message.

mod answered;
mod calls;
mod cancelling;
mod crossing;
mod dialog_kinds;
mod dialogs;
mod forking;
mod hooks;
mod hostile;
mod originating;
mod registering;
mod responses;
pub(crate) mod stage;
mod storms;
mod tenants;
mod validation;
