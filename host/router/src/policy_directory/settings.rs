//! Where the setting is written that a policy refuses.

use patchbay_policy::LoadError;

use super::{DeployError, StartPolicyError};
use crate::config::{Config, Place, Policy, Problem};

/// The problem of a setting that `init` refuses and names; it is free in what it says.
pub(super) fn problem(config: &Config, policy: &str, error: &LoadError) -> Option<Problem> {
    let (key, place) = refused(&config.policy, error)?;
    Some(Problem::new(
        place,
        key,
        format!("policy {policy}: {error}"),
    ))
}

impl StartPolicyError {
    /// The same with the place of the setting that `init` refuses.
    pub fn of_setting(self, config: &Policy) -> StartPolicyError {
        let StartPolicyError::Deploy { name, source } = self else {
            return self;
        };
        let refused = match &source {
            DeployError::Load(error) => refused(config, error),
            _ => None,
        };
        match refused {
            Some((key, place)) => StartPolicyError::Setting {
                file: None,
                place,
                key,
                name,
                source: Box::new(source),
            },
            None => StartPolicyError::Deploy { name, source },
        }
    }
}

fn refused(config: &Policy, error: &LoadError) -> Option<(String, Place)> {
    let LoadError::Init(text) = error else {
        return None;
    };
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '_' | '.')));
    let (name, place) = words.find_map(|word| config.setting_places.get_key_value(word))?;
    Some((format!("policy.settings.{name}"), *place))
}
