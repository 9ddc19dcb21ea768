//! The admin API of a running router, from the command line.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::{ConfigArguments, Failure};
use crate::admin::{CLIENT_HEADER, Endpoint, SIGNATURE_HEADER, VIA_HEADER};
use crate::config::{self, DEFAULT_ADMIN};
use crate::policy_directory;

/// The largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 1 << 30;

/// Where the running router is.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct AdminArguments {
    /// The address of the admin API, such as http://127.0.0.1:8060. Default: that of the router on the configured data directory.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The file with the bearer token of the admin API.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArguments,
}

/// A connection to the admin API.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl AdminArguments {
    /// The client of the router that the arguments name.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let token = self
            .token_file
            .as_deref()
            .map(config::token)
            .transpose()
            .map_err(Failure::Said)?;
        if let Some(url) = &self.admin {
            let url = if url.contains("://") {
                url.clone()
            } else {
                format!("http://{url}")
            };
            if !url.starts_with("http://") {
                return Err(Failure::Said(format!(
                    "--admin {url}: the admin API is asked over plain HTTP: name its own address, such as http://127.0.0.1:8060, or a tunnel's"
                )));
            }
            return Ok(Client::new(url.trim_end_matches('/').to_owned(), token));
        }
        let config = self.config.load();
        let data_dir = match &config {
            Ok(config) => config.node.data_dir.clone(),
            Err(_) if self.config.config.is_none() => self
                .config
                .data_dir
                .clone()
                .unwrap_or_else(|| PathBuf::from("patchbay-data")),
            Err(problems) => return Err(problems.clone().into()),
        };
        if let Some(endpoint) = Endpoint::read(&data_dir) {
            return Ok(Client::of_endpoint(&endpoint, token));
        }
        let (address, configured) = config.map_or((DEFAULT_ADMIN, None), |config| {
            (config.admin.listen, config.admin.token_file)
        });
        let token = match (token, configured) {
            (None, Some(file)) => Some(config::token(&file).map_err(Failure::Said)?),
            (token, _) => token,
        };
        Ok(Client::new(format!("http://{address}"), token))
    }
}

impl Client {
    fn new(base: String, token: Option<String>) -> Client {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        Client { agent, base, token }
    }

    /// The client of the router that left its address in the data directory.
    pub(super) fn of_endpoint(endpoint: &Endpoint, token: Option<String>) -> Client {
        Client::new(
            format!("http://{}", endpoint.address),
            token.or_else(|| Some(endpoint.token.clone())),
        )
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        let url = self.url(path);
        let mut request = self.agent.get(&url);
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        answer(&url, request.call())
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, Failure> {
        let url = self.url(path);
        let mut request = self.agent.delete(&url);
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        for (name, value) in own_headers() {
            request = request.header(name, value);
        }
        answer(&url, request.call())
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let url = self.url(path);
        let mut request = self
            .agent
            .post(&url)
            .header("content-type", "application/json");
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        for (name, value) in own_headers() {
            request = request.header(name, value);
        }
        answer(&url, request.send(body.to_string().as_bytes()))
    }

    pub(super) fn put_wasm(
        &self,
        path: &str,
        bytes: &[u8],
        signature: Option<&str>,
    ) -> Result<Value, Failure> {
        let url = self.url(path);
        let mut request = self
            .agent
            .put(&url)
            .header("content-type", "application/wasm");
        if let Some(signature) = signature {
            request = request.header(SIGNATURE_HEADER, signature);
        }
        if let Some(authorization) = self.authorization() {
            request = request.header("authorization", authorization);
        }
        for (name, value) in own_headers() {
            request = request.header(name, value);
        }
        answer(&url, request.send(bytes))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn authorization(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {token}"))
    }
}

/// Who asks, for the audit log.
fn own_headers() -> Vec<(&'static str, String)> {
    let name = policy_directory::own_user_name()
        .filter(|name| name.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    let mut headers = vec![(VIA_HEADER, "cli".to_owned())];
    headers.extend(name.map(|name| (CLIENT_HEADER, name)));
    headers
}

fn answer(
    url: &str,
    result: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Value, Failure> {
    let unreachable = |problem: String| Failure::Unreachable {
        url: url.to_owned(),
        problem,
    };
    let mut response = result.map_err(|error| unreachable(error.to_string()))?;
    let status = response.status();
    let text = response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_string()
        .map_err(|error| unreachable(error.to_string()))?;
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(value);
    }
    let detail = value
        .get("detail")
        .and_then(Value::as_str)
        .map_or_else(|| format!("{url} answered {status}"), str::to_owned);
    if status == ureq::http::StatusCode::UNAUTHORIZED {
        return Err(Failure::Refused(format!(
            "{detail}\n--token-file FILE names the file with it, or --config FILE the configuration that does"
        )));
    }
    Err(Failure::Refused(detail))
}

/// Text as one segment of a URL's path or one value of its query.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_record_go_into_paths() {
        assert_eq!(escape("sip:bob@localhost"), "sip:bob@localhost");
        assert_eq!(escape("sip:a b/c?d@[::1]"), "sip:a%20b%2Fc%3Fd@%5B::1%5D");
    }
}
