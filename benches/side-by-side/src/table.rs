//! The table of results, against what was asked for.

use std::fmt::Write;

use serde::Serialize;

use crate::compare::Comparison;
use crate::counts::{Counts, total};
use crate::measure::Round;
use crate::scenario::Target;
use crate::server::Product;

/// A line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) title: String,
    /// In which unit; empty for a count.
    pub(crate) unit: &'static str,
    /// Kamailio's figure.
    pub(crate) theirs: Option<f64>,
    /// Patchbay's figure.
    pub(crate) ours: Option<f64>,
    /// Ours over theirs: of runs that were neighbours, where there are such.
    pub(crate) ratio: Option<f64>,
    /// Half the distance of the largest and the smallest figure over the median: Kamailio's and ours.
    pub(crate) their_spread: Option<f64>,
    pub(crate) spread: Option<f64>,
    /// What is asked for.
    pub(crate) goal: Option<Goal>,
}

/// Everything that was measured for the table.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    /// With saturated servers.
    pub(crate) saturated: Vec<Comparison>,
    /// Of single calls.
    pub(crate) counts: Vec<Counts>,
    /// At a fixed rate.
    pub(crate) latency: Vec<Comparison>,
}

impl Results {
    /// The table, without what was not measured.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut saturated: Vec<&Comparison> = self.saturated.iter().collect();
        saturated.sort_by_key(|comparison| comparison.scenario);
        let mut rows: Vec<Row> = saturated.into_iter().map(processor_row).collect();
        let counted = count_rows(&self.counts).into_iter();
        rows.extend(counted.filter(|row| row.ours.is_some() || row.theirs.is_some()));
        rows.extend(self.latency.iter().flat_map(latency_rows));
        let compared: Vec<&Comparison> = self.saturated.iter().chain(&self.latency).collect();
        if !compared.is_empty() {
            rows.push(failure_row(&compared));
        }
        rows
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Goal {
    /// Of the ratio.
    Ratio(Target),
    /// Of our own figure.
    Figure(Target),
}

/// The mark of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Missed,
    Met,
    Stretch,
}

/// The row of a saturated scenario.
fn processor_row(comparison: &Comparison) -> Row {
    Row {
        title: comparison.scenario.title().to_owned(),
        unit: "µs",
        theirs: comparison.median(Product::Kamailio, |round| round.cpu_us),
        ours: comparison.median(Product::Patchbay, |round| round.cpu_us),
        ratio: comparison.ratio(|round| round.cpu_us),
        their_spread: comparison.spread(Product::Kamailio, |round| round.cpu_us),
        spread: comparison.spread(Product::Patchbay, |round| round.cpu_us),
        goal: Some(Goal::Ratio(comparison.scenario.target())),
    }
}

/// The rows of what is counted.
fn count_rows(counts: &[Counts]) -> Vec<Row> {
    let figure = |at_most, stretch| Some(Goal::Figure(Target { at_most, stretch }));
    let system_calls = |counts: &Counts, busy: bool| {
        let calls = counts.system_calls.as_ref()?;
        Some(total(if busy { &calls.busy } else { &calls.idle }))
    };
    let instructions = |counts: &Counts| Some(counts.instructions.as_ref()?.instructions);
    let allocations = |counts: &Counts| Some(total(&counts.instructions.as_ref()?.allocations));
    vec![
        count_row(
            "user instructions per call",
            counts,
            instructions,
            figure(100_000.0, Some(60_000.0)),
        ),
        count_row(
            "system calls per call, idle",
            counts,
            |counts| system_calls(counts, false),
            figure(13.0, None),
        ),
        count_row(
            "system calls per call, busy",
            counts,
            |counts| system_calls(counts, true),
            figure(13.0, None),
        ),
        count_row(
            "allocations per call",
            counts,
            allocations,
            figure(10.0, Some(0.0)),
        ),
    ]
}

fn count_row(
    title: &str,
    counts: &[Counts],
    figure: impl Fn(&Counts) -> Option<f64>,
    goal: Option<Goal>,
) -> Row {
    let of = |product| figure(counts.iter().find(|counts| counts.product == product)?);
    let (theirs, ours) = (of(Product::Kamailio), of(Product::Patchbay));
    Row {
        title: title.to_owned(),
        unit: "",
        theirs,
        ours,
        ratio: ours.zip(theirs).map(|(ours, theirs)| ours / theirs),
        their_spread: None,
        spread: None,
        goal,
    }
}

/// The rows of the added latency.
fn latency_rows(comparison: &Comparison) -> Vec<Row> {
    let goal = Goal::Ratio(Target {
        at_most: 0.7,
        stretch: None,
    });
    let pace = &comparison.pace;
    let p50 = |round: &Round| round.report.ringing.p50_us;
    let mut rows = Vec::new();
    if let Some(direct) = comparison.direct_p50_us() {
        rows.push(latency_row(
            comparison,
            format!("added latency INVITE to 180 at {pace}, p50 (without a server {direct:.0} µs)"),
            |round| p50(round) - direct,
            Some(goal),
        ));
    }
    rows.push(latency_row(
        comparison,
        format!("INVITE to 180 at {pace}, p50"),
        p50,
        None,
    ));
    rows.push(latency_row(
        comparison,
        format!("INVITE to 180 at {pace}, p99"),
        |round| round.report.ringing.p99_us,
        None,
    ));
    rows
}

fn latency_row(
    comparison: &Comparison,
    title: String,
    figure: impl Fn(&Round) -> f64,
    goal: Option<Goal>,
) -> Row {
    Row {
        title,
        unit: "µs",
        theirs: comparison.median(Product::Kamailio, &figure),
        ours: comparison.median(Product::Patchbay, &figure),
        ratio: comparison.ratio(&figure),
        their_spread: comparison.spread(Product::Kamailio, &figure),
        spread: comparison.spread(Product::Patchbay, &figure),
        goal,
    }
}

/// The row of what failed, over all runs.
fn failure_row(comparisons: &[&Comparison]) -> Row {
    let failed = |product| {
        let measured = comparisons
            .iter()
            .flat_map(|comparison| &comparison.rounds)
            .any(|round| round.product == product);
        let failed = comparisons.iter().map(|one| one.failed(product));
        measured.then(|| failed.sum::<u64>() as f64)
    };
    Row {
        title: "failed transactions, all scenarios".to_owned(),
        unit: "",
        theirs: failed(Product::Kamailio),
        ours: failed(Product::Patchbay),
        ratio: None,
        their_spread: None,
        spread: None,
        goal: Some(Goal::Figure(Target {
            at_most: 0.0,
            stretch: None,
        })),
    }
}

/// All rows as Markdown.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = "| | Kamailio | Patchbay | ratio | target | stretch | met |\n| --- | --- | --- | --- | --- | --- | --- |\n".to_owned();
    for row in rows {
        let (target, stretch) = row.goal.map_or((String::new(), String::new()), goal_words);
        // Writing to a string can't fail.
        writeln!(
            text,
            "| {} | {}{} | {}{} | {} | {target} | {stretch} | {} |",
            row.title,
            figure(row.theirs, row.unit),
            spread_words(row.their_spread),
            figure(row.ours, row.unit),
            spread_words(row.spread),
            row.ratio
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} ×")),
            mark(row).map_or("", mark_word),
        )
        .unwrap_or_default();
    }
    text
}

fn spread_words(spread: Option<f64>) -> String {
    match spread {
        Some(spread) if spread >= 0.005 => format!(" ± {:.0} %", spread * 100.0),
        _ => String::new(),
    }
}

fn goal_words(goal: Goal) -> (String, String) {
    let (target, unit) = match goal {
        Goal::Ratio(target) => (target, " ×"),
        Goal::Figure(target) => (target, ""),
    };
    let words = |value: f64| format!("<= {}{unit}", grouped(value));
    (
        words(target.at_most),
        target.stretch.map(words).unwrap_or_default(),
    )
}

fn mark(row: &Row) -> Option<Mark> {
    let (value, target) = match row.goal? {
        Goal::Ratio(target) => (row.ratio?, target),
        Goal::Figure(target) => (row.ours?, target),
    };
    // What the table shows as met is met.
    let at_most = |limit: f64| (value * 100.0).round() <= limit * 100.0;
    Some(match target.stretch {
        Some(stretch) if at_most(stretch) => Mark::Stretch,
        _ if at_most(target.at_most) => Mark::Met,
        _ => Mark::Missed,
    })
}

fn mark_word(mark: Mark) -> &'static str {
    match mark {
        Mark::Missed => "**no**",
        Mark::Met => "yes",
        Mark::Stretch => "yes, stretch",
    }
}

fn figure(value: Option<f64>, unit: &str) -> String {
    let Some(value) = value else {
        return "-".to_owned();
    };
    format!("{} {unit}", grouped(value)).trim_end().to_owned()
}

/// As many decimals as tell something, thousands apart.
fn grouped(value: f64) -> String {
    if value < 1000.0 {
        // The sum of nothing is a negative zero.
        let value = value + 0.0;
        let decimals = match value {
            0.0.. if value.fract() == 0.0 => 0,
            ..10.0 => 2,
            ..100.0 => 1,
            _ => 0,
        };
        return format!("{value:.decimals$}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ratio: f64, goal: Goal) -> Row {
        Row {
            title: "a call".to_owned(),
            unit: "µs",
            theirs: Some(135.25),
            ours: Some(60.0),
            ratio: Some(ratio),
            their_spread: None,
            spread: Some(0.02),
            goal: Some(goal),
        }
    }

    const HALF: Goal = Goal::Ratio(Target {
        at_most: 0.5,
        stretch: Some(0.35),
    });

    #[test]
    fn a_row_says_whether_its_target_is_met() {
        assert_eq!(mark(&row(0.51, HALF)), Some(Mark::Missed));
        assert_eq!(mark(&row(0.5, HALF)), Some(Mark::Met));
        assert_eq!(mark(&row(0.35, HALF)), Some(Mark::Stretch));
        let own = Goal::Figure(Target {
            at_most: 59.0,
            stretch: None,
        });
        assert_eq!(mark(&row(0.1, own)), Some(Mark::Missed));
    }

    #[test]
    fn what_was_not_measured_has_no_mark() {
        let mut row = row(0.5, HALF);
        row.ratio = None;
        row.theirs = None;
        assert_eq!(mark(&row), None);
        assert!(
            markdown(&[row])
                .contains("| a call | - | 60 µs ± 2 % | - | <= 0.50 × | <= 0.35 × |  |")
        );
    }

    #[test]
    fn figures_are_short() {
        let shown = [0.0, 0.454, 14.84, 135.6, 7050.4, 266_000.0].map(grouped);
        assert_eq!(shown, ["0", "0.45", "14.8", "136", "7,050", "266,000"]);
    }
}
