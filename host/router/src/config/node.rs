//! `[node]`: the router as a whole.

use std::path::PathBuf;
use std::time::Duration;

use super::read::{Defaults, Overrides, SECOND};
use super::section::Section;
use super::{check, units};

/// Longer would only burn a core.
const MAX_SPIN: Duration = Duration::from_millis(1);
/// Within this time an answer comes of a peer on the same network, with its own processor to be woken up.
const DEFAULT_SPIN: Duration = Duration::from_micros(150);

/// `[node]`: the router as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Names the node in tokens; the host name by default.
    pub name: String,
    /// The domains this router is responsible for, lower case.
    pub domains: Vec<String>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// Threads that serve SIP.
    pub workers: usize,
    /// How workers receive and send datagrams.
    pub io: Io,
    /// How long a worker may look out for the next datagram before it sleeps; zero: not at all.
    pub spin: Duration,
}

/// How workers wait, receive and send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// With io_uring where the system has it and allows it, else with epoll.
    Auto,
    /// With io_uring, or the router does not start.
    Uring,
    /// With epoll.
    Epoll,
}

/// Reads the section.
pub(super) fn read(mut section: Section<'_>, defaults: &Defaults, overrides: &Overrides) -> Node {
    let name = section
        .parsed("name", check::node_name)
        .unwrap_or_else(host_name);
    let mut domains = Vec::new();
    for domain in section.texts("domains").unwrap_or_else(|| {
        defaults
            .domains
            .iter()
            .map(|&domain| domain.to_owned())
            .collect()
    }) {
        match check::domain(&domain) {
            Ok(domain) => domains.push(domain),
            Err(message) => section.problem("domains", message),
        }
    }
    let data_dir = section
        .path("data_dir")
        .unwrap_or_else(|| PathBuf::from("patchbay-data"));
    let node = Node {
        name,
        domains,
        data_dir: overrides.data_dir.clone().unwrap_or(data_dir),
        drain_timeout: section.duration("drain_timeout", 32 * SECOND, Duration::ZERO),
        workers: section.number(
            "workers",
            std::thread::available_parallelism().map_or(1, usize::from),
            1..=1024,
        ),
        io: section.choice(
            "io",
            Io::Auto,
            &[
                ("auto", Io::Auto),
                ("uring", Io::Uring),
                ("epoll", Io::Epoll),
            ],
        ),
        spin: section.parsed("spin", spin).unwrap_or(DEFAULT_SPIN),
    };
    section.finish();
    node
}

/// A short time, or `"0"`.
fn spin(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let spin = units::duration(text)?;
    if spin > MAX_SPIN {
        return Err(format!("{text:?} is more than 1ms"));
    }
    Ok(spin)
}

/// The host name, as far as it can stand in a token.
fn host_name() -> String {
    let name = hostname::get()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.and_then(|name| check::node_name(&name).ok())
        .unwrap_or_else(|| "patchbay".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_is_short_or_off() {
        assert_eq!(spin("0"), Ok(Duration::ZERO));
        assert_eq!(spin("0ms"), Ok(Duration::ZERO));
        assert_eq!(spin("80us"), Ok(Duration::from_micros(80)));
        assert_eq!(spin("1ms"), Ok(MAX_SPIN));
        for text in ["1001us", "1s", "50", "fast"] {
            assert!(spin(text).is_err(), "{text:?}");
        }
    }
}
