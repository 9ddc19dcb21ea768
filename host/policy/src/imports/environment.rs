//! `interface clock` and `interface random`: what a guest would otherwise ask its machine for.

/// `interface clock`.
pub(super) mod clock {
    use super::super::table::interface;
    use crate::host::Host;
    use crate::state::State;

    interface! {
        "unix-ms" => unix_ms() -> flat u64;
        "monotonic-us" => monotonic_us() -> flat u64;
    }

    fn unix_ms<H: Host>(state: &State<H>) -> u64 {
        state.host().map_or(0, H::unix_ms)
    }

    fn monotonic_us<H: Host>(state: &State<H>) -> u64 {
        state.host().map_or(0, H::monotonic_us)
    }
}

/// `interface random`.
pub(super) mod random {
    use super::super::table::interface;
    use crate::host::Host;
    use crate::state::State;

    interface! {
        "u64" acts => number() -> flat u64;
    }

    fn number<H: Host>(state: &mut State<H>) -> u64 {
        state.host_mut().map_or(0, H::random_u64)
    }
}
