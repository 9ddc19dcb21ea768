//! What the router is doing: health, metrics, status, live transactions.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Admin, routes, versions};
use crate::config::transport_name;
use crate::metrics::Reading;

/// Transactions in one answer, unless fewer are asked for.
const MAX_TRANSACTIONS: usize = 1000;

pub(super) async fn healthz(State(admin): State<Arc<Admin>>) -> Response {
    health(admin.workers.are_alive(), "ok")
}

pub(super) async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let word = if admin.is_draining() {
        "draining"
    } else {
        "ready"
    };
    health(
        admin.ready.load(Ordering::Relaxed) && !admin.is_draining() && admin.workers.are_alive(),
        word,
    )
}

fn health(good: bool, word: &str) -> Response {
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let word = if good || word == "draining" {
        word
    } else {
        "unavailable"
    };
    (status, Json(json!({ "status": word }))).into_response()
}

pub(super) async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let text = admin.shared.metrics.render(&readings(&admin));
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}

fn readings(admin: &Admin) -> Vec<Reading> {
    let gauge = |name, help, value: u64| Reading {
        name,
        help,
        counter: false,
        labels: Vec::new(),
        value: value as f64,
    };
    let counter = |name, help, value: u64| Reading {
        name,
        help,
        counter: true,
        labels: Vec::new(),
        value: value as f64,
    };
    let location = admin.shared.location.counts();
    let statistics = admin.shared.location.statistics();
    let mut readings = vec![
        gauge(
            "uptime_seconds",
            "Seconds since the start.",
            admin.started.elapsed().as_secs(),
        ),
        gauge(
            "draining",
            "1 while the router drains.",
            u64::from(admin.is_draining()),
        ),
        gauge(
            "sip_connections",
            "Connections open now.",
            admin.workers.counts().connections,
        ),
        gauge("users", "Digest users.", admin.shared.users.count() as u64),
        gauge(
            "location_addresses_of_record",
            "Addresses-of-record with live contacts.",
            location.aors as u64,
        ),
        gauge(
            "location_contacts",
            "Live contacts.",
            location.contacts as u64,
        ),
        counter(
            "location_commits_total",
            "Group commits of the store.",
            statistics.commits,
        ),
        counter(
            "location_commit_failures_total",
            "Group commits that failed.",
            statistics.failed_commits,
        ),
        counter(
            "location_refused_total",
            "Registrations refused because the store's queue was full.",
            statistics.refused,
        ),
        counter(
            "location_lost_events_total",
            "Registration events that no policy took in time.",
            statistics.lost_events,
        ),
    ];
    let http = admin.shared.http.statistics();
    let keyvalue = admin.shared.keyvalue.statistics();
    readings.extend([
        counter(
            "policy_http_answered_total",
            "Requests of policies over HTTP that got a response.",
            http.answered,
        ),
        counter(
            "policy_http_failed_total",
            "Requests of policies over HTTP without a response: no connection, too large, too late.",
            http.failed,
        ),
        counter(
            "policy_http_refused_total",
            "Requests of policies over HTTP that were not sent: not granted, or nothing that can be sent.",
            http.refused,
        ),
        gauge(
            "policy_http_waiting",
            "Requests of policies over HTTP that wait for their response.",
            http.waiting,
        ),
        gauge(
            "policy_keyvalue_keys",
            "Keys in the key-value store of policies.",
            keyvalue.keys,
        ),
        gauge(
            "policy_keyvalue_bytes",
            "Bytes of keys and values in the key-value store of policies.",
            keyvalue.bytes,
        ),
        gauge(
            "policy_keyvalue_unwritten",
            "Changed keys of the key-value store that are not on the disk yet.",
            keyvalue.unwritten,
        ),
        counter(
            "policy_keyvalue_commit_failures_total",
            "Writes of the key-value store that failed and are tried again.",
            keyvalue.failed_commits,
        ),
    ]);
    readings.extend(trace_readings(admin));
    readings.extend(versions::readings(admin));
    readings.extend(routes::readings(admin));
    readings
}

fn trace_readings(admin: &Admin) -> Vec<Reading> {
    let traces = &admin.shared.traces;
    let counts = traces.counts();
    let (recording, shadow) = (traces.recording(), traces.shadow());
    let recording = recording.filter(|recording| recording.running);
    let of = |name, help, counter, value: u64| Reading {
        name,
        help,
        counter,
        labels: Vec::new(),
        value: value as f64,
    };
    let mut readings = vec![
        of(
            "traced_hook_runs_total",
            "Hook runs traced for recordings, the call ring or a shadow.",
            true,
            counts.traced,
        ),
        of(
            "dropped_traces_total",
            "Traces of hook runs that were dropped because a queue was full.",
            true,
            counts.dropped,
        ),
        of(
            "recording_bytes",
            "The size of the recording that is under way; 0 without one.",
            false,
            recording.map_or(0, |recording| recording.bytes),
        ),
    ];
    if let Some(shadow) = shadow {
        let gauges = [
            (
                "shadow_hook_runs",
                "Hook runs that the shadow was compared in.",
                shadow.runs,
            ),
            (
                "shadow_different_hook_runs",
                "Hook runs that the shadow would have treated differently.",
                shadow.different,
            ),
            (
                "shadow_failed_hook_runs",
                "Hook runs in which the shadow failed and the real run did not.",
                shadow.faults,
            ),
            (
                "shadow_dropped_hook_runs",
                "Hook runs that the shadow did not get because too many waited.",
                shadow.dropped,
            ),
        ];
        readings.extend(gauges.map(|(name, help, value)| of(name, help, false, value)));
    }
    readings
}

pub(super) async fn status(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let config = admin.config();
    let counts = admin.workers.counts();
    let location = admin.shared.location.counts();
    let listeners: Vec<Value> = admin
        .shared
        .listeners
        .iter()
        .map(|listener| json!({ "transport": transport_name(listener.transport), "address": listener.address.to_string(), "advertise": listener.advertise }))
        .collect();
    let active = admin.deployments.active();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "node": config.node.name,
        "uptime_seconds": admin.started.elapsed().as_secs(),
        "draining": admin.is_draining(),
        "listeners": listeners,
        "admin": admin.address.to_string(),
        "routes": routes::report(&admin),
        "policy": active.map(|active| json!({ "name": active.policy, "version": active.version.as_str() })),
        "counts": {
            "transactions": counts.transactions,
            "hooks": counts.hooks,
            "connections": counts.connections,
            "addresses_of_record": location.aors,
            "contacts": location.contacts,
            "users": admin.shared.users.count(),
            "workers": config.node.workers,
        },
    }))
}

#[derive(Deserialize)]
pub(super) struct Bound {
    limit: Option<usize>,
}

pub(super) async fn transactions(
    State(admin): State<Arc<Admin>>,
    Query(bound): Query<Bound>,
) -> Json<Value> {
    let limit = bound
        .limit
        .unwrap_or(MAX_TRANSACTIONS)
        .min(MAX_TRANSACTIONS);
    let live = admin.workers.transactions(limit).await;
    let rows: Vec<Value> = live
        .iter()
        .map(|transaction| {
            let version = admin
                .shared
                .policies
                .by_number(transaction.version.number());
            json!({
                "method": transaction.method,
                "request_uri": transaction.request_uri,
                "call_id": transaction.call_id,
                "state": transaction.state,
                "branches": transaction.branches,
                "peer": transaction.peer.to_string(),
                "route": admin.shared.routes.name_of(transaction.route),
                "policy": version.as_ref().map(|version| version.name().to_string()),
                "policy_version": version.as_ref().map(|version| version.digest().to_string()),
            })
        })
        .collect();
    Json(json!({ "transactions": rows, "total": admin.workers.counts().transactions }))
}
