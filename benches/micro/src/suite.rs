//! Steps that are measured one after the other on one state.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::allocator::allocations;

/// Rounds that are timed, after one that is not; the best counts.
const ROUNDS: u32 = 7;

/// Several steps that follow each other, each done a fixed number of times.
pub(crate) trait Suite {
    /// How often each step is done.
    fn operations(&self) -> u64;
    /// The names of the steps; what only prepares the next one has none.
    fn steps(&self) -> Vec<Option<&'static str>>;
    /// Does all operations of one step.
    fn run(&mut self, step: usize);
}

/// A suite on a state of type `S`.
pub(crate) struct Steps<S> {
    state: S,
    operations: u64,
    steps: Vec<Step<S>>,
}

/// The name of a step, if it counts, and what does it so many times.
type Step<S> = (Option<&'static str>, fn(&mut S, u64));

impl<S> Steps<S> {
    /// No steps yet; each will be done `operations` times.
    pub(crate) fn new(operations: u64, state: S) -> Steps<S> {
        Steps {
            state,
            operations,
            steps: Vec::new(),
        }
    }

    /// Adds a step: `run` does it so many times.
    pub(crate) fn step(mut self, name: &'static str, run: fn(&mut S, u64)) -> Steps<S> {
        self.steps.push((Some(name), run));
        self
    }

    /// Adds what has to be done before the next step and does not count.
    pub(crate) fn prepare(mut self, run: fn(&mut S, u64)) -> Steps<S> {
        self.steps.push((None, run));
        self
    }
}

impl<S> Suite for Steps<S> {
    fn operations(&self) -> u64 {
        self.operations
    }

    fn steps(&self) -> Vec<Option<&'static str>> {
        self.steps.iter().map(|(name, _)| *name).collect()
    }

    fn run(&mut self, step: usize) {
        (self.steps[step].1)(&mut self.state, self.operations);
    }
}

/// What one operation of a step costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The name of the step.
    pub(crate) step: &'static str,
    /// Of the best round.
    pub(crate) cpu: Duration,
    /// Of all rounds.
    pub(crate) allocations: f64,
    operations: u64,
}

impl Cost {
    /// Nanoseconds of one operation.
    pub(crate) fn nanoseconds(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.operations as f64
    }
}

/// Times a suite on its own.
pub(crate) fn measure(suite: &mut dyn Suite) -> Vec<Cost> {
    measure_interleaved(&mut [suite]).remove(0)
}

/// Times suites of the same steps in turns, so that whatever disturbs the machine disturbs all of them.
pub(crate) fn measure_interleaved(suites: &mut [&mut dyn Suite]) -> Vec<Vec<Cost>> {
    let mut costs: Vec<Vec<Cost>> = suites.iter_mut().map(|suite| round(*suite)).collect();
    for cost in costs.iter_mut().flatten() {
        (cost.cpu, cost.allocations) = (Duration::MAX, 0.0);
    }
    for _ in 0..ROUNDS {
        for (suite, costs) in suites.iter_mut().zip(&mut costs) {
            for (cost, new) in costs.iter_mut().zip(round(*suite)) {
                cost.cpu = cost.cpu.min(new.cpu);
                cost.allocations += new.allocations / f64::from(ROUNDS);
            }
        }
    }
    costs
}

fn round(suite: &mut dyn Suite) -> Vec<Cost> {
    let operations = suite.operations();
    let mut costs = Vec::new();
    for (index, name) in suite.steps().into_iter().enumerate() {
        let (start, before) = (cpu_time(), allocations());
        suite.run(index);
        let (cpu, taken) = (cpu_time() - start, allocations() - before);
        if let Some(step) = name {
            costs.push(Cost {
                step,
                cpu,
                allocations: taken as f64 / operations as f64,
                operations,
            });
        }
    }
    costs
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(spent.tv_sec).unwrap_or(0),
        u32::try_from(spent.tv_nsec).unwrap_or(0),
    )
}
