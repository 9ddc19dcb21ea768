//! The routes of the configuration, for `/api/v1/status` and `/metrics`.

use serde_json::{Value, json};

use super::Admin;
use crate::metrics::Reading;

/// Every route in the order of the configuration, with the policies of its chain and what it uses.
pub(super) fn report(admin: &Admin) -> Vec<Value> {
    let table = admin.shared.routes.table();
    let route = |route: &std::sync::Arc<crate::routes::Route>| {
        let written = &route.written;
        let counts = route.usage.counts();
        let versions = written.policies.iter().map(|name| {
            let active = admin.shared.policies.active_of(name);
            let version = active.and_then(|active| active.load());
            json!({ "name": name, "version": version.map(|version| version.digest().to_string()) })
        });
        json!({
            "name": written.name,
            "domains": written.domains,
            "listeners": written.listeners.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "sources": written.sources.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "policies": versions.collect::<Vec<_>>(),
            "namespace": written.namespace,
            "realm": written.realm,
            "transactions": counts.transactions,
            "requests": counts.requests,
            "refused": counts.refused,
        })
    };
    table.routes().map(route).collect()
}

/// Their numbers. There are as many label sets as the configuration has routes.
pub(super) fn readings(admin: &Admin) -> Vec<Reading> {
    let table = admin.shared.routes.table();
    let counts = || {
        let routes = table.routes();
        routes.map(|route| (route.name().to_owned(), route.usage.counts()))
    };
    let reading = |name, help, counter, route: String, value: u64| Reading {
        name,
        help,
        counter,
        labels: vec![("route", route)],
        value: value as f64,
    };
    let transactions = counts().map(|(route, counts)| {
        let help = "Live transactions that a route of the configuration began.";
        let value = counts.transactions as u64;
        reading("policy_route_transactions", help, false, route, value)
    });
    let requests = counts().map(|(route, counts)| {
        let help = "Requests that a route of the configuration took.";
        reading(
            "policy_route_requests_total",
            help,
            true,
            route,
            counts.requests,
        )
    });
    let refused = counts().map(|(route, counts)| {
        let help =
            "Requests that a route of the configuration refused because of a limit of its own.";
        reading(
            "policy_route_refused_total",
            help,
            true,
            route,
            counts.refused,
        )
    });
    transactions.chain(requests).chain(refused).collect()
}
