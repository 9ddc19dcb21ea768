//! What `policy list` and the admin API show.

use std::time::SystemTime;

use crate::digest::Digest;
use crate::host::Hook;
use crate::version::Counts;

/// How far a version has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// Kept, and not in memory: it is loaded again when it is activated.
    Stored,
    /// In memory and fit to run.
    Ready,
    /// New transactions run in it.
    Active,
    /// Some new dialogs run in it.
    Canary,
    /// It runs beside the active one, without effects.
    Shadow,
    /// Replaced; transactions (or dialogs) still end in it.
    Draining,
    /// Not fit to run.
    Rejected,
}

impl VersionState {
    /// The word for it in the admin API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            VersionState::Stored => "stored",
            VersionState::Ready => "ready",
            VersionState::Active => "active",
            VersionState::Canary => "canary",
            VersionState::Shadow => "shadow",
            VersionState::Draining => "draining",
            VersionState::Rejected => "rejected",
        }
    }
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyReport {
    /// Its name.
    pub name: String,
    /// Whether one of its versions is the active one.
    pub active: bool,
    /// Its versions, the newest first.
    pub versions: Vec<VersionReport>,
}

/// One version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionReport {
    /// Its identity.
    pub digest: Digest,
    /// Its number while it is in memory.
    pub number: Option<u64>,
    /// How far it has come.
    pub state: VersionState,
    /// The component's length.
    pub size_bytes: usize,
    /// The hooks it exports.
    pub hooks: Vec<Hook>,
    /// Transactions (or dialogs) that have to end in it.
    pub pinned: u64,
    /// Hook runs, their time, and faults.
    pub counts: Counts,
    /// How often it failed for several sources within a short time.
    pub alarms: u64,
    /// Its last fault, or why it was rejected.
    pub last_error: Option<String>,
    /// When it was stored last.
    pub stored_at: SystemTime,
    /// When it was activated last.
    pub activated_at: Option<SystemTime>,
}
