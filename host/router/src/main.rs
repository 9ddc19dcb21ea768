//! The Patchbay SIP router.
fn main() {}
