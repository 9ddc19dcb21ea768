//! The last activation or rollback, remembered over a restart.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use patchbay_policy::{ActiveHistory, Digest};
use serde::{Deserialize, Serialize};

use super::origin::Origin;
use crate::data_dir::{policy_activation, write_private};
use crate::rollout::{Reach, Rule};

/// A version of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionName {
    /// The name of the policy.
    pub policy: String,
    /// The digest.
    pub version: String,
}

impl VersionName {
    pub(super) fn new(policy: &str, version: &str) -> VersionName {
        VersionName {
            policy: policy.to_owned(),
            version: version.to_owned(),
        }
    }
}

/// A canary that was under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RememberedCanary {
    /// The version.
    #[serde(flatten)]
    pub(super) name: VersionName,
    /// Who gets it, and what ends it.
    pub(super) rule: Rule,
    /// Whose dialogs it was begun for. Nothing written: for those that it can have after the restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reach: Option<Reach>,
    /// Who began it.
    pub(super) origin: Origin,
    /// When, in seconds since 1970.
    pub(super) began_at: u64,
}

impl RememberedCanary {
    /// Whether it was begun for requests that no route takes, as far as that is known.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.reach.is_none_or(|reach| reach.elsewhere)
    }
}

/// What is remembered on this data directory.
pub(super) fn remembered(data_dir: &Path) -> Option<Activation> {
    ActivationFile(policy_activation(data_dir)).read()
}

/// What was active last, and under which circumstances that is to be kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Activation {
    /// What the configuration named as active.
    pub(super) configured: String,
    /// The digest of the file on the command line at that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) command_line_file: Option<String>,
    /// What was active for the requests that no route takes.
    #[serde(flatten)]
    pub(super) lane: RememberedLane,
    /// What ran some new dialogs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) canary: Option<RememberedCanary>,
    /// What was active of the policies that routes name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) routed: BTreeMap<String, RememberedLane>,
    /// What was kept for the dialogs that had begun in it, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) kept: Vec<VersionName>,
    /// The digests of versions that were rolled back by themselves and are not again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) rolled_back: Vec<String>,
}

/// What was active, for the requests that no route takes or for the routes that name a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RememberedLane {
    /// What was active.
    pub(super) active: VersionName,
    /// When it was activated, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) activated_at: Option<u64>,
    /// Where it leads when the active version keeps failing soon after its activation.
    #[serde(default)]
    pub(super) previous: Option<VersionName>,
    /// What was active before, the latest last: where rollbacks lead. Nothing written: `previous` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) history: Option<Vec<VersionName>>,
    /// The digest of the policy's own file at that time; a file that changed since then wins.
    #[serde(default)]
    pub(super) file: Option<String>,
}

impl RememberedLane {
    /// A version that is active, with what the router knows of its past.
    pub(super) fn new(
        active: VersionName,
        history: &ActiveHistory,
        file: Option<String>,
    ) -> RememberedLane {
        let name =
            |(policy, version): &(String, Digest)| VersionName::new(policy, version.as_str());
        RememberedLane {
            active,
            activated_at: history.activated_at.map(since_1970),
            previous: history.previous.as_ref().map(name),
            history: Some(history.before.iter().map(name).collect()),
            file,
        }
    }

    /// What is remembered of the past. A digest that is none is left out.
    pub(super) fn past(&self) -> ActiveHistory {
        let named = |name: &VersionName| Some((name.policy.clone(), name.version.parse().ok()?));
        let activated_at = self.activated_at.map(Duration::from_secs);
        ActiveHistory {
            activated_at: activated_at.and_then(|secs| UNIX_EPOCH.checked_add(secs)),
            before: self.before().filter_map(named).collect(),
            previous: self.previous.as_ref().and_then(named),
        }
    }

    /// What was active before, the latest last.
    fn before(&self) -> impl Iterator<Item = &VersionName> {
        let written = self.history.iter().flatten();
        let only = self.previous.iter().filter(|_| self.history.is_none());
        written.chain(only)
    }

    fn versions(&self) -> impl Iterator<Item = &VersionName> {
        let previous = self.previous.iter();
        std::iter::once(&self.active)
            .chain(previous)
            .chain(self.before())
    }
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |duration| duration.as_secs())
}

impl Activation {
    /// The version of the canary.
    pub(super) fn canary_name(&self) -> Option<&VersionName> {
        self.canary.as_ref().map(|canary| &canary.name)
    }

    /// The versions that a later start needs.
    pub(super) fn versions(&self) -> impl Iterator<Item = &VersionName> {
        let lanes = std::iter::once(&self.lane).chain(self.routed.values());
        lanes
            .flat_map(RememberedLane::versions)
            .chain(self.canary_name())
            .chain(&self.kept)
    }

    /// The versions that are not rolled back by themselves again. A digest that is none is left out.
    pub(super) fn rolled_back(&self) -> Vec<Digest> {
        let digests = self.rolled_back.iter();
        digests.filter_map(|digest| digest.parse().ok()).collect()
    }
}

/// The file with the last activation.
pub(super) struct ActivationFile(pub(super) PathBuf);

impl ActivationFile {
    /// What is remembered. A damaged file is reported and forgotten.
    pub(super) fn read(&self) -> Option<Activation> {
        let text = std::fs::read(&self.0).ok()?;
        match serde_json::from_slice(&text) {
            Ok(activation) => Some(activation),
            Err(error) => {
                tracing::warn!(path = %self.0.display(), %error, "the last activation can't be read, the configuration decides");
                None
            }
        }
    }

    /// Remembers an activation.
    pub(super) fn write(&self, activation: &Activation) -> io::Result<()> {
        write_private(&self.0, &serde_json::to_vec_pretty(activation)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> VersionName {
        VersionName::new("mine", Digest::of(text.as_bytes()).as_str())
    }

    #[test]
    fn what_earlier_routers_wrote_is_read() {
        let text = serde_json::json!({
            "configured": "mine",
            "active": version("two"),
            "previous": version("one"),
            "file": null,
            "routed": { "tenant": { "active": version("three"), "previous": null, "file": "ab" } },
        });
        let read: Activation = serde_json::from_value(text).expect("an activation");
        let past = read.lane.past();
        assert_eq!(past.activated_at, None);
        let one = ("mine".to_owned(), Digest::of(b"one"));
        assert_eq!(past.before, std::slice::from_ref(&one));
        assert_eq!(past.previous, Some(one));
        assert_eq!(read.routed["tenant"].past(), ActiveHistory::default());
        assert_eq!(read.rolled_back(), []);
        assert_eq!(read.versions().count(), 4);
    }

    #[test]
    fn a_past_survives_its_json_form() {
        let named = |text: &str| ("mine".to_owned(), Digest::of(text.as_bytes()));
        let past = ActiveHistory {
            activated_at: Some(UNIX_EPOCH + Duration::from_secs(1_790_000_000)),
            before: vec![named("one"), named("two")],
            previous: Some(named("one")),
        };
        let activation = Activation {
            configured: "mine".to_owned(),
            command_line_file: Some(Digest::of(b"file").to_string()),
            lane: RememberedLane::new(version("three"), &past, None),
            canary: None,
            routed: BTreeMap::new(),
            kept: vec![version("four")],
            rolled_back: vec![Digest::of(b"two").to_string()],
        };
        let text = serde_json::to_string(&activation).expect("JSON");
        let read: Activation = serde_json::from_str(&text).expect("an activation");
        assert_eq!(read, activation);
        assert_eq!(read.lane.past(), past);
        assert_eq!(read.rolled_back(), [Digest::of(b"two")]);
    }
}
