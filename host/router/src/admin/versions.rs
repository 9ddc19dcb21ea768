//! The numbers of policy versions and of the canary, for `/metrics`.

use std::sync::Arc;

use patchbay_policy::{Fault, Hook, PolicyReport, Version, VersionReport};

use super::Admin;
use crate::hooks::HookHost;
use crate::metrics::Reading;
use crate::rollout::SideCounts;

/// The quantiles of hook times.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99)];

type Labels = Vec<(&'static str, String)>;

pub(super) fn readings(admin: &Admin) -> Vec<Reading> {
    let policies = admin.shared.policies.list();
    let loaded: Vec<(&PolicyReport, &VersionReport)> = policies
        .iter()
        .flat_map(|policy| policy.versions.iter().map(move |version| (policy, version)))
        .filter(|(_, version)| version.number.is_some())
        .collect();
    let mut readings = Vec::new();
    // All of one name stand together.
    for (policy, version) in &loaded {
        for (hook, calls) in Hook::ALL.iter().zip(version.counts.calls) {
            let labels = labels(policy, version, ("hook", hook.name().replace('-', "_")));
            readings.push(counter(
                "policy_version_calls_total",
                "Hook runs of a policy version.",
                labels,
                calls,
            ));
        }
    }
    for (policy, version) in &loaded {
        for (kind, faults) in Fault::NAMES.iter().zip(version.counts.faults) {
            readings.push(counter(
                "policy_version_faults_total",
                "Faults of a policy version.",
                labels(policy, version, ("fault", (*kind).to_owned())),
                faults,
            ));
        }
    }
    for (policy, version) in &loaded {
        for (name, share) in QUANTILES {
            let Some(time) = version.counts.times.quantile(share) else {
                continue;
            };
            readings.push(Reading {
                name: "policy_version_hook_seconds",
                help: "Hook times of a policy version, within an eighth.",
                counter: false,
                labels: labels(policy, version, ("quantile", name.to_owned())),
                value: time.as_secs_f64(),
            });
        }
    }
    for (policy, version) in &loaded {
        readings.push(Reading {
            name: "policy_version_pinned",
            help: "Live transactions that end in a policy version.",
            counter: false,
            labels: labels(
                policy,
                version,
                ("state", version.state.as_str().to_owned()),
            ),
            value: version.pinned as f64,
        });
    }
    readings.extend(canary_readings(admin));
    readings
}

fn labels(policy: &PolicyReport, version: &VersionReport, more: (&'static str, String)) -> Labels {
    vec![
        ("policy", policy.name.clone()),
        ("version", version.digest.short().to_owned()),
        more,
    ]
}

fn counter(name: &'static str, help: &'static str, labels: Labels, value: u64) -> Reading {
    Reading {
        name,
        help,
        counter: true,
        labels,
        value: value as f64,
    }
}

/// One side of a canary.
struct Side {
    labels: Labels,
    counts: SideCounts,
}

fn side_labels(version: &Version<HookHost>, side: &str) -> Labels {
    vec![
        ("policy", version.name().to_string()),
        ("version", version.digest().short().to_owned()),
        ("side", side.to_owned()),
    ]
}

/// The version that runs where the canary might.
fn stable_version(admin: &Admin, canary: &Version<HookHost>) -> Option<Arc<Version<HookHost>>> {
    let policies = &admin.shared.policies;
    match policies.active_of(canary.name()) {
        Some(active) => active.load(),
        None => policies.active(),
    }
}

/// Both sides since the canary began; nothing without one.
fn canary_readings(admin: &Admin) -> Vec<Reading> {
    let Some(canary) = admin.shared.rollout.canary() else {
        return Vec::new();
    };
    let (own, stable) = canary.sides();
    let own = Side {
        labels: side_labels(canary.version(), "canary"),
        counts: own,
    };
    // Without an active version nothing runs beside it.
    let stable = stable_version(admin, canary.version()).map(|version| Side {
        labels: side_labels(&version, "stable"),
        counts: stable,
    });
    let mut readings = vec![Reading {
        name: "policy_canary_ratio",
        help: "The share of new dialogs that the canary gets.",
        counter: false,
        labels: own.labels.clone(),
        value: canary.rule().percent / 100.0,
    }];
    let sides: Vec<Side> = std::iter::once(own).chain(stable).collect();
    readings.extend(sides.iter().map(|side| {
        counter(
            "policy_canary_requests_total",
            "New requests outside of dialogs since the canary began.",
            side.labels.clone(),
            side.counts.requests,
        )
    }));
    for side in &sides {
        for (class, responses) in side.counts.finals.iter().enumerate().skip(1) {
            let mut labels = side.labels.clone();
            labels.push(("class", format!("{}xx", class + 1)));
            readings.push(counter(
                "policy_canary_responses_total",
                "Final responses since the canary began.",
                labels,
                *responses,
            ));
        }
    }
    readings
}
