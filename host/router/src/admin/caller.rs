//! Who asks: for the audit log and for what is known of versions.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::Admin;
use super::guard::is_same_token;
use crate::policy_directory::{Origin, Proof, Via, client_name};

/// The header with the name of the client, which nobody checks.
pub(crate) const CLIENT_HEADER: &str = "x-patchbay-client";
/// The header by which the command line says that it is one.
pub(crate) const VIA_HEADER: &str = "x-patchbay-via";

/// Who asks.
pub(super) struct Caller(pub(super) Origin);

impl FromRequestParts<Arc<Admin>> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        admin: &Arc<Admin>,
    ) -> Result<Caller, Infallible> {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(peer)| peer.to_string());
        let headers = &parts.headers;
        let via = match text(headers, VIA_HEADER) {
            Some("cli") => Via::Cli,
            _ => Via::Api,
        };
        Ok(Caller(Origin {
            via,
            by: text(headers, CLIENT_HEADER).and_then(client_name),
            from: peer,
            proof: Some(proof(admin, headers)),
        }))
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn proof(admin: &Admin, headers: &HeaderMap) -> Proof {
    let given = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .map(|(_, token)| token.trim());
    match given {
        Some(given) if is_same_token(given, &admin.local_token) => Proof::DataDirectory,
        // The guard has let nobody else through where there is a token.
        _ if admin.token.is_some() => Proof::Token,
        _ => Proof::Loopback,
    }
}
