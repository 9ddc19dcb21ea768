//! The Patchbay SIP router.

use std::process::ExitCode;

/// Faster than the system's under many small messages, and without its fragmentation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    patchbay::cli::main()
}
