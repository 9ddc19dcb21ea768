//! The data of one instance's store: the host of the current hook, limits, clocks and scratch space.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use patchbay_message::Draft;
use wasmtime::{ResourceLimiter, StoreContextMut, UpdateDeadline};

use crate::direct::Running;
use crate::exchange::{Back, NextJob};
use crate::host::{ErrorKind, Hook, Host, HostError};
use crate::imports::wasi_http::Web;
use crate::imports::wasi_keyvalue::Buckets;

/// Growing a table beyond this many elements is refused.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 60_000;
/// Where many hooks run for long, each ends after this many times its running time, when it has had this part of that.
const CROWDED: u32 = 4;
/// A guest that was entered less than this ago does not yield at a tick: a hook of a microsecond that meets a tick goes on.
const MIN_SLICE: Duration = Duration::from_micros(250);

/// The processor time that this thread has used.
pub(crate) fn thread_processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds)
}

/// Buffers for texts on their way into the guest: as many as one answer has texts at most, what most of them need, and up to which size
/// they are kept.
const MAX_SPARE: usize = 8;
const CAPACITY: usize = 256;
const MAX_CAPACITY: usize = 16 << 10;

/// What is running in an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Idle,
    Init,
    Hook(Hook),
}

/// Why the host ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Interrupt {
    #[error("hook_deadline")]
    Deadline,
    #[error("hook_timeout")]
    Timeout,
    /// It was called straight and runs for so long that it is to yield.
    #[error("the hook takes long and begins again")]
    Slow,
    /// It was called straight and is about to do what can't be undone.
    #[error("the hook acts and begins again")]
    Acts,
    /// It was called straight and the guest's allocator is needed.
    #[error("the hook needs memory and begins again")]
    Room,
}

/// The limits of one run, from the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLimits {
    pub(crate) deadline: Duration,
    pub(crate) timeout: Duration,
    pub(crate) memory: usize,
}

pub(crate) struct State<H> {
    /// For a core module that runs directly.
    pub(crate) direct: Running,
    /// Where jobs and their host come from.
    pub(crate) desk: Back<H>,
    pub(crate) phase: Phase,
    /// Hooks are called [straight](crate::direct::Straight).
    pub(crate) is_straight: bool,
    pub(crate) scratch: Scratch,
    /// For a component that imports `wasi:keyvalue`.
    pub(crate) buckets: Buckets,
    /// For a component that imports `wasi:http`.
    pub(crate) web: Option<Box<Web>>,
    limits: RunLimits,
    memory_used: usize,
    pub(crate) memory_refused: bool,
    run: Run,
}

/// The clock of one run.
#[derive(Clone, Copy, Debug)]
struct Run {
    started: Instant,
    /// The processor time of the polls before.
    ran: Duration,
    /// The time for which imports have waited.
    waited: Duration,
    /// The processor time of this thread at the first tick of the first poll: it is not looked at before, as most runs meet no tick.
    first_tick: Option<Duration>,
}

/// A text on its way into the guest.
pub(crate) type Text = String;

/// Buffers for texts on their way into the guest, so that a call to the host needs no allocation. Whoever has copied a text into the
/// guest gives its buffer back.
#[derive(Default)]
pub(crate) struct Scratch(RefCell<Vec<String>>);

impl<H: Host> State<H> {
    pub(crate) fn new(limits: RunLimits, desk: Back<H>) -> State<H> {
        State {
            direct: Running::default(),
            desk,
            phase: Phase::Idle,
            is_straight: false,
            scratch: Scratch::default(),
            buckets: Buckets::default(),
            web: None,
            limits,
            memory_used: 0,
            memory_refused: false,
            run: Run {
                started: Instant::now(),
                ran: Duration::ZERO,
                waited: Duration::ZERO,
                first_tick: None,
            },
        }
    }

    /// A run begins now.
    #[inline]
    pub(crate) fn begin(&mut self, started: Instant) {
        self.run = Run {
            started,
            ran: Duration::ZERO,
            waited: Duration::ZERO,
            first_tick: None,
        };
        self.memory_refused = false;
    }

    /// For how long an import may wait.
    pub(crate) fn time_left(&self, now: Instant) -> Duration {
        self.limits
            .timeout
            .saturating_sub(now.saturating_duration_since(self.run.started))
    }

    /// An import begins to wait.
    pub(crate) fn begin_wait(&mut self) {
        // Without a tick it has run for less than a millisecond.
        let entered = self.desk.entry().processor.or(self.run.first_tick);
        if let Some(entered) = entered {
            self.run.ran += thread_processor_time().saturating_sub(entered);
        }
    }

    /// The wait that began then is over, and the guest goes on now: what the thread did meanwhile is not to be held against it.
    pub(crate) fn end_wait(&mut self, began: Instant, now: Instant) {
        self.run.waited += now.saturating_duration_since(began);
        self.desk.enter_again(now);
    }

    /// The guest has met a tick of the epoch. The start of an instance has `hook_timeout`, a hook has `hook_deadline` as well. When
    /// `hook_timeout` is over the import that waits returns an error, and what the guest makes of it has the rest of `hook_deadline`.
    fn tick(&mut self, now: Instant) -> Result<UpdateDeadline, Interrupt> {
        let processor = thread_processor_time();
        let entry = self.desk.entry();
        let entered = match entry.processor {
            Some(entered) => entered,
            None => *self.run.first_tick.get_or_insert(processor),
        };
        let ran = self.run.ran + processor.saturating_sub(entered);
        let since_start = now
            .saturating_duration_since(self.run.started)
            .saturating_sub(self.run.waited);
        if self.phase != Phase::Init && self.is_late(ran, since_start) {
            return Err(Interrupt::Deadline);
        }
        if since_start >= self.limits.timeout {
            return Err(Interrupt::Timeout);
        }
        if self.is_straight {
            // It can't yield. One whose thread was put aside has not run, and will be over soon.
            return if ran < MIN_SLICE {
                Ok(UpdateDeadline::Continue(1))
            } else {
                Err(Interrupt::Slow)
            };
        }
        if now.saturating_duration_since(entry.at) < MIN_SLICE {
            return Ok(UpdateDeadline::Continue(1));
        }
        self.run.ran = ran;
        self.desk.yields();
        Ok(UpdateDeadline::Yield(1))
    }

    /// Running time is time of the processor: a hook whose thread was put aside by the system has not run, and is not to blame; nor has one
    /// whose import waits.
    fn is_late(&self, ran: Duration, since_start: Duration) -> bool {
        let deadline = self.limits.deadline;
        ran >= deadline || since_start >= deadline * CROWDED && ran >= deadline / CROWDED
    }

    /// The host of the run.
    #[inline]
    pub(crate) fn host(&self) -> Option<&H> {
        self.desk.host()
    }

    /// The host of the run, to act.
    #[inline]
    pub(crate) fn host_mut(&mut self) -> Option<&mut H> {
        self.desk.host_mut()
    }

    /// The current message; none in `init` and `event-route`.
    #[inline]
    pub(crate) fn message(&self) -> Option<&Draft> {
        if self.is_on_message() {
            self.host().and_then(H::message)
        } else {
            None
        }
    }

    /// The response of `onreply-route` and `failure-route`.
    pub(crate) fn response(&self) -> Option<&Draft> {
        match self.phase {
            Phase::Hook(Hook::OnreplyRoute | Hook::FailureRoute) => {
                self.host().and_then(H::response)
            }
            _ => None,
        }
    }

    /// The host, where a transaction is current.
    #[inline]
    pub(crate) fn transaction(&self) -> Option<&H> {
        if self.is_on_message() {
            self.host()
        } else {
            None
        }
    }

    /// The host, where one of `hooks` runs.
    #[inline]
    pub(crate) fn during(&mut self, hooks: &[Hook]) -> Result<&mut H, HostError> {
        match (self.phase, self.host_mut()) {
            (Phase::Hook(hook), Some(host)) if hooks.contains(&hook) => Ok(host),
            _ => Err(wrong_hook(hooks)),
        }
    }

    /// The host, in every hook but not in `init`, which has no side effects.
    pub(crate) fn acting(&mut self) -> Result<&mut H, HostError> {
        self.during(&Hook::ALL)
    }

    fn is_on_message(&self) -> bool {
        matches!(self.phase, Phase::Hook(hook) if hook != Hook::EventRoute)
    }
}

#[cold]
fn wrong_hook(hooks: &[Hook]) -> HostError {
    let names: Vec<&str> = hooks.iter().map(|hook| hook.name()).collect();
    HostError {
        kind: ErrorKind::WrongHook,
        message: format!("possible only in {}", names.join(", ")),
    }
}

impl Scratch {
    /// The text that `write` puts into an empty buffer.
    #[inline]
    pub(crate) fn text(&self, write: impl FnOnce(&mut String)) -> Text {
        let spare = self.0.borrow_mut().pop();
        let mut text = spare.unwrap_or_else(|| String::with_capacity(CAPACITY));
        write(&mut text);
        text
    }

    /// Takes the buffer of a text that is in the guest. One that grew large is not kept.
    #[inline]
    pub(crate) fn give_back(&self, mut text: Text) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < MAX_SPARE && (1..=MAX_CAPACITY).contains(&text.capacity()) {
            text.clear();
            spare.push(text);
        }
    }
}

/// The callback of the epoch: a running guest yields each millisecond, and ends at its deadline. A core module that runs directly waits
/// here for its next hook.
pub(crate) fn on_tick<H: Host>(
    mut store: StoreContextMut<'_, State<H>>,
) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data_mut();
    if state.hand_over() {
        // No memory is taken for a box without content.
        return Ok(UpdateDeadline::YieldCustom(1, Box::pin(NextJob)));
    }
    // Between two hooks only the harness runs, and the clock is still that of the hook before.
    if state.phase == Phase::Idle {
        return Ok(UpdateDeadline::Continue(1));
    }
    Ok(state.tick(Instant::now())?)
}

impl<H: Send + 'static> ResourceLimiter for State<H> {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.direct.view.forget();
        let total = self
            .memory_used
            .saturating_add(desired.saturating_sub(current));
        if total > self.limits.memory {
            self.memory_refused = true;
            return Ok(false);
        }
        self.memory_used = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS)
    }
}
