//! Calls through the real router while many TCP connections are open and idle.
//!
//! The router does not look out for the next datagram before it sleeps (`[node] spin`): that takes as long as this program needs for the next
//! message, and says nothing about the router. All routers run on the same core: to be woken costs several times as much on some cores as
//! on others, and which one a router would get is chance.

use std::ffi::OsString;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use patchbay_tests::lock_step::LockStep;
use patchbay_tests::router::{self, Router, Setup, wait_until};

/// Idle connections of each router.
const SIZES: [usize; 3] = [0, 1_000, 10_000];
/// All routers take their turns in each round.
const ROUNDS: u32 = 15;
const CALLS: u32 = 100;
/// How long a router may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

struct Loaded {
    router: Router,
    load: LockStep,
    connections: Vec<TcpStream>,
    /// CPU time of a call in each round.
    rounds: Vec<Duration>,
}

/// Measures and prints; the median of the rounds counts.
pub(crate) fn print() {
    eprintln!("connections: CPU time");
    // Every connection is an open file here as well.
    rlimit::increase_nofile_limit(u64::MAX).expect("as many open files as are granted");
    let mut routers = SIZES.map(start);
    for _ in 0..ROUNDS {
        routers.iter_mut().for_each(Loaded::round);
    }
    println!("\n| idle TCP connections | CPU of the router per call, µs | ratio |");
    println!("| ---: | ---: | ---: |");
    let medians = routers.each_mut().map(Loaded::median);
    for (router, median) in routers.iter().zip(medians) {
        println!(
            "| {} | {:.1} | {:.2} |",
            router.connections.len(),
            median.as_secs_f64() * 1e6,
            median.as_secs_f64() / medians[0].as_secs_f64()
        );
    }
}

fn start(connections: usize) -> Loaded {
    let router = Setup::new()
        .node("spin = \"0\"")
        .section("[registrar]\ndurability = \"memory\"")
        .program(on_last_core(), PATIENCE)
        .start();
    let mut load = LockStep::new(Duration::ZERO);
    load.set_router(router.udp());
    load.register();
    let address = router.tcp();
    let connections: Vec<TcpStream> = (0..connections)
        .map(|number| {
            TcpStream::connect(address).unwrap_or_else(|error| {
                panic!("connection {number}: {error} (is `ulimit -Hn` above 12,000?)")
            })
        })
        .collect();
    wait_until("the connections are accepted", || {
        router.metric("patchbay_sip_connections", "") >= connections.len() as f64
    });
    let mut loaded = Loaded {
        router,
        load,
        connections,
        rounds: Vec::new(),
    };
    loaded.round();
    loaded.rounds.clear();
    loaded
}

/// The router, on the last core.
fn on_last_core() -> Vec<OsString> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let last = (cores - 1).to_string();
    let mut words = ["taskset", "--cpu-list", &last]
        .map(OsString::from)
        .to_vec();
    words.push(router::binary().into());
    words
}

impl Loaded {
    fn round(&mut self) {
        let before = self.cpu_time();
        (0..CALLS).for_each(|_| self.load.call());
        self.rounds.push((self.cpu_time() - before) / CALLS);
    }

    fn median(&mut self) -> Duration {
        self.rounds.sort();
        self.rounds[self.rounds.len() / 2]
    }

    /// Of all threads of the router, from the scheduler's own account.
    fn cpu_time(&self) -> Duration {
        let tasks = format!("/proc/{}/task", self.router.pid());
        let threads = std::fs::read_dir(tasks).expect("the router's threads");
        let spent = threads.flatten().filter_map(|thread| {
            // A thread that has just ended has no account.
            let account = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            account.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }
}
