//! The key-value store as far as a run that is played knows it.
//!
//! What the recorded run was told is true here as well, until this run writes something else: then it reads what it has written.

use std::collections::BTreeMap;

use patchbay_policy::{ErrorKind, HostError, KeyValueAnswer, KeyValueRequest};

use super::super::lookups::host_error;

/// What is known of the values.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<String, Known>);

#[derive(Debug)]
struct Known {
    /// `None`: there is no value.
    value: Option<Vec<u8>>,
    /// This run made it, and the recorded one did not.
    is_own: bool,
}

impl Values {
    /// What the recorded run was told is so.
    pub(super) fn learn(&mut self, request: &KeyValueRequest<'_>, answer: &KeyValueAnswer) {
        let value = match (request, answer) {
            (KeyValueRequest::Get { .. }, KeyValueAnswer::Value(value)) => value.clone(),
            (KeyValueRequest::Set { value, .. }, _) => Some(value.to_vec()),
            (KeyValueRequest::Delete { .. }, _) => None,
            (_, KeyValueAnswer::Number(number)) => Some(number.to_string().into_bytes()),
            _ => return,
        };
        self.put(request.key(), value, false);
    }

    /// The answer about a value that this run has made by itself.
    pub(super) fn answer_of_own(
        &mut self,
        request: &KeyValueRequest<'_>,
    ) -> Option<Result<KeyValueAnswer, HostError>> {
        let asks = matches!(
            request,
            KeyValueRequest::Get { .. }
                | KeyValueRequest::Exists { .. }
                | KeyValueRequest::Increment { .. }
        );
        let is_own = self.0.get(request.key()).is_some_and(|known| known.is_own);
        (asks && is_own).then(|| self.answer(request)).flatten()
    }

    /// The answer to a call that is not recorded; `None` when nobody can tell. What is written is written here alone.
    pub(super) fn answer(
        &mut self,
        request: &KeyValueRequest<'_>,
    ) -> Option<Result<KeyValueAnswer, HostError>> {
        let known = self.0.get(request.key()).map(|known| known.value.clone());
        Some(match *request {
            KeyValueRequest::Get { .. } => Ok(KeyValueAnswer::Value(known?)),
            KeyValueRequest::Exists { .. } => Ok(KeyValueAnswer::Exists(known?.is_some())),
            KeyValueRequest::Set { key, value, .. } => {
                self.put(key, Some(value.to_vec()), true);
                Ok(KeyValueAnswer::Done)
            }
            KeyValueRequest::Delete { key } => {
                self.put(key, None, true);
                Ok(KeyValueAnswer::Done)
            }
            KeyValueRequest::Increment { key, delta, .. } => {
                let sum = sum(known?.as_deref(), delta);
                if let Ok(sum) = sum {
                    self.put(key, Some(sum.to_string().into_bytes()), true);
                }
                sum.map(KeyValueAnswer::Number)
                    .map_err(|kind| host_error(kind, "the value can't be added to"))
            }
            KeyValueRequest::ListKeys { .. } => return None,
        })
    }

    fn put(&mut self, key: &str, value: Option<Vec<u8>>, is_own: bool) {
        self.0.insert(key.to_owned(), Known { value, is_own });
    }
}

fn sum(value: Option<&[u8]>, delta: i64) -> Result<i64, ErrorKind> {
    let number: i64 = match value {
        None => 0,
        Some(value) => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or(ErrorKind::InvalidArgument)?,
    };
    number.checked_add(delta).ok_or(ErrorKind::Limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: KeyValueRequest<'_> = KeyValueRequest::Get { key: "k" };

    fn value(text: &str) -> Option<Result<KeyValueAnswer, HostError>> {
        Some(Ok(KeyValueAnswer::Value(Some(text.as_bytes().to_vec()))))
    }

    fn set(text: &str) -> KeyValueRequest<'_> {
        KeyValueRequest::Set {
            key: "k",
            value: text.as_bytes(),
            ttl_secs: None,
        }
    }

    const ADD: KeyValueRequest<'_> = KeyValueRequest::Increment {
        key: "k",
        delta: 2,
        ttl_secs: None,
    };

    #[test]
    fn a_run_reads_what_it_wrote_in_place_of_what_was_recorded() {
        let mut values = Values::default();
        assert_eq!(values.answer(&GET), None);
        values.learn(&GET, &KeyValueAnswer::Value(Some(b"5".to_vec())));
        assert_eq!(values.answer_of_own(&GET), None);
        assert_eq!(values.answer(&GET), value("5"));
        values.answer(&set("own"));
        assert_eq!(values.answer_of_own(&GET), value("own"));
        values.learn(&set("recorded"), &KeyValueAnswer::Done);
        assert_eq!(values.answer_of_own(&GET), None);
    }

    #[test]
    fn numbers_go_on_from_what_was_recorded() {
        let mut values = Values::default();
        assert_eq!(values.answer(&ADD), None);
        values.learn(&ADD, &KeyValueAnswer::Number(7));
        assert_eq!(values.answer(&ADD), Some(Ok(KeyValueAnswer::Number(9))));
        assert_eq!(
            values.answer_of_own(&ADD),
            Some(Ok(KeyValueAnswer::Number(11)))
        );
        values.answer(&set("word"));
        let error = values.answer(&ADD).and_then(Result::err);
        assert_eq!(
            error.map(|error| error.kind),
            Some(ErrorKind::InvalidArgument)
        );
        values.answer(&KeyValueRequest::Delete { key: "k" });
        assert_eq!(values.answer(&ADD), Some(Ok(KeyValueAnswer::Number(2))));
    }
}
