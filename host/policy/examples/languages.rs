//! What a policy costs in each language: the table of `docs/languages.md`.
//!
//! `cargo run --release -p patchbay-policy --example languages -- target/policies/screening-*.wasm`
//!
//! The hook is `request-route` for an INVITE to somebody without a phone: five calls to the host and a reply.

#![allow(
    clippy::unwrap_used,
    reason = "a program for developers reports by panicking"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use patchbay_policy::{Engine, EngineConfig, Hook, Instances, Version};
use support::{TestHost, block_on};

/// Runs of a hook that are measured together, and how often; the median counts.
const BATCH: u32 = 200;
const BATCHES: usize = 25;
/// Fresh instances that are measured, one by one.
const FRESH: usize = 50;

fn main() {
    let files: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    println!("| policy | component | compile | start | fresh instance + init + hook | hook |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for file in &files {
        println!("{}", row(file));
    }
}

fn row(file: &Path) -> String {
    let bytes = std::fs::read(file).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    load(&bytes, cache.path(), 1);
    let compile = begin.elapsed();
    let start = median((0..5).map(|_| timed(|| drop(load(&bytes, cache.path(), 1)))));
    let fresh = load(&bytes, cache.path(), 1);
    let fresh_time = median((0..FRESH).map(|_| run(&fresh, 1)));
    let reused = load(&bytes, cache.path(), u32::MAX);
    run(&reused, BATCH);
    let hook = median((0..BATCHES).map(|_| run(&reused, BATCH))) / BATCH;
    format!(
        "| {} | {} | {} | {} | {} | {} |",
        file.file_stem().unwrap_or_default().to_string_lossy(),
        size(bytes.len()),
        time(compile),
        time(start),
        time(fresh_time),
        time(hook)
    )
}

type Guest = (Arc<Version<TestHost>>, Instances<TestHost>);

/// With the limits that are the defaults of the configuration.
fn load(bytes: &[u8], cache: &Path, instance_reuse: u32) -> Guest {
    let config = EngineConfig {
        cache_dir: Some(cache.to_owned()),
        instance_reuse,
        ..EngineConfig::default()
    };
    let engine = Engine::new(config).unwrap();
    let version = engine.load("measured", bytes, || TestHost::new(0)).unwrap();
    (version, Instances::new(engine, 0))
}

/// How long so many hooks take, one after the other.
fn run((version, instances): &Guest, times: u32) -> Duration {
    let hosts: Vec<TestHost> = (0..times).map(|_| TestHost::new(0)).collect();
    block_on(async {
        let begin = Instant::now();
        for host in hosts {
            let run = instances.run(version, Hook::RequestRoute, host, None);
            run.await.result.unwrap();
        }
        begin.elapsed()
    })
}

fn timed(what: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    what();
    begin.elapsed()
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1_000_000 => format!("{} KB", bytes.div_ceil(1000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn time(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..100.0 => format!("{micros:.1} µs"),
        ..1000.0 => format!("{micros:.0} µs"),
        ..1e6 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.1} s", micros / 1e6),
    }
}
