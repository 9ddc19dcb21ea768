//! The same step among more and more of something.

use crate::suite::{Suite, measure_interleaved};
use crate::{connections, counted, is_chosen, table};

/// What grows, what it is, and the suites of each size.
struct Curve {
    name: &'static str,
    what: &'static str,
    sizes: [u64; 3],
    make: fn(u64) -> Box<dyn Suite>,
}

const CURVES: [Curve; 4] = [
    Curve {
        name: "transactions",
        what: "live calls that ring",
        sizes: [0, 10_000, 100_000],
        make: crate::calls::among,
    },
    Curve {
        name: "registrations",
        what: "registrations",
        sizes: [10_000, 100_000, 1_000_000],
        make: crate::location::among,
    },
    Curve {
        name: "timers",
        what: "timers",
        sizes: [10_000, 100_000, 1_000_000],
        make: crate::timers::among,
    },
    Curve {
        name: "policies",
        what: "loaded policies",
        sizes: [1, 10, 100],
        make: |count| crate::policies::among(u32::try_from(count).unwrap_or(u32::MAX)),
    },
];

/// Prints the curves of these names, or all.
pub(crate) fn run(names: &[String]) {
    for curve in CURVES.iter().filter(|curve| is_chosen(curve.name, names)) {
        curve.print();
    }
    if is_chosen("connections", names) {
        connections::print();
    }
}

/// The suite of one size: `transactions-10000`.
pub(crate) fn suite_of(name: &str) -> Option<Box<dyn Suite>> {
    let (curve, size) = name.rsplit_once('-')?;
    let curve = CURVES.iter().find(|found| found.name == curve)?;
    Some((curve.make)(size.parse().ok()?))
}

impl Curve {
    fn print(&self) {
        eprintln!("{}: CPU time", self.name);
        let mut suites = self.sizes.map(self.make);
        let mut borrowed: Vec<&mut dyn Suite> =
            suites.iter_mut().map(|suite| &mut **suite as _).collect();
        let costs = measure_interleaved(&mut borrowed);
        drop(suites);
        let sizes = self
            .sizes
            .map(|size| (size.to_string(), format!("{}-{size}", self.name)));
        let suites: Vec<&str> = sizes.iter().map(|(_, suite)| suite.as_str()).collect();
        let counts = counted::count(&suites);
        table::print_growth(self.what, &sizes, &costs, &counts);
    }
}
