//! The servers that are measured.

mod kamailio;
mod patchbay;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;
use crate::machine::Machine;
use crate::{process, system};

pub(crate) use kamailio::is_there as has_kamailio;
pub(crate) use patchbay::messages_handed_over;

/// How long a port may be another's before a server is started on it.
const PORT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a server may take to end before it is made to.
const PATIENCE: Duration = Duration::from_secs(150);
/// Patchbay serves what has begun, transactions that wait for retransmissions included, until a second signal comes.
const DRAIN: Duration = Duration::from_secs(2);

/// A server program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Product {
    /// The yardstick.
    Kamailio,
    /// Ours.
    Patchbay,
}

impl Product {
    /// As one writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Product::Kamailio => "Kamailio",
            Product::Patchbay => "Patchbay",
        }
    }

    /// Both can run at the same time.
    pub(crate) fn address(self) -> SocketAddrV4 {
        let port = match self {
            Product::Kamailio => 5060,
            Product::Patchbay => 5062,
        };
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }
}

/// How a server is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Threads (Patchbay) or four times as many processes (Kamailio).
    pub(crate) workers: usize,
    /// How many of the servers' cores it gets.
    pub(crate) cores: usize,
    /// Whether registrations are kept on disk.
    pub(crate) stored: bool,
    /// Whether it serves TCP besides UDP.
    pub(crate) tcp: bool,
    /// What stands before the command: a program that watches it.
    pub(crate) watched_by: Vec<String>,
    /// How long it may take until it answers.
    pub(crate) patience: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 1,
            cores: 1,
            stored: false,
            tcp: false,
            watched_by: Vec::new(),
            patience: Duration::from_secs(60),
        }
    }
}

/// A server that runs; dropping it ends it.
pub(crate) struct Server {
    /// Which.
    pub(crate) product: Product,
    /// From the start to the first answer.
    pub(crate) ready_after: Duration,
    /// Its data.
    pub(crate) folder: PathBuf,
    child: Child,
}

impl Server {
    /// Starts it and waits until it answers. What it has stored before stays.
    pub(crate) fn start(
        machine: &Machine,
        product: Product,
        setup: &Setup,
    ) -> Result<Self, Failure> {
        let address = product.address();
        // The kernel gives the sockets of an io_uring back a moment after their process has ended.
        let began = Instant::now();
        while UdpSocket::bind(address).is_err() {
            if began.elapsed() > PORT_PATIENCE {
                return Err(Failure::InUse(address));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let folder = machine.folder.join(folder_name(product, setup));
        fs::create_dir_all(&folder).map_err(Failure::file(&folder))?;
        let words = match product {
            Product::Kamailio => kamailio::command(machine, &folder, setup)?,
            Product::Patchbay => patchbay::command(machine, &folder, setup)?,
        };
        let mut words = setup.watched_by.iter().cloned().chain(words);
        let program = words.next().unwrap_or_default();
        let log = folder.join("log");
        let output = File::create(&log).map_err(Failure::file(&log))?;
        let errors = output.try_clone().map_err(Failure::file(&log))?;
        let cores = machine.server_cores.get(..setup.cores);
        let mut command = machine.placed(cores.unwrap_or(&machine.server_cores), &program)?;
        let began = Instant::now();
        let child = command
            .args(words)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| Failure::NotStarted(program, error))?;
        let mut server = Self {
            product,
            ready_after: Duration::ZERO,
            folder,
            child,
        };
        server.wait_until_ready(began, setup.patience)?;
        Ok(server)
    }

    /// It is ready when it answers an OPTIONS.
    fn wait_until_ready(&mut self, began: Instant, patience: Duration) -> Result<(), Failure> {
        let failure = |log: &std::path::Path| Failure::NotReady {
            name: self.product.name(),
            log: last_lines(log),
        };
        let log = self.folder.join("log");
        let socket =
            UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 9), 0)).map_err(Failure::file("a socket"))?;
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .map_err(Failure::file("a socket"))?;
        for number in 0.. {
            if began.elapsed() > patience
                || self.child.try_wait().is_ok_and(|ended| ended.is_some())
            {
                return Err(failure(&log));
            }
            let question = probe(&socket, number);
            // What can't be sent yet is sent again.
            let sent = socket.send_to(question.as_bytes(), self.product.address());
            let mut answer = [0; 4096];
            let answered = sent.is_ok() && socket.recv(&mut answer).is_ok();
            if answered && answer.starts_with(b"SIP/2.0 200") {
                break;
            }
        }
        self.ready_after = began.elapsed();
        Ok(())
    }

    /// Waits until it has compiled every policy, the built-in one included, which it does beside its work. Kamailio compiles none.
    pub(crate) fn wait_until_compiled(
        &self,
        machine: &Machine,
        patience: Duration,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        while self.product == Product::Patchbay && !patchbay::has_compiled(machine, &self.folder) {
            if began.elapsed() > patience {
                return Err(Failure::NotReady {
                    name: self.product.name(),
                    log: last_lines(&self.folder.join("log")),
                });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// All its processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        process::of_session(self.child.id())
    }

    /// Asks it to end and returns how long that took.
    pub(crate) fn stop(mut self) -> Duration {
        self.end()
    }

    fn end(&mut self) -> Duration {
        let began = Instant::now();
        let processes = self.processes();
        system::signal(self.child.id(), libc::SIGTERM);
        if self.product == Product::Patchbay && !self.ends_within(DRAIN) {
            system::signal(self.child.id(), libc::SIGTERM);
        }
        self.ends_within(PATIENCE);
        let took = began.elapsed();
        let session = self.processes();
        for process in processes.into_iter().filter(|one| session.contains(one)) {
            system::signal(process, libc::SIGKILL);
        }
        // It has ended, by itself or just now.
        self.child.wait().ok();
        took
    }

    fn ends_within(&mut self, patience: Duration) -> bool {
        let began = Instant::now();
        while self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            if began.elapsed() > patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end();
        }
    }
}

/// Stored registrations have a place of their own.
fn folder_name(product: Product, setup: &Setup) -> String {
    let kind = if setup.stored { "stored" } else { "memory" };
    format!("{}-{kind}", product.name().to_lowercase())
}

fn probe(socket: &UdpSocket, number: u32) -> String {
    let from = socket
        .local_addr()
        .map_or_else(|_| String::new(), |address| address.to_string());
    format!(
        "OPTIONS sip:bench.test SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKprobe{number};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:probe@bench.test>;tag=probe\r\nTo: <sip:bench.test>\r\nCall-ID: probe{number}@{from}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

/// The end of a log.
fn last_lines(log: &std::path::Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(12).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Runs a program to its end.
fn run(command: &mut Command) -> Result<(), Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| Failure::NotStarted(name.clone(), error))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::Program(name, words))
}
