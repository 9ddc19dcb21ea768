//! What single steps cost, and how the cost of a call grows with what else the router holds.
//!
//! Counts of user instructions come from callgrind and of allocations from a counting allocator: both are the same on a busy
//! machine. CPU time is printed beside them and tells less. `docs/performance-micro.md` describes method and results.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement that can't be made ends"
)]

mod allocator;
mod calls;
mod connections;
mod counted;
mod digest;
mod growth;
mod hooks;
mod location;
mod messages;
mod policies;
mod suite;
mod table;
mod timers;

use std::process::ExitCode;

use suite::Suite;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// A name to choose it by, and what makes it.
type Entry = (&'static str, fn() -> Box<dyn Suite>);

/// Single steps.
const MICRO: [Entry; 12] = [
    ("scan", messages::scan),
    ("forward", messages::forward),
    ("respond", messages::respond),
    ("call", calls::call),
    ("options", calls::options),
    ("hook", hooks::three_reads),
    ("hook-lookup", hooks::three_reads_and_lookup),
    ("hook-bench", hooks::bench),
    ("hook-default", hooks::default),
    ("location", location::million),
    ("timers", timers::million),
    ("digest", digest::verify),
];

const USAGE: &str = "\
patchbay-micro micro [NAME...]     instructions, allocations and CPU time of single steps (NAME: part of a suite's name)
patchbay-micro growth [NAME...]    the same step among more and more of something: transactions, registrations, policies, connections";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, names)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match command.as_str() {
        "micro" => micro(names),
        "growth" => growth::run(names),
        // The same program under callgrind, started by itself.
        counted::CHILD => counted::serve(names),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn micro(names: &[String]) {
    let chosen: Vec<Entry> = MICRO
        .into_iter()
        .filter(|(name, _)| is_chosen(name, names))
        .collect();
    let mut rows = Vec::new();
    for (name, make) in &chosen {
        eprintln!("{name}: CPU time and allocations");
        rows.push((*name, suite::measure(make().as_mut())));
    }
    let suites: Vec<&str> = chosen.iter().map(|(name, _)| *name).collect();
    let counts = counted::count(&suites);
    table::print_steps(&rows, &counts);
}

/// Whether a suite was asked for; without names all are.
fn is_chosen(suite: &str, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|name| suite.contains(name.as_str()))
}

/// The suite of this name.
fn suite_of(name: &str) -> Option<Box<dyn Suite>> {
    let micro = MICRO.iter().find(|(found, _)| *found == name);
    micro
        .map(|(_, make)| make())
        .or_else(|| growth::suite_of(name))
}
