//! placeholder
pub(crate) use crate::bindings::imports::patchbay::policy as host;
