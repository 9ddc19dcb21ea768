//! What the host provides: the imports of the component, or natively what [`crate::testing`] puts in their place.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::host::*;

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::imports::patchbay::policy::*;
