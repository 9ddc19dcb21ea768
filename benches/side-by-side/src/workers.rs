//! More workers: what a call costs when it may have to change hands.

use std::fmt::Write;

use serde::Serialize;

use crate::counts::{self, Counts, Parts, Subject};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::measure::{Callees, prepare, round};
use crate::scenario::{Scenario, Target};
use crate::server::{Product, Server, Setup, messages_handed_over};
use crate::statistics::{median, ratio_of_neighbours};

/// Callers at many ports, and all behind one: a trunk.
const SOURCE_PORTS: [usize; 2] = [64, 1];
/// Before anything is measured.
const WARM_UP_SECONDS: f64 = 1.0;
/// Of the ratio.
const TARGET: Target = Target {
    at_most: 1.1,
    stretch: None,
};

/// What calls from so many ports cost.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Workers {
    source_ports: usize,
    workers: usize,
    /// Processor time per call with one worker, each round.
    one_us: Vec<f64>,
    /// With all of them.
    several_us: Vec<f64>,
    /// Messages per call that went to another worker, each round.
    handed_over: Vec<f64>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// How many workers are compared with one.
    pub(crate) workers: usize,
    /// How long each round is.
    pub(crate) seconds: f64,
    /// Rounds of each.
    pub(crate) rounds: usize,
}

/// What calls from so many ports make so many workers do.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Counted {
    source_ports: usize,
    workers: usize,
    counts: Counts,
}

/// Counts what a call takes with one worker and with several.
pub(crate) fn count(
    machine: &Machine,
    several: usize,
    parts: Parts,
) -> Result<Vec<Counted>, Failure> {
    let mut all = Vec::new();
    for source_ports in SOURCE_PORTS {
        for workers in [1, several] {
            let subject = Subject {
                product: Product::Patchbay,
                scenario: Scenario::Invite,
                workers,
                source_ports: Some(source_ports),
            };
            let counts = counts::count(machine, &[subject], parts)?;
            all.extend(counts.into_iter().map(|counts| Counted {
                source_ports,
                workers,
                counts,
            }));
        }
    }
    Ok(all)
}

/// One worker and several in turn, each a server of its own.
pub(crate) fn measure(machine: &Machine, extent: Extent) -> Result<Vec<Workers>, Failure> {
    let mut all = Vec::new();
    for source_ports in SOURCE_PORTS {
        let mut result = Workers {
            source_ports,
            workers: extent.workers,
            one_us: Vec::new(),
            several_us: Vec::new(),
            handed_over: Vec::new(),
        };
        for _ in 0..extent.rounds {
            let (one_us, _) = calls(machine, 1, source_ports, extent.seconds)?;
            let (several_us, handed_over) =
                calls(machine, extent.workers, source_ports, extent.seconds)?;
            result.one_us.push(one_us);
            result.several_us.push(several_us);
            result.handed_over.push(handed_over);
        }
        all.push(result);
    }
    Ok(all)
}

/// Processor time and messages handed over, per call.
fn calls(
    machine: &Machine,
    workers: usize,
    source_ports: usize,
    seconds: f64,
) -> Result<(f64, f64), Failure> {
    let setup = Setup {
        workers,
        cores: workers,
        ..Setup::default()
    };
    let server = Server::start(machine, Product::Patchbay, &setup)?;
    let callees = Callees::start(machine, Scenario::Invite)?;
    prepare(machine, Scenario::Invite, Product::Patchbay)?;
    let mut plan = Scenario::Invite.plan(Product::Patchbay);
    plan.sockets = source_ports;
    plan.seconds = WARM_UP_SECONDS;
    round(machine, &server, Some(&callees), &plan)?;
    let before = messages_handed_over(&server)?;
    plan.seconds = seconds;
    let round = round(machine, &server, Some(&callees), &plan)?;
    let handed_over = messages_handed_over(&server)? - before;
    let handed_over = handed_over / round.report.completed.max(1) as f64;
    eprintln!(
        "{workers} workers, {source_ports} source ports: {}, {handed_over:.2} handed over",
        round.line()
    );
    callees.stop()?;
    server.stop();
    Ok((round.cpu_us, handed_over))
}

/// All of it as Markdown.
pub(crate) fn markdown(all: &[Workers]) -> String {
    let mut text = "| source ports | workers | with one worker | with all | ratio | target | met | handed over per call |\n\
        | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for one in all {
        let figure = |values: &[f64]| median(values).unwrap_or(f64::NAN);
        let ratio = ratio_of_neighbours(&one.several_us, &one.one_us).unwrap_or(f64::NAN);
        // Writing to a string can't fail.
        writeln!(
            text,
            "| {} | {} | {:.0} µs | {:.0} µs | {ratio:.2} × | <= {} × | {} | {:.2} |",
            one.source_ports,
            one.workers,
            figure(&one.one_us),
            figure(&one.several_us),
            TARGET.at_most,
            if ratio <= TARGET.at_most {
                "yes"
            } else {
                "**no**"
            },
            figure(&one.handed_over),
        )
        .unwrap_or_default();
    }
    text
}

/// The counts as Markdown; what was not counted is left out.
pub(crate) fn counts_markdown(all: &[Counted]) -> String {
    let mut text =
        "| source ports | workers | system calls, idle | system calls, busy | instructions | allocations |\n\
        | --- | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for one in all {
        let calls = one.counts.system_calls.as_ref();
        let instructions = one.counts.instructions.as_ref();
        let figures = [
            calls.map(|calls| format!("{:.2}", counts::total(&calls.idle))),
            calls.map(|calls| format!("{:.2}", counts::total(&calls.busy))),
            instructions.map(|counted| format!("{:.0}", counted.instructions)),
            instructions.map(|counted| format!("{:.2}", counts::total(&counted.allocations))),
        ];
        let figures = figures.map(Option::unwrap_or_default).join(" | ");
        // Writing to a string can't fail.
        writeln!(
            text,
            "| {} | {} | {figures} |",
            one.source_ports, one.workers
        )
        .unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_several_over_one() {
        let table = markdown(&[Workers {
            source_ports: 64,
            workers: 2,
            one_us: vec![50.0, 100.0],
            several_us: vec![60.0, 120.0],
            handed_over: vec![3.0, 3.5],
        }]);
        let row = "| 64 | 2 | 75 µs | 90 µs | 1.20 × | <= 1.1 × | **no** | 3.25 |";
        assert!(table.contains(row), "{table}");
    }
}
