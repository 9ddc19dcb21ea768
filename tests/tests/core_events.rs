//! Random sequences of inputs into a core; the fuzz target of the same name goes on where this stops.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use patchbay_tests::core_events::run;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_the_core(script in proptest::collection::vec(any::<u8>(), 0..600)) {
        run(&script);
    }
}
