//! `/api/v1/registrations`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use patchbay_core::registrar::{ContactBinding, Registration};
use patchbay_core::time::UnixTime;
use patchbay_message::AddressOfRecord;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::Admin;
use super::reply::{Answer, Refusal};
use crate::config::transport_name;
use crate::location::{DEFAULT_NAMESPACE, Done, Namespace};
use crate::server::unix_now;

/// Addresses-of-record in one answer.
const MAX_LISTED: usize = 1_000_000;

#[derive(Deserialize)]
pub(super) struct Filter {
    aor: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Place {
    namespace: Option<String>,
}

/// The namespace that is asked for; without one the shared one. One that nobody uses has no registrations.
fn namespace(admin: &Admin, name: Option<&str>) -> Result<Arc<Namespace>, Refusal> {
    let name = name.unwrap_or(DEFAULT_NAMESPACE);
    let known = admin.shared.location.known_namespace(name);
    known.ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "unknown_namespace",
            format!("there is no namespace {name:?}"),
        )
    })
}

pub(super) async fn list(State(admin): State<Arc<Admin>>, Query(filter): Query<Filter>) -> Answer {
    let now = unix_now();
    let location = &admin.shared.location;
    let namespace = namespace(&admin, filter.namespace.as_deref())?;
    let rows: Vec<Value> = match filter.aor.filter(|aor| !aor.is_empty()) {
        Some(text) => {
            let aor = address_of_record(&text)?;
            let bindings = location.lookup_in(Some(&namespace), &aor, now);
            if bindings.is_empty() {
                Vec::new()
            } else {
                vec![registration(&aor, &bindings, now)]
            }
        }
        None => location
            .list_in(Some(&namespace), None, MAX_LISTED, now)
            .iter()
            .map(|listed| registration(&listed.aor, &listed.bindings, now))
            .collect(),
    };
    let namespace = &**namespace.name();
    Ok(Json(
        json!({ "namespace": namespace, "registrations": rows }),
    ))
}

pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    Path(text): Path<String>,
    Query(place): Query<Place>,
) -> Answer {
    let aor = address_of_record(&text)?;
    let now = unix_now();
    let namespace = namespace(&admin, place.namespace.as_deref())?;
    let location = &admin.shared.location;
    let count = location.lookup_in(Some(&namespace), &aor, now).len();
    if count == 0 {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "not_registered",
            format!("{} is not registered", aor.as_str()),
        ));
    }
    let removal = Registration::of_removal(aor.clone());
    let (done, later) = oneshot::channel();
    // The receiver is gone when the client is: then nobody waits for the answer.
    let at_once = location.update_in(Some(&namespace), &removal, now, || {
        Done::call(move |answer| drop(done.send(answer)))
    });
    let answer = match at_once {
        Some(answer) => Ok(answer),
        None => later.await,
    };
    match answer {
        Ok(Ok(_)) => Ok(Json(json!({ "aor": aor.as_str(), "removed": count }))),
        Ok(Err(reject)) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "storage_failed",
            format!("{} {}", reject.status, reject.reason),
        )),
        Err(_) => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "storage_failed",
            "the location service is ending",
        )),
    }
}

/// `sip:bob@example.com`, or `bob@example.com` for short.
fn address_of_record(text: &str) -> Result<AddressOfRecord, Refusal> {
    let has_scheme = text.split_once(':').is_some_and(|(scheme, _)| {
        matches!(scheme.to_ascii_lowercase().as_str(), "sip" | "sips" | "tel")
    });
    let uri = if has_scheme {
        text.to_owned()
    } else {
        format!("sip:{text}")
    };
    uri.parse().map_err(|_| {
        Refusal::bad_request(format!(
            "{text:?} is no address-of-record, such as sip:alice@example.com"
        ))
    })
}

fn registration(aor: &AddressOfRecord, bindings: &[ContactBinding], now: UnixTime) -> Value {
    json!({ "aor": aor.as_str(), "contacts": bindings.iter().map(|binding| contact(binding, now)).collect::<Vec<_>>() })
}

fn contact(binding: &ContactBinding, now: UnixTime) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let received = binding.received();
    json!({
        "uri": text(binding.uri()),
        "q": f64::from(binding.q()) / 1000.0,
        "expires_secs": binding.remaining_secs(now),
        "received": received.map(|(_, address)| address.to_string()),
        "transport": received.map(|(transport, _)| transport_name(transport)),
        "call_id": text(binding.call_id()),
        "cseq": binding.cseq(),
        "user_agent": text(binding.user_agent()),
        "instance": binding.instance().map(text),
        "path": binding.path().map(text).collect::<Vec<_>>(),
        "updated": binding.updated().0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_record_may_leave_out_the_scheme() {
        assert_eq!(
            address_of_record("bob@Localhost").expect("valid").as_str(),
            "sip:bob@localhost"
        );
        assert_eq!(
            address_of_record("sip:bob@localhost")
                .expect("valid")
                .as_str(),
            "sip:bob@localhost"
        );
        assert!(address_of_record("sip:").is_err());
    }
}
