//! The run side by side: the same load on each server in turn, again and again.

use serde::Serialize;

use crate::failure::Failure;
use crate::load::{Pace, Report};
use crate::machine::Machine;
use crate::measure::{Callees, Round, generate, prepare, round};
use crate::scenario::Scenario;
use crate::server::{Product, Server, Setup};
use crate::statistics::{median, ratio_of_neighbours, spread};

/// Before anything is measured.
const WARM_UP_SECONDS: f64 = 1.0;
/// A server that uses less of its core under a saturating load was held up by something else.
const SATURATED: f64 = 0.9;
/// Callers and callees that use more of theirs may be what is slow.
const LOAD_LIMIT: f64 = 0.95;

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Extent {
    /// The servers.
    pub(crate) products: Vec<Product>,
    /// How long each round is.
    pub(crate) seconds: f64,
    /// Rounds of each server.
    pub(crate) rounds: usize,
    /// Workers of each server.
    pub(crate) workers: usize,
}

/// What the rounds of a scenario showed, in pairs of neighbours.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// What was done.
    pub(crate) scenario: Scenario,
    /// At which pace, in words.
    pub(crate) pace: String,
    /// In the order in which they were made.
    pub(crate) rounds: Vec<Round>,
    /// At a fixed rate: the same load with no server between callers and callees.
    pub(crate) direct: Vec<Report>,
}

impl Comparison {
    /// A figure of all rounds of a server.
    pub(crate) fn values(&self, product: Product, figure: impl Fn(&Round) -> f64) -> Vec<f64> {
        let rounds = self.rounds.iter().filter(|round| round.product == product);
        rounds.map(figure).collect()
    }

    /// The median of a figure.
    pub(crate) fn median(&self, product: Product, figure: impl Fn(&Round) -> f64) -> Option<f64> {
        median(&self.values(product, figure))
    }

    /// Ours over theirs.
    pub(crate) fn ratio(&self, figure: impl Fn(&Round) -> f64) -> Option<f64> {
        let ours = self.values(Product::Patchbay, &figure);
        ratio_of_neighbours(&ours, &self.values(Product::Kamailio, &figure))
    }

    /// The time from INVITE to 180 with no server in between.
    pub(crate) fn direct_p50_us(&self) -> Option<f64> {
        let times: Vec<f64> = self.direct.iter().map(|one| one.ringing.p50_us).collect();
        median(&times)
    }

    /// How much the rounds of a server differ.
    pub(crate) fn spread(&self, product: Product, figure: impl Fn(&Round) -> f64) -> Option<f64> {
        spread(&self.values(product, figure))
    }

    /// Transactions of a server that failed.
    pub(crate) fn failed(&self, product: Product) -> u64 {
        let rounds = self.rounds.iter().filter(|round| round.product == product);
        rounds.map(|round| round.report.failed).sum()
    }
}

/// The scenarios that the same servers can serve, one after the other.
pub(crate) fn compare(
    machine: &Machine,
    extent: &Extent,
    scenarios: &[(Scenario, Option<Pace>)],
) -> Result<Vec<Comparison>, Failure> {
    let mut comparisons = Vec::new();
    let mut setups: Vec<Setup> = Vec::new();
    for (scenario, _) in scenarios {
        let setup = setup(*scenario, extent);
        if !setups.contains(&setup) {
            setups.push(setup);
        }
    }
    for wanted in setups {
        let servers = extent.products.iter();
        let servers: Vec<Server> = servers
            .map(|&product| Server::start(machine, product, &wanted))
            .collect::<Result<_, _>>()?;
        for &(scenario, pace) in scenarios {
            if setup(scenario, extent) == wanted {
                comparisons.push(measure(machine, extent, &servers, scenario, pace)?);
            }
        }
    }
    Ok(comparisons)
}

fn setup(scenario: Scenario, extent: &Extent) -> Setup {
    Setup {
        workers: extent.workers,
        cores: extent.workers,
        ..scenario.setup()
    }
}

/// One scenario: a round of each server in turn.
fn measure(
    machine: &Machine,
    extent: &Extent,
    servers: &[Server],
    scenario: Scenario,
    pace: Option<Pace>,
) -> Result<Comparison, Failure> {
    let pace = pace.unwrap_or(scenario.saturating());
    let mut comparison = Comparison {
        scenario,
        pace: in_words(pace),
        rounds: Vec::new(),
        direct: Vec::new(),
    };
    eprintln!("{}, {}:", scenario.title(), comparison.pace);
    let callees = scenario
        .needs_callees()
        .then(|| Callees::start(machine, scenario))
        .transpose()?;
    let load = |server: &Server, seconds| {
        let mut plan = scenario.plan(server.product);
        plan.pace = pace;
        plan.seconds = seconds;
        round(machine, server, callees.as_ref(), &plan)
    };
    for server in servers {
        prepare(machine, scenario, server.product)?;
        load(server, WARM_UP_SECONDS)?;
    }
    for _ in 0..extent.rounds {
        for server in servers {
            let round = load(server, extent.seconds)?;
            eprintln!("  {}", round.line());
            comparison.rounds.push(round);
        }
        if let Pace::Rate(_) = pace
            && scenario.needs_callees()
        {
            let mut plan = scenario.direct();
            plan.pace = pace;
            plan.seconds = extent.seconds;
            let report = generate(machine, &plan)?;
            eprintln!("  no server  rings after {:.0} µs", report.ringing.p50_us);
            comparison.direct.push(report);
        }
    }
    if let Pace::Window(_) = pace {
        servers
            .iter()
            .for_each(|server| judge(&comparison, server.product));
    }
    if let Some(callees) = callees {
        let report = callees.stop()?;
        if !report.faults.is_empty() {
            let faults = report.faults;
            return Err(Failure::Unclean(format!(
                "callees got damaged requests: {faults:?}"
            )));
        }
    }
    Ok(comparison)
}

/// Says when the figures are not those of a saturated server.
fn judge(comparison: &Comparison, product: Product) {
    let server = comparison.median(product, |round| round.server_share);
    if server.is_some_and(|share| share < SATURATED) {
        eprintln!(
            "  {} was not saturated: other work on its core, or waiting",
            product.name()
        );
    }
    let load = comparison.median(product, |round| round.load_share);
    if load.is_some_and(|share| share > LOAD_LIMIT) {
        eprintln!("  the load may have held {} up", product.name());
    }
}

fn in_words(pace: Pace) -> String {
    match pace {
        Pace::Window(window) => format!("saturated by {window} at a time"),
        Pace::Rate(rate) => format!("{rate}/s"),
    }
}
