//! Any sequence of inputs into a core: no panic, and empty tables after a long quiet.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| patchbay_tests::core_events::run(script));
