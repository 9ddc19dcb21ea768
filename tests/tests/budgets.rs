//! What a call may cost: counts of the real router against `tests/budgets.toml`.
//!
//! The router, optimised (profile `quick`) and with the default policy, runs under callgrind and handles real datagrams, one at a
//! time. What its worker spends on 80 of a kind, less what it spends on 20, is the cost of sixty: that of starting and of waiting
//! cancels out. The end of their transactions is included, so that nothing can be put off to it.
//!
//! With `PATCHBAY_BUDGETS=write` the budgets are written instead: `cargo xtask bench budget --write`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use patchbay_tests::callgrind::{Callgrind, Profile, in_path};
use patchbay_tests::lock_step::LockStep;
use patchbay_tests::router::{Router, Setup, policies};

/// Between two messages, and so between the timers that they set.
const PAUSE: Duration = Duration::from_millis(4);
/// The router compiles its policy when it starts, many times slower than usual.
const START: Duration = Duration::from_secs(240);
/// Transactions live for 64·T1, 9.6 seconds here.
const END_OF_TRANSACTIONS: Duration = Duration::from_secs(60);
const FEW: u64 = 20;
const MANY: u64 = 80;
/// Two measurements agree when they differ by no more than one part in so many.
const AGREEMENT: u64 = 50;
/// How often one kind is measured at most.
const ATTEMPTS: usize = 4;
/// A new budget is the measured count and a part of so many.
const MARGIN: u64 = 33;
/// A count that is smaller than its budget by more than a part of so many deserves a smaller budget.
const BETTER: u64 = 8;

/// What is measured: its name in the file, and one of its kind.
type Kind = (&'static str, fn(&mut LockStep));

const KINDS: [Kind; 4] = [
    ("INVITE call", LockStep::call),
    ("INVITE call, busy to voicemail", LockStep::busy_call),
    ("REGISTER", LockStep::register),
    ("OPTIONS", LockStep::options),
];

/// What one of a kind costs the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    instructions: u64,
    /// A hundred times the allocations: some happen only now and then.
    allocations_of_100: u64,
}

#[test]
fn the_router_keeps_its_budgets() {
    if let Some(reason) = reason_to_skip() {
        println!("SKIPPED, no count was checked: {reason}");
        return;
    }
    let binary = build();
    let mut bench = Bench::start(&binary);
    if std::env::var_os("PATCHBAY_BUDGETS").is_some_and(|what| what == "write") {
        let costs = KINDS.map(|kind| (kind.0, bench.agreed(kind)));
        std::fs::write(budget_file(), budgets_text(&costs)).unwrap();
        println!("{}", budgets_text(&costs));
        return;
    }
    let budgets = read_budgets();
    let mut exceeded = String::new();
    for kind in KINDS {
        let budget = budgets
            .iter()
            .find(|(name, _)| name == kind.0)
            .unwrap_or_else(|| panic!("{} has no budget for {:?}", shown_file(), kind.0))
            .1;
        let cost = bench.within(kind, budget);
        println!("{}", line(kind.0, cost, budget));
        exceeded += &complaint(kind.0, cost, budget);
    }
    assert!(
        exceeded.is_empty(),
        "{exceeded}Find the cause (docs/performance-micro.md, \"When a budget is exceeded\"), or raise the budgets with \
         `cargo xtask bench budget --write` and give the reason in the commit."
    );
}

/// Where valgrind can't be had there is nothing to measure with. Where it can, its absence is an error.
fn reason_to_skip() -> Option<String> {
    if std::env::consts::ARCH != architecture_of_budgets() && !writes() {
        return Some(format!(
            "{} is for {}, this machine is {}; counts of another instruction set say nothing",
            shown_file(),
            architecture_of_budgets(),
            std::env::consts::ARCH
        ));
    }
    if in_path("valgrind").is_some() && in_path("vgdb").is_some() {
        return None;
    }
    let root = in_path("apt-get").is_some()
        && (succeeds("test", &["-w", "/var/lib/dpkg"]) || succeeds("sudo", &["-n", "true"]));
    assert!(
        !root,
        "valgrind is missing and can be installed: run `cargo xtask test`, or `apt-get install valgrind`"
    );
    Some("valgrind is missing, and without apt-get and root it can't be installed".to_owned())
}

fn writes() -> bool {
    std::env::var_os("PATCHBAY_BUDGETS").is_some_and(|what| what == "write")
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

/// The router to measure: `$PATCHBAY_MEASURED`, or the optimised one of the sources as they are, which `cargo xtask test` has built
/// before.
fn build() -> PathBuf {
    if let Some(path) = std::env::var_os("PATCHBAY_MEASURED") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    // TARGET/PROFILE/deps/NAME
    let target = own.ancestors().nth(3).expect("a target directory");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--profile", "quick", "--package", "patchbay"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("run cargo");
    assert!(
        output.status.success(),
        "the optimised router is not built:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    target.join("quick").join("patchbay")
}

/// A router under callgrind, and who talks to it.
struct Bench {
    callgrind: Callgrind,
    router: Router,
    /// Its policies: the default alone, as compiling each of them takes minutes here.
    _policies: TempDir,
    load: LockStep,
}

impl Bench {
    fn start(binary: &Path) -> Bench {
        let callgrind = Callgrind::default();
        let mut load = LockStep::new(PAUSE);
        let mut words = callgrind.command();
        words.push(binary.into());
        let folder = TempDir::new().expect("a temporary folder");
        std::fs::copy(
            policies().join("default.wasm"),
            folder.path().join("default.wasm"),
        )
        .expect("the default policy");
        let router = Setup::new()
            .listen(&["udp:127.0.0.1:0"])
            .setting("voicemail", &load.voicemail_uri())
            // The usual limit of running time is meant for a processor at full speed.
            .section(&format!(
                "[policy]\ndirectory = {:?}\nactive = \"default\"\nhook_deadline = \"10s\"\nhook_timeout = \"20s\"",
                folder.path()
            ))
            .section("[timers]\nt1 = \"150ms\"")
            .section("[registrar]\ndurability = \"memory\"")
            .program(words, START)
            .start();
        load.set_router(router.udp());
        let mut bench = Bench {
            callgrind,
            router,
            _policies: folder,
            load,
        };
        // Whatever is filled once is filled now.
        bench.load.register();
        for (_, one) in KINDS {
            (0..5).for_each(|_| one(&mut bench.load));
        }
        bench.callgrind.start_counting(bench.router.pid());
        let mut warm_up = Profile::default();
        for (_, one) in KINDS {
            warm_up = bench.spent(one, MANY).0;
        }
        assert!(
            warm_up.calls_of(|name| name.contains("driver::Driver")) > 0,
            "the profile names no function of the worker"
        );
        bench
    }

    /// What the worker spends on so many, the end of their transactions included, and the datagrams that came back.
    fn spent(&mut self, one: fn(&mut LockStep), times: u64) -> (Profile, u64) {
        self.load.drain();
        let before = self.load.received();
        (0..times).for_each(|_| one(&mut self.load));
        let deadline = Instant::now() + END_OF_TRANSACTIONS;
        while self.router.metric("patchbay_sip_transactions", "") > 0.0 {
            assert!(Instant::now() < deadline, "transactions don't end");
            std::thread::sleep(Duration::from_millis(200));
        }
        let threads = self.callgrind.take(self.router.pid());
        let worker = threads
            .into_iter()
            .filter(|profile| {
                profile.calls_of(|name| name == "patchbay_core::core::Core::handle") > 0
            })
            .max_by_key(|profile| profile.instructions)
            .expect("a thread that calls the core");
        (worker, self.load.received() - before)
    }

    /// One measurement; `None` when a retransmission or another 100 made one part do more than the other.
    fn measure(&mut self, (_, one): Kind) -> Option<Cost> {
        let (few, few_received) = self.spent(one, FEW);
        let (many, many_received) = self.spent(one, MANY);
        if few_received * MANY != many_received * FEW {
            return None;
        }
        let times = MANY - FEW;
        let more = |of: fn(&Profile) -> u64| of(&many).saturating_sub(of(&few));
        Some(Cost {
            instructions: more(|profile| profile.instructions) / times,
            allocations_of_100: more(Profile::allocations) * 100 / times,
        })
    }

    /// The cost, measured until two measurements agree; the larger of the two.
    fn agreed(&mut self, kind: Kind) -> Cost {
        let mut costs: Vec<Cost> = Vec::new();
        for _ in 0..ATTEMPTS {
            let Some(cost) = self.measure(kind) else {
                continue;
            };
            println!("{}: {cost:?}", kind.0);
            let close = |other: &&Cost| {
                other.instructions.abs_diff(cost.instructions) * AGREEMENT <= cost.instructions
            };
            if let Some(other) = costs.iter().find(close) {
                return Cost {
                    instructions: cost.instructions.max(other.instructions),
                    allocations_of_100: cost.allocations_of_100.max(other.allocations_of_100),
                };
            }
            costs.push(cost);
        }
        panic!("no two measurements of {:?} agree: {costs:?}", kind.0)
    }

    /// The cost. A measurement beyond the budget is repeated, in case something disturbed it.
    fn within(&mut self, kind: Kind, budget: Cost) -> Cost {
        let mut best: Option<Cost> = None;
        for _ in 0..ATTEMPTS {
            let Some(cost) = self.measure(kind) else {
                continue;
            };
            let repeated = best.is_some();
            let least = best.map_or(cost, |best| Cost {
                instructions: best.instructions.min(cost.instructions),
                allocations_of_100: best.allocations_of_100.min(cost.allocations_of_100),
            });
            if repeated || fits(cost, budget) {
                return least;
            }
            best = Some(least);
        }
        best.unwrap_or_else(|| panic!("every measurement of {:?} was disturbed", kind.0))
    }
}

fn fits(cost: Cost, budget: Cost) -> bool {
    cost.instructions <= budget.instructions && cost.allocations_of_100 <= budget.allocations_of_100
}

/// The line of the report.
fn line(name: &str, cost: Cost, budget: Cost) -> String {
    let hint = if cost.instructions + budget.instructions / BETTER < budget.instructions {
        "; much better than its budget: `cargo xtask bench budget --write` keeps it so"
    } else {
        ""
    };
    format!(
        "{name}: {} instructions (budget {}), {} allocations (budget {}){hint}",
        thousands(cost.instructions),
        thousands(budget.instructions),
        hundredths(cost.allocations_of_100),
        hundredths(budget.allocations_of_100),
    )
}

fn complaint(name: &str, cost: Cost, budget: Cost) -> String {
    let mut text = String::new();
    if cost.instructions > budget.instructions {
        let _ = writeln!(
            text,
            "{name}: {} instructions, the budget is {} ({}).",
            thousands(cost.instructions),
            thousands(budget.instructions),
            shown_file()
        );
    }
    if cost.allocations_of_100 > budget.allocations_of_100 {
        let _ = writeln!(
            text,
            "{name}: {} allocations, the budget is {} ({}).",
            hundredths(cost.allocations_of_100),
            hundredths(budget.allocations_of_100),
            shown_file()
        );
    }
    text
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn hundredths(number: u64) -> String {
    format!("{}.{:02}", number / 100, number % 100)
}

fn budget_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("budgets.toml")
}

fn shown_file() -> &'static str {
    "tests/budgets.toml"
}

fn parsed() -> toml::Table {
    let text = std::fs::read_to_string(budget_file()).expect("tests/budgets.toml");
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", shown_file()))
}

fn architecture_of_budgets() -> String {
    parsed()["architecture"].as_str().unwrap().to_owned()
}

fn read_budgets() -> Vec<(String, Cost)> {
    let table = parsed();
    let budgets = table["budget"].as_array().expect("[[budget]]");
    let read = |budget: &toml::Value| {
        let cost = Cost {
            instructions: u64::try_from(budget["instructions"].as_integer().unwrap()).unwrap(),
            allocations_of_100: (budget["allocations"].as_float().unwrap() * 100.0).round() as u64,
        };
        (budget["name"].as_str().unwrap().to_owned(), cost)
    };
    budgets.iter().map(read).collect()
}

/// The file of budgets for these costs.
fn budgets_text(costs: &[(&str, Cost)]) -> String {
    let mut text = format!(
        "# What the router's worker may spend on one of each, in user instructions and allocations; tests/tests/budgets.rs measures it.\n\
         # `cargo xtask bench budget --write` writes this file: what it measures and {} % more. Lower it with every gain. Raise it only\n\
         # with a reason in the commit. docs/performance-micro.md tells how to find the cause of a rise.\n\n\
         architecture = {:?}\n",
        100 / MARGIN,
        std::env::consts::ARCH
    );
    for (name, cost) in costs {
        let instructions = (cost.instructions + cost.instructions / MARGIN).next_multiple_of(100);
        // Half an allocation more than measured: one more in each is found, one now and then is not.
        let allocations = (cost.allocations_of_100 + 50) as f64 / 100.0;
        let _ = write!(
            text,
            "\n[[budget]]\nname = {name:?}\ninstructions = {}\nallocations = {allocations:.2}\n",
            thousands(instructions).replace(',', "_")
        );
    }
    text
}

#[test]
fn a_written_budget_has_room_for_what_was_measured_and_not_for_one_allocation_more() {
    let cost = Cost {
        instructions: 100_000,
        allocations_of_100: 1_210,
    };
    let table: toml::Table = budgets_text(&[("INVITE call", cost)]).parse().unwrap();
    let budget = &table["budget"].as_array().unwrap()[0];
    assert_eq!(budget["instructions"].as_integer(), Some(103_100));
    assert_eq!(budget["allocations"].as_float(), Some(12.6));
}

#[test]
fn a_complaint_says_count_and_budget() {
    let cost = |instructions, allocations_of_100| Cost {
        instructions,
        allocations_of_100,
    };
    let budget = cost(65_000, 1_000);
    assert_eq!(complaint("OPTIONS", cost(65_000, 1_000), budget), "");
    assert_eq!(
        complaint("OPTIONS", cost(71_200, 1_150), budget),
        "OPTIONS: 71,200 instructions, the budget is 65,000 (tests/budgets.toml).\n\
         OPTIONS: 11.50 allocations, the budget is 10.00 (tests/budgets.toml).\n"
    );
    assert!(line("OPTIONS", cost(40_000, 1_000), budget).contains("much better"));
}
