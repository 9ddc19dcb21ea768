//! SIPp as a process, with the scenario files of `tests/scenarios`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// What a run of SIPp has counted, from its statistics file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that went through the whole scenario.
    pub successful: u64,
    /// Calls that did not.
    pub failed: u64,
    /// Retransmissions it sent.
    pub retransmissions: u64,
    /// Messages that the scenario did not foresee.
    pub unexpected: u64,
}

/// A running SIPp.
pub struct Sipp {
    child: Child,
    directory: TempDir,
    scenario: String,
    /// The address it is bound to.
    pub local: SocketAddr,
}

/// The folder with the scenario files.
pub fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

impl Sipp {
    /// Starts a scenario against `remote` from a free port; `arguments` are further ones of SIPp's command line.
    pub fn start(scenario: &str, remote: SocketAddr, transport: &str, arguments: &[&str]) -> Sipp {
        let local = free_port(remote);
        Sipp::start_at(scenario, local, remote, transport, arguments)
    }

    /// The same from a given address.
    pub fn start_at(
        scenario: &str,
        local: SocketAddr,
        remote: SocketAddr,
        transport: &str,
        arguments: &[&str],
    ) -> Sipp {
        let directory = TempDir::new().expect("a temporary directory");
        let file = scenarios().join(format!("{scenario}.xml"));
        let child = Command::new("sipp")
            .current_dir(directory.path())
            .arg("-sf")
            .arg(&file)
            .args([
                "-i",
                &local.ip().to_string(),
                "-p",
                &local.port().to_string(),
                "-t",
                transport,
            ])
            .args([
                "-nostdin",
                "-trace_stat",
                "-fd",
                "1",
                "-stf",
                "stat.csv",
                "-trace_err",
                "-error_file",
                "errors.log",
                "-timeout_error",
            ])
            .args([
                "-buff_size",
                "4194304",
                "-max_socket",
                "1000",
                "-watchdog_minor_threshold",
                "100000",
                "-watchdog_major_threshold",
                "1000000",
            ])
            .args(arguments)
            .arg(remote.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(
                std::fs::File::create(directory.path().join("stderr"))
                    .map_or_else(|_| Stdio::null(), Stdio::from),
            )
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "sipp does not start ({error}): install it with `apt-get install sip-tester`"
                )
            });
        Sipp {
            child,
            directory,
            scenario: scenario.to_owned(),
            local,
        }
    }

    /// Waits for the end of the scenario.
    pub fn finish(mut self, patience: Duration) -> Counts {
        let deadline = Instant::now() + patience;
        while self.child.try_wait().expect("wait for sipp").is_none() {
            assert!(
                Instant::now() < deadline,
                "sipp {} does not end: {:?}\n{}",
                self.scenario,
                self.counts(),
                self.errors()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let counts = self.counts();
        let status = self.child.wait().expect("wait for sipp");
        if counts.failed > 0 || !status.success() {
            eprintln!(
                "--- sipp {}, {status} ---\n{}\n{}",
                self.scenario,
                self.errors(),
                self.said()
            );
        }
        counts
    }

    /// What it said besides its statistics.
    fn said(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }

    /// Ends a server scenario and gives what it has counted.
    pub fn stop(mut self) -> Counts {
        // SIGUSR1 lets SIPp end its calls and write its statistics.
        Command::new("kill")
            .args(["-USR1", &self.child.id().to_string()])
            .status()
            .expect("run kill");
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.child.try_wait().expect("wait for sipp").is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.counts()
    }

    /// What SIPp has complained of.
    pub fn errors(&self) -> String {
        let text =
            std::fs::read_to_string(self.directory.path().join("errors.log")).unwrap_or_default();
        text.chars().take(4000).collect()
    }

    fn counts(&self) -> Counts {
        let text =
            std::fs::read_to_string(self.directory.path().join("stat.csv")).unwrap_or_default();
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(';').collect();
        let values: Vec<&str> = lines.next_back().unwrap_or_default().split(';').collect();
        let value = |name: &str| {
            let column = names.iter().position(|n| *n == name)?;
            values.get(column)?.trim().parse::<u64>().ok()
        };
        Counts {
            successful: value("SuccessfulCall(C)").unwrap_or(0),
            failed: value("FailedCall(C)").unwrap_or(0),
            retransmissions: value("Retransmissions(C)").unwrap_or(0),
            unexpected: value("FailedUnexpectedMessage(C)").unwrap_or(0),
        }
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- sipp {} ---\n{}", self.scenario, self.errors());
        }
    }
}

/// A free port, for UDP and TCP, on the loopback address of the peer's family.
pub fn free_port(peer: SocketAddr) -> SocketAddr {
    let ip: std::net::IpAddr = if peer.is_ipv4() {
        [127, 0, 0, 1].into()
    } else {
        std::net::Ipv6Addr::LOCALHOST.into()
    };
    // SIPp takes the port for TCP as well, and without saying that it may be one whose last connection has just ended.
    let is_free = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.bind(&address.into())
    };
    (0..100)
        .find_map(|_| {
            let socket = std::net::UdpSocket::bind((ip, 0)).ok()?;
            let address = socket.local_addr().ok()?;
            is_free(address).ok().map(|()| address)
        })
        .expect("a free port")
}
