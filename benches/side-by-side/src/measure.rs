//! One measurement: load on a server, and what the server spent on it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::load::{Answering, CalleePlan, CalleeReport, Plan, Report};
use crate::machine::Machine;
use crate::process;
use crate::scenario::{CALLEES, Scenario};
use crate::server::{Product, Server};

/// From 180 to 200.
const RING_MS: u64 = 10;

/// What one run of the load showed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Round {
    /// The server.
    pub(crate) product: Product,
    /// Processor time of all its threads and processes for each transaction that was completed.
    pub(crate) cpu_us: f64,
    /// How much of its core it used; clearly less than 1 means that it was not saturated.
    pub(crate) server_share: f64,
    /// How much of their core callers and callees used; near 1 means that they were what is slow.
    pub(crate) load_share: f64,
    /// Completed transactions.
    pub(crate) per_second: f64,
    /// What the callers saw.
    pub(crate) report: Report,
}

impl Round {
    /// Nothing has gone wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.report.failed == 0 && self.report.faults.is_empty() && self.report.completed > 0
    }

    /// In one line.
    pub(crate) fn line(&self) -> String {
        let report = &self.report;
        let mut line = format!(
            "{:9} {:8.1} µs {:8.0}/s  server {:3.0} %, load {:3.0} % of a core, {} failed, {} sent again",
            self.product.name(),
            self.cpu_us,
            self.per_second,
            self.server_share * 100.0,
            self.load_share * 100.0,
            report.failed,
            report.retransmissions,
        );
        if report.ringing.count > 0 {
            let (p50, p99) = (report.ringing.p50_us, report.ringing.p99_us);
            line.push_str(&format!(", rings after {p50:.0} µs, p99 {p99:.0} µs"));
        }
        if !self.is_clean() {
            line.push_str(&format!(
                " — faults {:?}, statuses {:?}",
                report.faults, report.statuses
            ));
        }
        line
    }
}

/// Puts the load on the server.
pub(crate) fn round(
    machine: &Machine,
    server: &Server,
    callees: Option<&Callees>,
    plan: &Plan,
) -> Result<Round, Failure> {
    let processes = server.processes();
    let callees_cpu = || callees.map_or(0, |callees| process::cpu_ns(&[callees.process()]));
    let (server_before, callees_before) = (process::cpu_ns(&processes), callees_cpu());
    let report = generate(machine, plan)?;
    let server_ns = process::cpu_ns(&processes).saturating_sub(server_before) as f64;
    let load_ns = (callees_cpu().saturating_sub(callees_before) + report.cpu_ns) as f64;
    let elapsed_ns = (report.seconds * 1e9).max(1.0);
    Ok(Round {
        product: server.product,
        cpu_us: server_ns / 1e3 / (report.completed.max(1) as f64),
        server_share: server_ns / elapsed_ns,
        load_share: load_ns / elapsed_ns,
        per_second: report.completed as f64 / report.seconds.max(1e-9),
        report,
    })
}

/// Runs the callers' side to its end.
pub(crate) fn generate(machine: &Machine, plan: &Plan) -> Result<Report, Failure> {
    let child = load_process(machine, "generate", plan, Stdio::null())?;
    let output = child
        .wait_with_output()
        .map_err(|error| Failure::NotStarted("the load".to_owned(), error))?;
    understood(&output.stdout)
}

/// Registers all users of a scenario.
pub(crate) fn prepare(
    machine: &Machine,
    scenario: Scenario,
    product: Product,
) -> Result<(), Failure> {
    let Some(plan) = scenario.preparation(product) else {
        return Ok(());
    };
    register(machine, &plan).map(drop)
}

/// All registrations of the plan have to go well.
pub(crate) fn register(machine: &Machine, plan: &Plan) -> Result<Report, Failure> {
    let report = generate(machine, plan)?;
    if report.completed == plan.count {
        return Ok(report);
    }
    let (failed, statuses, faults) = (report.failed, &report.statuses, &report.faults);
    Err(Failure::Unclean(format!(
        "{failed} of {} registrations failed: statuses {statuses:?}, faults {faults:?}",
        plan.count
    )))
}

/// Those who are called, as long as this lives.
pub(crate) struct Callees {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Callees {
    /// Starts them and waits until they can be called.
    pub(crate) fn start(machine: &Machine, scenario: Scenario) -> Result<Self, Failure> {
        let plan = CalleePlan {
            addresses: CALLEES.to_vec(),
            transport: scenario.transport(),
            ring_ms: RING_MS,
        };
        let mut child = load_process(machine, "answer", &plan, Stdio::piped())?;
        let output = child
            .stdout
            .take()
            .ok_or(Failure::Nothing("no output of the callees"))?;
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output
            .read_line(&mut line)
            .map_err(Failure::file("the callees' output"))?;
        let _: Answering = understood(line.as_bytes())?;
        Ok(Self { child, output })
    }

    /// Their process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends them and returns what they saw.
    pub(crate) fn stop(mut self) -> Result<CalleeReport, Failure> {
        drop(self.child.stdin.take());
        let mut text = Vec::new();
        self.output
            .read_to_end(&mut text)
            .map_err(Failure::file("the callees' output"))?;
        understood(&text)
    }
}

impl Drop for Callees {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // They end with their input.
        self.child.wait().ok();
    }
}

/// Starts a process of the load, on its core.
fn load_process(
    machine: &Machine,
    command: &str,
    plan: &impl Serialize,
    input: Stdio,
) -> Result<Child, Failure> {
    let plan =
        serde_json::to_string(plan).map_err(|error| Failure::Report(command.to_owned(), error))?;
    let own = std::env::current_exe().map_err(Failure::file("this program"))?;
    let core: Vec<usize> = machine.load_core.into_iter().collect();
    machine
        .placed(&core, own)?
        .args([command, &plan])
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::NotStarted("the load".to_owned(), error))
}

fn understood<T: for<'a> Deserialize<'a>>(text: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(text)
        .map_err(|error| Failure::Report(String::from_utf8_lossy(text).into_owned(), error))
}
