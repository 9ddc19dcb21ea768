//! What a load process found, as JSON on its output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::statistics::percentile;

/// What the callers' side saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Transactions (calls are one each) that began.
    pub(crate) started: u64,
    /// That ended well, every answer as it must be.
    pub(crate) completed: u64,
    /// That ended in any other way.
    pub(crate) failed: u64,
    /// Requests sent again.
    pub(crate) retransmissions: u64,
    /// Challenges answered.
    pub(crate) challenges: u64,
    /// Messages that belong to nothing that is going on: late ones.
    pub(crate) late: u64,
    /// Datagrams that the kernel did not take.
    pub(crate) refused: u64,
    /// Final statuses that were not asked for.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// What was wrong with answers.
    pub(crate) faults: BTreeMap<String, u64>,
    /// The time in which transactions began.
    pub(crate) seconds: f64,
    /// From INVITE to 180.
    pub(crate) ringing: Latency,
    /// From the request to its final response.
    pub(crate) answered: Latency,
    /// The processor time of this process.
    pub(crate) cpu_ns: u64,
}

/// How long something took, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// How many were measured.
    pub(crate) count: usize,
    /// Half of them took no longer.
    pub(crate) p50_us: f64,
    /// 99 of 100 took no longer.
    pub(crate) p99_us: f64,
    /// The longest.
    pub(crate) max_us: f64,
}

impl Latency {
    /// Of these nanoseconds.
    pub(crate) fn of(nanoseconds: &mut [u64]) -> Self {
        nanoseconds.sort_unstable();
        let us = |share| percentile(nanoseconds, share).map_or(0.0, |ns| ns as f64 / 1e3);
        Self {
            count: nanoseconds.len(),
            p50_us: us(0.5),
            p99_us: us(0.99),
            max_us: us(1.0),
        }
    }
}

/// What the callees' side saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct CalleeReport {
    /// INVITEs answered with 200, without retransmissions.
    pub(crate) answered: u64,
    /// INVITEs answered with 486.
    pub(crate) busy: u64,
    /// ACKs to a 200.
    pub(crate) acknowledged: u64,
    /// BYEs.
    pub(crate) ended: u64,
    /// Retransmissions that came in.
    pub(crate) repeated: u64,
    /// Answers sent again.
    pub(crate) retransmissions: u64,
    /// What was wrong with requests.
    pub(crate) faults: BTreeMap<String, u64>,
    /// The processor time of this process.
    pub(crate) cpu_ns: u64,
}
