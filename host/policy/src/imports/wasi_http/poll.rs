//! `wasi:io/poll`: where a guest waits. Its fiber is suspended, and its worker goes on with something else.
//!
//! All that can be waited for comes within `hook_timeout`: a response or its error, and a timer.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use wasmtime::component::Resource;
use wasmtime::{Result, bail};

use super::bindings::poll::{self, HostPollable};
use super::exchange::{Exchange, Readiness};
use crate::host::{Host, Sleep};
use crate::state::State;

/// Things that a guest waits for at once: each is looked at whenever one of them has happened.
const MAX_POLLED: usize = 1000;

/// Something that a guest waits for.
pub enum Pollable {
    Ready,
    Response(Exchange),
    Timer(Sleep),
    /// A timer that is over.
    Over,
}

impl Pollable {
    fn readiness(&mut self, context: &mut Context<'_>) -> Readiness {
        match self {
            Pollable::Ready | Pollable::Over => Readiness::Ready,
            Pollable::Response(exchange) => exchange.poll(context),
            Pollable::Timer(sleep) => match sleep.as_mut().poll(context) {
                Poll::Pending => Readiness::Waiting,
                Poll::Ready(()) => {
                    *self = Pollable::Over;
                    Readiness::Ready
                }
            },
        }
    }

    fn is_timer(&self) -> bool {
        matches!(self, Pollable::Timer(_) | Pollable::Over)
    }
}

impl<H: Host> State<H> {
    /// The places of those that are ready. A timer counts when nothing else is there, so that a run that is played again, in which no time
    /// passes, gets its responses. Where none ever would be ready, each is, with an error.
    fn ready(
        &mut self,
        pollables: &[Resource<Pollable>],
        context: &mut Context<'_>,
    ) -> Result<Vec<u32>> {
        let (mut ready, mut over) = (Vec::new(), Vec::new());
        let mut is_waiting = false;
        for (index, pollable) in (0..).zip(pollables) {
            let pollable = self.table().get_mut(pollable)?;
            match pollable.readiness(context) {
                Readiness::Ready if pollable.is_timer() => over.push(index),
                Readiness::Ready => ready.push(index),
                Readiness::Waiting => is_waiting = true,
                Readiness::Stuck => {}
            }
        }
        if ready.is_empty() {
            ready = over;
        }
        if ready.is_empty() && !is_waiting {
            for (index, pollable) in (0..).zip(pollables) {
                if let Pollable::Response(exchange) = self.table().get(pollable)? {
                    exchange.give_up();
                }
                ready.push(index);
            }
        }
        Ok(ready)
    }

    async fn wait(&mut self, pollables: &[Resource<Pollable>]) -> Result<Vec<u32>> {
        let mut began = None;
        let ready = poll_fn(|context| match self.ready(pollables, context) {
            Ok(ready) if ready.is_empty() => {
                let now = Instant::now();
                if began.is_none() {
                    self.begin_wait();
                    began = Some(now);
                }
                Poll::Pending
            }
            result => Poll::Ready(result),
        })
        .await;
        if let Some(began) = began {
            self.end_wait(began, Instant::now());
        }
        ready
    }
}

impl<H: Host> poll::Host for State<H> {
    async fn poll(&mut self, pollables: Vec<Resource<Pollable>>) -> Result<Vec<u32>> {
        if pollables.is_empty() || pollables.len() > MAX_POLLED {
            bail!("a hook waits for 1 to {MAX_POLLED} things at once");
        }
        self.wait(&pollables).await
    }
}

impl<H: Host> HostPollable for State<H> {
    fn ready(&mut self, pollable: Resource<Pollable>) -> Result<bool> {
        let mut context = Context::from_waker(Waker::noop());
        let readiness = self.table().get_mut(&pollable)?.readiness(&mut context);
        Ok(readiness == Readiness::Ready)
    }

    async fn block(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.wait(&[pollable]).await.map(drop)
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> Result<()> {
        self.table().delete(pollable)?;
        Ok(())
    }
}
