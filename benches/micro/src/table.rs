//! Results as text.

use crate::counted::Counts;
use crate::suite::Cost;

/// Prints the steps of suites, one in a line.
pub(crate) fn print_steps(rows: &[(&str, Vec<Cost>)], counts: &Counts) {
    println!("| suite | step | instructions | allocations | CPU, ns (tells of the machine too) |");
    println!("| --- | --- | ---: | ---: | ---: |");
    for (suite, costs) in rows {
        for cost in costs {
            println!(
                "| {suite} | {} | {} | {:.2} | {:.0} |",
                cost.step,
                instructions(counts, suite, cost.step),
                cost.allocations,
                cost.nanoseconds()
            );
        }
    }
}

/// Prints how the cost of each step grows: one line for each size.
pub(crate) fn print_growth(
    what: &str,
    sizes: &[(String, String)],
    costs: &[Vec<Cost>],
    counts: &Counts,
) {
    println!("\n| {what} | step | instructions | ratio | CPU, ns | ratio |");
    println!("| ---: | --- | ---: | ---: | ---: | ---: |");
    let first = &costs[0];
    for (index, base) in first.iter().enumerate() {
        for ((size, suite), costs) in sizes.iter().zip(costs) {
            let cost = &costs[index];
            let of = |suite: &str| {
                counts
                    .get(&(suite.to_owned(), cost.step.to_owned()))
                    .copied()
            };
            let ratio = of(suite).zip(of(&sizes[0].1)).map_or_else(
                || "-".to_owned(),
                |(this, first)| format!("{:.2}", this / first),
            );
            println!(
                "| {size} | {} | {} | {ratio} | {:.0} | {:.2} |",
                cost.step,
                instructions(counts, suite, cost.step),
                cost.nanoseconds(),
                cost.nanoseconds() / base.nanoseconds(),
            );
        }
    }
}

fn instructions(counts: &Counts, suite: &str, step: &str) -> String {
    counts
        .get(&(suite.to_owned(), step.to_owned()))
        .map_or_else(|| "-".to_owned(), |count| format!("{count:.0}"))
}
