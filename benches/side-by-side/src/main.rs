//! Measures Patchbay beside Kamailio: the same load on the same core, one after the other, again and again. `docs/performance.md` says how.

mod compare;
mod contacts;
mod counts;
mod failure;
mod load;
mod machine;
mod measure;
mod page;
mod process;
mod scenario;
mod server;
mod statistics;
mod system;
mod table;
mod workers;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;

use compare::{Extent, compare};
use counts::{Parts, Subject};
use failure::Failure;
use load::Pace;
use machine::Machine;
use scenario::Scenario;
use server::Product;
use table::Results;
use tempfile::TempDir;

/// INVITEs each second for the added latency.
const LATENCY_RATE: f64 = 600.0;

/// Measures Patchbay beside Kamailio.
///
/// Without a command: the table of docs/performance.md. Progress goes to stderr, the table to stdout. Example:
/// cargo xtask bench side-by-side --scenarios invite,register --parts cpu --rounds 3
#[derive(Debug, Parser)]
#[command(name = "side-by-side", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Action>,
    #[command(flatten)]
    table: TableArguments,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Many contacts: memory of each, and what is left after a restart.
    Contacts {
        /// How many.
        #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
        counts: Vec<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// Several workers of Patchbay over one: time and messages handed over per call.
    Workers {
        /// How many are compared with one.
        #[arg(long, default_value_t = 2)]
        workers: usize,
        /// Seconds of each round.
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Rounds of each, in turn.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// What to measure; there is no latency here.
        #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Cpu])]
        parts: Vec<Part>,
        #[command(flatten)]
        common: Common,
    },
    /// Calls, registers or pings by a plan in JSON.
    #[command(hide = true)]
    Generate {
        /// The plan.
        plan: String,
    },
    /// Answers calls by a plan in JSON until the standard input ends.
    #[command(hide = true)]
    Answer {
        /// The plan.
        plan: String,
    },
    /// Becomes another program, on certain cores, in a session of its own.
    #[command(hide = true)]
    Place {
        /// May be given several times.
        #[arg(long = "core")]
        cores: Vec<usize>,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct TableArguments {
    /// What the load does.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Scenario::ALL)]
    scenarios: Vec<Scenario>,
    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::ALL)]
    parts: Vec<Part>,
    /// Seconds of each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds of each server, in turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Workers of each server, on as many cores.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// The servers.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Product::Kamailio, Product::Patchbay])]
    servers: Vec<Product>,
    /// The router; default: beside this program.
    #[arg(long, value_name = "FILE")]
    patchbay: Option<PathBuf>,
    /// The folder with bench.wasm; default: target/policies.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Writes everything that was measured.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Puts the table into docs/performance.md.
    #[arg(long)]
    update_docs: bool,
}

impl Common {
    fn machine(&self, folder: &Path) -> Result<Machine, Failure> {
        Machine::new(folder, self.patchbay.clone(), self.policies.clone())
    }
}

/// What can be measured of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Processor time per transaction, saturated.
    Cpu,
    /// From INVITE to 180 at a fixed rate.
    Latency,
    /// System calls per call, with strace.
    SystemCalls,
    /// Instructions and allocations per call, with valgrind.
    Instructions,
}

impl Part {
    const ALL: [Part; 4] = [
        Part::Cpu,
        Part::Latency,
        Part::SystemCalls,
        Part::Instructions,
    ];
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(action) => act(action),
        None => show_table(&arguments.table),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("side-by-side: {failure}");
            ExitCode::from(1)
        }
    }
}

fn act(action: Action) -> Result<(), Failure> {
    match action {
        Action::Contacts { counts, common } => show_contacts(&counts, &common),
        Action::Workers {
            workers,
            seconds,
            rounds,
            parts,
            common,
        } => {
            let extent = workers::Extent {
                workers,
                seconds,
                rounds,
            };
            show_workers(extent, &parts, &common)
        }
        Action::Generate { plan } => {
            let report = load::generate(understood(&plan)?).map_err(Failure::file("the load"))?;
            print_json(&report)
        }
        Action::Answer { plan } => {
            let report = load::answer(&understood(&plan)?).map_err(Failure::file("the callees"))?;
            print_json(&report)
        }
        Action::Place { cores, command } => {
            let Some((program, arguments)) = command.split_first() else {
                return Err(Failure::Nothing("no program"));
            };
            let error = machine::place(&cores, program, arguments);
            Err(Failure::NotStarted(
                program.to_string_lossy().into_owned(),
                error,
            ))
        }
    }
}

fn understood<T: for<'a> serde::Deserialize<'a>>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Report(text.to_owned(), error))
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::Report("a report".to_owned(), error))?;
    writeln!(std::io::stdout(), "{text}").map_err(Failure::file("the standard output"))
}

/// The servers that are asked for and there.
fn available(servers: &[Product]) -> Result<Vec<Product>, Failure> {
    let mut products = servers.to_vec();
    products.sort();
    products.dedup();
    if products.contains(&Product::Kamailio) && !server::has_kamailio() {
        products.retain(|&product| product != Product::Kamailio);
    }
    if products.is_empty() {
        return Err(Failure::Nothing("no server is there"));
    }
    Ok(products)
}

fn show_table(arguments: &TableArguments) -> Result<(), Failure> {
    let common = &arguments.common;
    let extent = Extent {
        products: available(&common.servers)?,
        seconds: arguments.seconds,
        rounds: arguments.rounds,
        workers: arguments.workers,
    };
    let folder = temporary()?;
    let machine = common.machine(folder.path())?;
    let wanted = |part| arguments.parts.contains(&part);
    let mut results = Results::default();
    if wanted(Part::Cpu) {
        let scenarios: Vec<_> = arguments.scenarios.iter().map(|&one| (one, None)).collect();
        results.saturated = compare(&machine, &extent, &scenarios)?;
    }
    if wanted(Part::SystemCalls) || wanted(Part::Instructions) {
        let parts = Parts {
            system_calls: wanted(Part::SystemCalls),
            instructions: wanted(Part::Instructions),
        };
        let subject = |&product: &Product| Subject {
            product,
            scenario: Scenario::Invite,
            workers: 1,
            source_ports: None,
        };
        let subjects: Vec<_> = extent.products.iter().map(subject).collect();
        results.counts = counts::count(&machine, &subjects, parts)?;
    }
    if wanted(Part::Latency) {
        let pace = Some(Pace::Rate(LATENCY_RATE));
        results.latency = compare(&machine, &extent, &[(Scenario::Invite, pace)])?;
    }
    let rows = results.rows();
    let everything = json!({ "rows": rows, "measured": results });
    finish(common, "side-by-side", &table::markdown(&rows), &everything)
}

fn show_contacts(counts: &[u64], common: &Common) -> Result<(), Failure> {
    let products = available(&common.servers)?;
    let folder = temporary()?;
    let machine = common.machine(folder.path())?;
    let results = contacts::measure(&machine, &products, counts)?;
    let table = contacts::markdown(&results);
    finish(common, "contacts", &table, &json!({ "contacts": results }))
}

fn show_workers(extent: workers::Extent, parts: &[Part], common: &Common) -> Result<(), Failure> {
    let folder = temporary()?;
    let machine = common.machine(folder.path())?;
    let counted = Parts {
        system_calls: parts.contains(&Part::SystemCalls),
        instructions: parts.contains(&Part::Instructions),
    };
    let mut tables = Vec::new();
    let mut everything = serde_json::Map::new();
    if parts.contains(&Part::Cpu) {
        let results = workers::measure(&machine, extent)?;
        tables.push(workers::markdown(&results));
        everything.insert("workers".to_owned(), json!(results));
    }
    if counted.system_calls || counted.instructions {
        let results = workers::count(&machine, extent.workers, counted)?;
        tables.push(workers::counts_markdown(&results));
        everything.insert("counts".to_owned(), json!(results));
    }
    finish(common, "workers", &tables.join("\n"), &json!(everything))
}

fn temporary() -> Result<TempDir, Failure> {
    tempfile::tempdir().map_err(Failure::file("a temporary folder"))
}

/// Shows the results, and leaves them where they are wanted.
fn finish(
    common: &Common,
    name: &str,
    table: &str,
    results: &serde_json::Value,
) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{table}").map_err(Failure::file("the standard output"))?;
    if let Some(path) = &common.json {
        fs::write(path, format!("{results:#}\n")).map_err(Failure::file(path))?;
    }
    if common.update_docs {
        page::update(name, table)?;
    }
    Ok(())
}
