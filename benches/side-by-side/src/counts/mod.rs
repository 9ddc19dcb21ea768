//! Counts, which do not depend on what else the machine does: system calls, instructions, allocations.

mod instructions;
mod system_calls;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::failure::Failure;
use crate::load::Plan;
use crate::machine::Machine;
use crate::scenario::Scenario;
use crate::server::{Product, Setup};

/// What is counted, and of whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject {
    /// The server.
    pub(crate) product: Product,
    /// What it does.
    pub(crate) scenario: Scenario,
    /// Its workers.
    pub(crate) workers: usize,
    /// How many ports the load comes from; `None`: as many as usual.
    pub(crate) source_ports: Option<usize>,
}

impl Subject {
    fn setup(&self) -> Setup {
        Setup {
            workers: self.workers,
            cores: self.workers,
            ..self.scenario.setup()
        }
    }

    fn plan(&self) -> Plan {
        let mut plan = self.scenario.plan(self.product);
        plan.sockets = self.source_ports.unwrap_or(plan.sockets);
        plan
    }
}

/// What one call costs a server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Counts {
    /// The server.
    pub(crate) product: Product,
    /// What was done.
    pub(crate) scenario: Scenario,
    /// System calls by name, with few calls, and with as many as it takes to saturate it.
    pub(crate) system_calls: Option<SystemCalls>,
    /// Instructions outside of the kernel, and allocations.
    pub(crate) instructions: Option<Instructions>,
}

/// System calls for each transaction.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SystemCalls {
    /// At a low rate; those of an idle server are taken off.
    pub(crate) idle: BTreeMap<String, f64>,
    /// Saturated.
    pub(crate) busy: BTreeMap<String, f64>,
}

/// For each transaction, the difference of a long and a short run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Instructions {
    /// Of all processes, outside of the kernel.
    pub(crate) instructions: f64,
    /// Calls of functions that allocate memory, by name.
    pub(crate) allocations: BTreeMap<String, f64>,
}

/// Counts what can be counted with the programs that are there.
pub(crate) fn count(
    machine: &Machine,
    subjects: &[Subject],
    parts: Parts,
) -> Result<Vec<Counts>, Failure> {
    let mut counts = Vec::new();
    let with_strace = parts.system_calls && is_there("strace");
    let with_valgrind = parts.instructions && is_there("valgrind");
    for subject in subjects {
        let system_calls = with_strace
            .then(|| system_calls::count(machine, subject))
            .transpose()?;
        let instructions = with_valgrind
            .then(|| instructions::count(machine, subject))
            .transpose()?;
        let counted = Counts {
            product: subject.product,
            scenario: subject.scenario,
            system_calls,
            instructions,
        };
        eprintln!("{}", line(&counted));
        counts.push(counted);
    }
    Ok(counts)
}

/// What to count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    /// With strace.
    pub(crate) system_calls: bool,
    /// With valgrind.
    pub(crate) instructions: bool,
}

fn is_there(program: &'static str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !there {
        eprintln!(
            "{program} is not there, so what it counts is left out (Debian: apt-get install {program})"
        );
    }
    there
}

/// The sum of counts by name.
pub(crate) fn total(counts: &BTreeMap<String, f64>) -> f64 {
    counts.values().sum()
}

fn line(counts: &Counts) -> String {
    let mut line = format!("{:9}", counts.product.name());
    if let Some(calls) = &counts.system_calls {
        let (idle, busy) = (total(&calls.idle), total(&calls.busy));
        line.push_str(&format!(" {idle:.2} system calls idle, {busy:.2} busy;"));
        line.push_str(&format!(" idle {};", most(&calls.idle)));
        line.push_str(&format!(" busy {};", most(&calls.busy)));
    }
    if let Some(counted) = &counts.instructions {
        let allocations = total(&counted.allocations);
        line.push_str(&format!(
            " {:.0} instructions, {allocations:.1} allocations ({})",
            counted.instructions,
            most(&counted.allocations)
        ));
    }
    line
}

/// The largest ones.
fn most(counts: &BTreeMap<String, f64>) -> String {
    let mut sorted: Vec<(&String, &f64)> = counts.iter().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(a.1));
    let words = sorted
        .iter()
        .filter(|(_, count)| **count >= 0.005)
        .take(8)
        .map(|(name, count)| format!("{name} {count:.2}"));
    words.collect::<Vec<_>>().join(", ")
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(path).map_err(Failure::file(path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
