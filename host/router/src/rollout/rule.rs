//! Which new dialogs a canary gets, and what it must not do to keep them.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use patchbay_core::door::HookContext;
use patchbay_message::{AddressOfRecord, Host};
use serde::{Deserialize, Serialize};

use crate::config;

/// The default of `max_failure_excess`, in points.
const FAILURE_EXCESS: f64 = 20.0;

/// How a canary is chosen and guarded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The share of new dialogs, more than 0 and at most 100.
    pub percent: f64,
    /// What is hashed: equal texts have the same version.
    #[serde(default)]
    pub by: By,
    /// Only these requests. Of several of one kind one has to match, of several kinds all.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<Match>,
    /// What ends it.
    #[serde(default)]
    pub guards: Guards,
}

/// What decides which version a new dialog gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The Call-ID: each call anew.
    #[default]
    CallId,
    /// The address-of-record in From: always the same users.
    Aor,
}

/// What ends a canary by itself. Shares are in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guards {
    /// Hook runs that end in a fault, of the canary's hook runs.
    pub max_fault_rate: f64,
    /// Final responses of class 5xx, of the canary's final responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_5xx_rate: Option<f64>,
    /// Final responses of class 6xx, of the canary's final responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_6xx_rate: Option<f64>,
    /// By how many points the canary's share of 5xx and 6xx may be above that of what is active beside it; 100: by any. Without it: 20, and by
    /// any where only some requests are the canary's to choose from, since then those beside it are of another kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failure_excess: Option<f64>,
    /// The time that 99 % of the canary's hooks must not exceed.
    #[serde(skip_serializing_if = "Option::is_none", with = "text")]
    pub max_hook_time: Option<Duration>,
    /// How many new requests the canary must have had before it is judged.
    pub min_calls: u64,
    /// After this time the canary becomes active, when it has had its calls and nothing has ended it.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none", with = "text")]
    pub duration: Option<Duration>,
}

impl Default for Guards {
    fn default() -> Guards {
        Guards {
            max_fault_rate: 1.0,
            max_5xx_rate: None,
            max_6xx_rate: None,
            max_failure_excess: None,
            max_hook_time: None,
            min_calls: 20,
            duration: None,
        }
    }
}

/// A condition on a request, in its text form `domain=example.com`, `source=192.0.2.0/24` or `user=alice@example.com`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Match {
    /// The host of the Request-URI.
    Domain(String),
    /// The address, or the network, that the request comes from.
    Source(Network),
    /// The user in From, with or without its domain.
    User(String),
}

/// The addresses that begin with these bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u32,
}

impl Rule {
    /// What is wrong with it.
    pub fn problem(&self) -> Option<String> {
        let is_share = |share: f64| (0.0..=100.0).contains(&share);
        if !is_share(self.percent) || self.percent <= 0.0 {
            return Some("percent has to be more than 0 and at most 100".to_owned());
        }
        let guards = &self.guards;
        let rates = [
            ("max_fault_rate", Some(guards.max_fault_rate)),
            ("max_5xx_rate", guards.max_5xx_rate),
            ("max_6xx_rate", guards.max_6xx_rate),
            ("max_failure_excess", guards.max_failure_excess),
        ];
        rates
            .into_iter()
            .find(|(_, rate)| rate.is_some_and(|rate| !is_share(rate)))
            .map(|(name, _)| format!("{name} is in percent, from 0 to 100"))
    }

    /// The same with what is left out said.
    pub(crate) fn in_full(mut self) -> Rule {
        let default = match self.only.is_empty() {
            true => FAILURE_EXCESS,
            false => 100.0,
        };
        self.guards.max_failure_excess.get_or_insert(default);
        self
    }

    /// Whether the canary may have this request at all.
    pub(super) fn admits(&self, context: &HookContext) -> bool {
        let kinds = [
            |only: &Match| matches!(only, Match::Domain(_)),
            |only: &Match| matches!(only, Match::Source(_)),
            |only: &Match| matches!(only, Match::User(_)),
        ];
        kinds.iter().all(|is_kind| {
            let mut of_kind = self.only.iter().filter(|only| is_kind(only)).peekable();
            of_kind.peek().is_none() || of_kind.any(|only| only.matches(context))
        })
    }
}

/// What it says, in words: `5 % of new dialogs with user=alice; ends above 1 % faults; ...`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % of new dialogs", self.percent)?;
        if self.by == By::Aor {
            write!(f, " by caller")?;
        }
        let only: Vec<String> = self.only.iter().cloned().map(String::from).collect();
        if !only.is_empty() {
            write!(f, " with {}", only.join(", "))?;
        }
        write!(f, "; {}", self.guards)
    }
}

impl fmt::Display for Guards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ends above {} % faults", self.max_fault_rate)?;
        for (limit, class) in [(self.max_5xx_rate, "5xx"), (self.max_6xx_rate, "6xx")] {
            if let Some(limit) = limit {
                write!(f, ", {limit} % {class}")?;
            }
        }
        if let Some(points) = self.max_failure_excess.filter(|points| *points < 100.0) {
            write!(f, ", {points} points more 5xx and 6xx than beside it")?;
        }
        if let Some(limit) = self.max_hook_time {
            write!(
                f,
                ", {} for 99 % of its hooks",
                config::duration_text(limit)
            )?;
        }
        write!(f, "; judged after {} requests", self.min_calls)?;
        if let Some(duration) = self.duration {
            write!(f, "; active after {}", config::duration_text(duration))?;
        }
        Ok(())
    }
}

impl Match {
    fn matches(&self, context: &HookContext) -> bool {
        match self {
            Match::Domain(domain) => context
                .request
                .request_uri_parts()
                .is_ok_and(|uri| Host::parse(domain.as_bytes()) == Some(uri.host)),
            Match::Source(network) => network.contains(context.source.remote.ip()),
            Match::User(user) => caller(context).is_some_and(|aor| match user.split_once('@') {
                Some((user, domain)) => {
                    aor.user() == user && aor.host().eq_ignore_ascii_case(domain)
                }
                None => aor.user() == user,
            }),
        }
    }
}

/// The address-of-record in From.
pub(super) fn caller(context: &HookContext) -> Option<AddressOfRecord> {
    let from = context.request.from().ok()?;
    AddressOfRecord::from_uri(&from.uri().ok()?)
}

/// What is hashed of a caller: whether the call is secured makes nobody another one.
pub(super) fn hashed(caller: &AddressOfRecord) -> Cow<'_, str> {
    match caller.as_str().strip_prefix("sips:") {
        Some(rest) => Cow::Owned(format!("sip:{rest}")),
        None => Cow::Borrowed(caller.as_str()),
    }
}

impl TryFrom<String> for Match {
    type Error = String;

    fn try_from(text: String) -> Result<Match, String> {
        text.parse()
    }
}

impl std::str::FromStr for Match {
    type Err = String;

    fn from_str(text: &str) -> Result<Match, String> {
        match text.split_once('=') {
            Some(("domain", domain)) if Host::parse(domain.as_bytes()).is_some() => {
                // The root of the names, which nobody writes in a URI.
                let domain = domain.strip_suffix('.').unwrap_or(domain);
                Ok(Match::Domain(domain.to_owned()))
            }
            Some(("source", network)) => network.parse().map(Match::Source),
            Some(("user", user)) if names_user(without_scheme(user)) => {
                Ok(Match::User(without_scheme(user).to_owned()))
            }
            _ => Err(format!(
                "{text:?} is not domain=HOST, source=ADDRESS[/BITS] or user=NAME[@HOST]"
            )),
        }
    }
}

/// Whether there is a user, and behind an `@` a domain.
fn names_user(text: &str) -> bool {
    let (user, domain) = text.split_once('@').unwrap_or((text, "any"));
    !user.is_empty() && !domain.is_empty()
}

/// A user as it is in an address-of-record: whoever writes the whole URI means the same.
fn without_scheme(user: &str) -> &str {
    let schemes = ["sip:", "sips:"];
    let is_scheme = |start: &str| {
        schemes
            .iter()
            .any(|scheme| start.eq_ignore_ascii_case(scheme))
    };
    match user.find(':').map(|colon| user.split_at(colon + 1)) {
        Some((scheme, rest)) if is_scheme(scheme) => rest,
        _ => user,
    }
}

impl From<Match> for String {
    fn from(only: Match) -> String {
        match only {
            Match::Domain(domain) => format!("domain={domain}"),
            Match::Source(network) => format!("source={network}"),
            Match::User(user) => format!("user={user}"),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Network {
    /// Whether the address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let differing = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                u128::from(own.to_bits() ^ other.to_bits()) << 96
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => own.to_bits() ^ other.to_bits(),
            _ => return false,
        };
        differing.leading_zeros() >= self.bits
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = || format!("{text:?} is no address or network, such as 192.0.2.0/24");
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(all), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > all {
            return Err(wrong());
        }
        Ok(Network { address, bits })
    }
}

/// Durations as text with a unit.
mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&super::config::duration_text(*duration)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map(|text| super::config::duration(&text).map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_survives_its_json_form() {
        let text = r#"{"percent":5.0,"by":"aor","match":["domain=example.com","source=192.0.2.0/24","user=alice"],
            "guards":{"max_fault_rate":2.0,"max_5xx_rate":3.0,"max_hook_time":"20ms","min_calls":7,"for":"10m"}}"#;
        let rule: Rule = serde_json::from_str(text).expect("a rule");
        assert_eq!(rule.guards.duration, Some(Duration::from_secs(600)));
        assert_eq!(rule.guards.max_hook_time, Some(Duration::from_millis(20)));
        let again = serde_json::to_string(&rule).expect("JSON");
        assert!(again.contains(r#""for":"10m""#), "{again}");
        assert_eq!(serde_json::from_str::<Rule>(&again).expect("a rule"), rule);
        assert_eq!(rule.problem(), None);
    }

    #[test]
    fn a_rule_is_told_in_words() {
        let text = r#"{"percent":0.00001,"by":"aor","match":["domain=example.com","user=alice"],
            "guards":{"max_5xx_rate":2.5,"max_hook_time":"20ms","for":"48h"}}"#;
        let rule: Rule = serde_json::from_str(text).expect("a rule");
        assert_eq!(
            rule.to_string(),
            "0.00001 % of new dialogs by caller with domain=example.com, user=alice; ends above 1 % faults, 2.5 % 5xx, \
             20ms for 99 % of its hooks; judged after 20 requests; active after 2d"
        );
        let plain: Rule =
            serde_json::from_str(r#"{"percent":100,"guards":{"max_failure_excess":100}}"#)
                .expect("a rule");
        assert_eq!(
            plain.to_string(),
            "100 % of new dialogs; ends above 1 % faults; judged after 20 requests"
        );
    }

    #[test]
    fn failures_are_compared_where_those_beside_are_of_the_same_kind() {
        for (text, excess) in [
            (r#"{"percent":5}"#, 20.0),
            (r#"{"percent":5,"match":["user=alice"]}"#, 100.0),
            (
                r#"{"percent":5,"match":["user=alice"],"guards":{"max_failure_excess":7}}"#,
                7.0,
            ),
        ] {
            let rule: Rule = serde_json::from_str(text).expect("a rule");
            assert_eq!(
                rule.in_full().guards.max_failure_excess,
                Some(excess),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let rule: Rule = serde_json::from_str(r#"{"percent":5}"#).expect("a rule");
        assert_eq!(
            (rule.by, rule.guards.clone()),
            (By::CallId, Guards::default())
        );
        assert!(rule.only.is_empty());
    }

    #[test]
    fn wrong_rules_say_what_is_wrong() {
        for text in [
            r#"{"percent":0}"#,
            r#"{"percent":101}"#,
            r#"{"percent":5,"guards":{"max_5xx_rate":-1}}"#,
        ] {
            let rule: Rule = serde_json::from_str(text).expect("a rule");
            assert!(rule.problem().is_some(), "{text}");
        }
        for only in [
            "tenant=x",
            "domain=",
            "source=192.0.2.0/33",
            "source=x",
            "user=",
            "user=sip:",
            "user=@example.com",
            "user=alice@",
        ] {
            assert!(only.parse::<Match>().is_err(), "{only}");
        }
    }

    #[test]
    fn a_user_may_be_written_as_a_uri() {
        for text in [
            "user=alice@example.com",
            "user=sip:alice@example.com",
            "user=SIPS:alice@example.com",
        ] {
            assert_eq!(
                text.parse(),
                Ok(Match::User("alice@example.com".to_owned()))
            );
        }
    }

    #[test]
    fn a_domain_may_be_written_with_the_dot_of_the_root() {
        let domain = Match::Domain("example.com".to_owned());
        assert_eq!("domain=example.com.".parse(), Ok(domain));
    }

    #[test]
    fn a_caller_is_the_same_with_sips() {
        let key = |uri: &str| {
            let uri = patchbay_message::Uri::parse(uri.as_bytes()).expect("a URI");
            let caller = AddressOfRecord::from_uri(&uri).expect("an address-of-record");
            hashed(&caller).into_owned()
        };
        assert_eq!(key("sips:alice@example.com"), key("sip:alice@example.com"));
        assert_eq!(key("sip:alice@example.com"), "sip:alice@example.com");
        assert_ne!(key("sip:alice@example.com"), key("sip:bob@example.com"));
    }

    #[test]
    fn networks_contain_their_addresses() {
        let contains = |network: &str, address: &str| {
            let network: Network = network.parse().expect("a network");
            network.contains(address.parse().expect("an address"))
        };
        assert!(contains("192.0.2.0/24", "192.0.2.255"));
        assert!(!contains("192.0.2.0/24", "192.0.3.1"));
        assert!(contains("192.0.2.1", "192.0.2.1"));
        assert!(!contains("192.0.2.1", "192.0.2.2"));
        assert!(contains("0.0.0.0/0", "203.0.113.1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1"));
        assert!(!contains("2001:db8::/32", "192.0.2.1"));
    }
}
