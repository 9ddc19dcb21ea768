//! System calls, counted by strace.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Subject, SystemCalls, read};
use crate::failure::Failure;
use crate::load::{Pace, Plan};
use crate::machine::Machine;
use crate::measure::{Callees, generate, prepare};
use crate::server::Server;
use crate::system;

/// Calls at a low rate: so many each second, for so many seconds.
const IDLE_RATE: f64 = 100.0;
const IDLE_SECONDS: f64 = 4.0;
/// Calls with a saturated server, which strace makes slow.
const BUSY_CALLS: u64 = 4000;
/// Until strace has taken hold of all threads.
const SETTLE: Duration = Duration::from_millis(1000);
/// Nothing is to be sent again because strace makes everything slow.
const T1_MS: u64 = 8000;

/// Counts on a server of its own.
pub(super) fn count(machine: &Machine, subject: &Subject) -> Result<SystemCalls, Failure> {
    let scenario = subject.scenario;
    let server = Server::start(machine, subject.product, &subject.setup())?;
    let _callees = scenario
        .needs_callees()
        .then(|| Callees::start(machine, scenario))
        .transpose()?;
    prepare(machine, scenario, subject.product)?;
    let mut plan = subject.plan();
    plan.t1_ms = T1_MS;
    plan.count = 200;
    generate(machine, &plan)?;

    let quiet = strace(machine, &server, || {
        std::thread::sleep(Duration::from_secs_f64(IDLE_SECONDS));
        Ok(1)
    })?;
    plan.pace = Pace::Rate(IDLE_RATE);
    plan.count = (IDLE_RATE * IDLE_SECONDS) as u64;
    let idle = strace(machine, &server, || completed(machine, &plan))?;
    plan.pace = scenario.saturating();
    plan.count = BUSY_CALLS;
    let busy = strace(machine, &server, || completed(machine, &plan))?;
    Ok(SystemCalls {
        idle: idle.for_each_transaction(Some(&quiet)),
        busy: busy.for_each_transaction(None),
    })
}

fn completed(machine: &Machine, plan: &Plan) -> Result<u64, Failure> {
    let report = generate(machine, plan)?;
    if report.failed > 0 {
        let (statuses, faults) = (report.statuses, report.faults);
        return Err(Failure::Unclean(format!(
            "transactions fail under strace: statuses {statuses:?}, faults {faults:?}"
        )));
    }
    Ok(report.completed)
}

/// What strace counted.
struct Counted {
    transactions: u64,
    calls: BTreeMap<String, u64>,
}

impl Counted {
    fn for_each_transaction(&self, without: Option<&Counted>) -> BTreeMap<String, f64> {
        let transactions = self.transactions.max(1) as f64;
        let each = self.calls.iter().map(|(name, &calls)| {
            let others = without.and_then(|without| without.calls.get(name));
            let calls = calls.saturating_sub(others.copied().unwrap_or(0));
            (name.clone(), calls as f64 / transactions)
        });
        each.filter(|(_, calls)| *calls > 0.0).collect()
    }
}

/// Watches all processes of the server during the load.
fn strace(
    machine: &Machine,
    server: &Server,
    load: impl FnOnce() -> Result<u64, Failure>,
) -> Result<Counted, Failure> {
    let output = machine.folder.join("strace");
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-o"]).arg(&output);
    for process in server.processes() {
        command.arg("-p").arg(process.to_string());
    }
    let mut strace = command
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Failure::NotStarted("strace".to_owned(), error))?;
    std::thread::sleep(SETTLE);
    let transactions = load();
    end(&mut strace);
    Ok(Counted {
        transactions: transactions?,
        calls: counts_of(&read(&output)?),
    })
}

/// It writes what it has counted when it is interrupted.
fn end(strace: &mut Child) {
    system::signal(strace.id(), libc::SIGINT);
    // It ends after that, however it does.
    strace.wait().ok();
}

/// The lines of strace's table: share, seconds, µs per call, calls, perhaps errors, name.
fn counts_of(table: &str) -> BTreeMap<String, u64> {
    let rows = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let name = fields.last().filter(|name| **name != "total")?;
        fields.first()?.parse::<f64>().ok()?;
        Some(((*name).to_owned(), fields.get(3)?.parse().ok()?))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           1       400       100 recvmmsg
 40.00    0.000400           1       350           sendmmsg
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           1       750       100 total
";

    #[test]
    fn the_table_of_strace_is_read() {
        let counts = counts_of(TABLE);
        let expected = [("recvmmsg".to_owned(), 400), ("sendmmsg".to_owned(), 350)];
        assert_eq!(counts, BTreeMap::from(expected));
    }

    #[test]
    fn what_an_idle_server_does_is_taken_off() {
        let counted = |transactions, calls| Counted {
            transactions,
            calls: BTreeMap::from([("epoll_wait".to_owned(), calls)]),
        };
        let each = counted(100, 250).for_each_transaction(Some(&counted(1, 50)));
        assert_eq!(each.get("epoll_wait"), Some(&2.0));
    }
}
