//! `wasi:clocks/monotonic-clock`: the time of `interface clock`, and timers for who waits for a response.

use std::time::{Duration, Instant};

use wasmtime::component::Resource;
use wasmtime::{Result, bail};

use super::bindings::monotonic_clock;
use super::poll::Pollable;
use crate::host::Host;
use crate::state::State;

const NANOSECONDS: u64 = 1000;

impl<H: Host> monotonic_clock::Host for State<H> {
    fn now(&mut self) -> Result<u64> {
        let now_us = self.host().map_or(0, Host::monotonic_us);
        Ok(now_us.saturating_mul(NANOSECONDS))
    }

    fn resolution(&mut self) -> Result<u64> {
        Ok(NANOSECONDS)
    }

    fn subscribe_instant(&mut self, when: u64) -> Result<Resource<Pollable>> {
        let now = monotonic_clock::Host::now(self)?;
        self.subscribe_duration(when.saturating_sub(now))
    }

    /// When `hook_timeout` is over every timer is, so that the guest can still decide.
    fn subscribe_duration(&mut self, nanoseconds: u64) -> Result<Resource<Pollable>> {
        if !self.web().count_timer() {
            bail!("too many timers in one hook");
        }
        let time = Duration::from_nanos(nanoseconds).min(self.time_left(Instant::now()));
        let timer = match self.host_mut() {
            Some(host) if !time.is_zero() => Pollable::Timer(host.sleep(time)),
            _ => Pollable::Over,
        };
        Ok(self.table().push(timer)?)
    }
}
