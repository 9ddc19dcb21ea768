//! Many contacts: what each costs in memory, and what is left of them after a restart.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::failure::Failure;
use crate::load::Plan;
use crate::machine::Machine;
use crate::measure::{Callees, generate, round};
use crate::process::resident_bytes;
use crate::scenario::Scenario;
use crate::server::{Product, Server, Setup};

/// Contacts that are called after a restart, spread evenly over all.
const SAMPLE: u64 = 2000;
/// How long a server may take to read what it has stored.
const PATIENCE: Duration = Duration::from_secs(300);
/// RFC 3261 §17.2.2: Timer J; until then a server keeps each answer for retransmissions of its request.
const TRANSACTIONS_END: Duration = Duration::from_secs(35);
/// For servers that stand still for a while.
const T1_MS: u64 = 2000;

/// What a number of contacts meant to a server.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Contacts {
    product: Product,
    contacts: u64,
    /// In memory: what the resident size grew by, for each, when the transactions have ended.
    bytes_per_contact: f64,
    /// The resident size right after the registrations, and when their transactions have ended.
    peak_bytes: u64,
    resident_bytes: u64,
    /// Processor time of the first registration of each.
    first_us: f64,
    /// Stored: the same.
    stored_us: f64,
    /// From the signal to the end.
    stop_seconds: f64,
    /// From the start to the first answer.
    start_seconds: f64,
    /// How many of the sample were not found after the restart.
    lost: u64,
}

/// One server after the other, with each number of contacts.
pub(crate) fn measure(
    machine: &Machine,
    products: &[Product],
    counts: &[u64],
) -> Result<Vec<Contacts>, Failure> {
    let mut all = Vec::new();
    for &contacts in counts {
        for &product in products {
            let mut result = in_memory(machine, product, contacts)?;
            restart(machine, &mut result)?;
            all.push(result);
        }
    }
    Ok(all)
}

fn in_memory(machine: &Machine, product: Product, contacts: u64) -> Result<Contacts, Failure> {
    let server = Server::start(machine, product, &Setup::default())?;
    let before = resident_bytes(&server.processes());
    let plan = registrations(Scenario::Register, product, contacts);
    let round = round(machine, &server, None, &plan)?;
    complete(&round.report, contacts)?;
    let peak = resident_bytes(&server.processes());
    std::thread::sleep(TRANSACTIONS_END);
    let after = resident_bytes(&server.processes());
    let bytes_per_contact = after.saturating_sub(before) as f64 / contacts as f64;
    eprintln!(
        "{:9} {contacts} contacts: {bytes_per_contact:.0} bytes each, {} MiB in all, {} MiB at first, first registration {:.1} µs",
        product.name(),
        after >> 20,
        peak >> 20,
        round.cpu_us,
    );
    Ok(Contacts {
        product,
        contacts,
        bytes_per_contact,
        peak_bytes: peak,
        resident_bytes: after,
        first_us: round.cpu_us,
        stored_us: 0.0,
        stop_seconds: 0.0,
        start_seconds: 0.0,
        lost: 0,
    })
}

/// Stores them in an empty store, ends the server, and calls a sample after it has started again.
fn restart(machine: &Machine, result: &mut Contacts) -> Result<(), Failure> {
    let product = result.product;
    let setup = Setup {
        stored: true,
        patience: PATIENCE,
        ..Setup::default()
    };
    let server = Server::start(machine, product, &setup)?;
    let folder = server.folder.clone();
    let plan = registrations(Scenario::RegisterStored, product, result.contacts);
    let round = round(machine, &server, None, &plan)?;
    complete(&round.report, result.contacts)?;
    result.stored_us = round.cpu_us;
    result.stop_seconds = server.stop().as_secs_f64();

    let server = Server::start(machine, product, &setup)?;
    result.start_seconds = server.ready_after.as_secs_f64();
    result.lost = lost(machine, product, result.contacts)?;
    server.stop();
    fs::remove_dir_all(&folder).map_err(Failure::file(&folder))?;
    eprintln!(
        "{:9} {} stored contacts, {:.1} µs each: ends in {:.1} s, answers {:.1} s after the start, {} of {SAMPLE} lost",
        product.name(),
        result.contacts,
        result.stored_us,
        result.stop_seconds,
        result.start_seconds,
        result.lost,
    );
    Ok(())
}

fn registrations(scenario: Scenario, product: Product, contacts: u64) -> Plan {
    let mut plan = scenario.plan(product);
    plan.users = contacts;
    plan.count = contacts;
    plan.t1_ms = T1_MS;
    plan
}

fn complete(report: &crate::load::Report, contacts: u64) -> Result<(), Failure> {
    if report.completed == contacts {
        return Ok(());
    }
    let (statuses, faults) = (&report.statuses, &report.faults);
    Err(Failure::Unclean(format!(
        "of {contacts} contacts {} were registered: statuses {statuses:?}, faults {faults:?}",
        report.completed
    )))
}

/// How many calls to the sample find nobody.
fn lost(machine: &Machine, product: Product, contacts: u64) -> Result<u64, Failure> {
    let callees = Callees::start(machine, Scenario::Invite)?;
    let mut plan = Scenario::Invite.plan(product);
    plan.users = contacts;
    plan.step = (contacts / SAMPLE).max(1);
    plan.count = SAMPLE;
    let report = generate(machine, &plan)?;
    callees.stop()?;
    Ok(report.failed)
}

/// All of it as Markdown.
pub(crate) fn markdown(all: &[Contacts]) -> String {
    let mut text = "| contacts | server | memory each | resident | right after | first registration | the same, stored | ends in | answers after | lost |\n\
        | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for one in all {
        // Writing to a string can't fail.
        writeln!(
            text,
            "| {} | {} | {:.0} B | {} MiB | {} MiB | {:.1} µs | {:.1} µs | {:.1} s | {:.1} s | {:.1} % |",
            one.contacts,
            one.product.name(),
            one.bytes_per_contact,
            one.resident_bytes >> 20,
            one.peak_bytes >> 20,
            one.first_us,
            one.stored_us,
            one.stop_seconds,
            one.start_seconds,
            one.lost as f64 * 100.0 / SAMPLE as f64,
        )
        .unwrap_or_default();
    }
    text
}
