//! The command line.
//!
//! Exit codes: 0 done, 1 it failed, 2 wrong use. What a command prints for people or programs goes to stdout, everything else to
//! stderr.

mod call;
mod check;
mod client;
mod differing;
mod output;
mod policy;
mod policy_test;
mod record;
mod registrations;
mod run;
mod status;
mod user;
mod values;
mod wants;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, Listen, Overrides, Problems};

/// The configuration that is read when the working directory has it and `--config` is not given.
const DEFAULT_FILE: &str = "patchbay.toml";

/// A SIP router whose routing logic is WebAssembly policies.
#[derive(Debug, Parser)]
#[command(
    name = "patchbay",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  patchbay run\n  patchbay run --config /etc/patchbay/patchbay.toml\n  patchbay check --config patchbay.toml\n  patchbay policy new my-routing"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the router.
    Run(run::Run),
    /// Checks the configuration and the policies: tells every problem at once.
    Check(check::Check),
    /// Manages the digest users in the data directory, also while a router runs on it.
    #[command(
        subcommand,
        after_help = "Examples:\n  patchbay user add alice\n  patchbay user import users.csv"
    )]
    User(user::User),
    /// Makes, builds and checks policies offline, or manages those of a running router.
    #[command(
        subcommand,
        after_help = "Examples:\n  patchbay policy new my-routing && patchbay policy build my-routing\n  patchbay policy push target/policies/my-routing.wasm\n  patchbay policy canary my-routing --percent 5\n  patchbay policy rollback"
    )]
    Policy(policy::Policy),
    /// Records hook inputs, the host's answers and verdicts of a running router to a file.
    #[command(
        subcommand,
        after_help = "Examples:\n  patchbay record start --name monday --max-time 10m --redact\n  patchbay record stop\n  patchbay policy replay monday.jsonl --policy new.wasm"
    )]
    Record(record::Record),
    /// Shows the latest calls of a running router, hook by hook.
    #[command(
        subcommand,
        after_help = "Examples:\n  patchbay call list --limit 20\n  patchbay call show a84b4c76e66710@192.0.2.4"
    )]
    Call(call::Call),
    /// Shows and removes the registrations of a running router.
    #[command(
        subcommand,
        after_help = "Examples:\n  patchbay registrations list\n  patchbay registrations remove sip:alice@example.com"
    )]
    Registrations(registrations::Registrations),
    /// Shows what a running router is doing.
    Status(status::Status),
}

/// Why a command failed. All of them end with exit code 1; wrong use is found by the parser and ends with 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] Problems),
    /// The data directory can't be used.
    #[error("{0}")]
    DataDir(#[from] crate::data_dir::DataDirError),
    /// The router did not start.
    #[error("{0}")]
    Start(#[from] crate::server::StartError),
    /// A policy does not build.
    #[error("{0}")]
    Build(#[from] patchbay_guest_build::BuildError),
    /// The router can't be asked.
    #[error(
        "{url}: {problem}\nIs the router running there? --admin URL or --config FILE says where it is."
    )]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        problem: String,
    },
    /// The router said no.
    #[error("{0}")]
    Refused(String),
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Whatever the message says.
    #[error("{0}")]
    Said(String),
    /// Everything is printed already.
    #[error("")]
    Printed,
}

/// Where the configuration is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArguments {
    /// The configuration file. Default: patchbay.toml of the working directory, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory, instead of the configured one.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Sets any key of the configuration, such as registrar.durability=memory.
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<String>,
}

impl ConfigArguments {
    /// The file that is read.
    fn file(&self) -> Option<PathBuf> {
        self.config
            .clone()
            .or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.is_file()))
    }

    fn overrides(&self) -> Overrides {
        Overrides {
            data_dir: self.data_dir.clone(),
            set: self.set.clone(),
            ..Overrides::default()
        }
    }

    /// Reads it as far as that goes.
    fn examine(&self) -> (Config, Problems) {
        Config::examine(self.file().as_deref(), &self.overrides())
    }

    /// Reads it.
    fn load(&self) -> Result<Config, Problems> {
        Config::load(self.file().as_deref(), &self.overrides())
    }
}

fn listener(text: &str) -> Result<Listen, String> {
    text.parse().and_then(config::supported)
}

fn assignment(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("write a key of the configuration, = and its value".to_owned()),
    }
}

/// Runs the command of this process' arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors: they go to stdout and end with 0. Without a terminal to tell there is nothing to do.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let result = match cli.command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::User(user) => user.execute(),
        Command::Policy(policy) => policy.execute(),
        Command::Record(record) => record.execute(),
        Command::Call(call) => call.execute(),
        Command::Registrations(registrations) => registrations.execute(),
        Command::Status(status) => status.execute(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            ExitCode::FAILURE
        }
    }
}

fn report(failure: &Failure) {
    for line in failure.to_string().lines() {
        eprintln!("patchbay: {}", output::visible(line));
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn all(command: &clap::Command, found: &mut Vec<clap::Command>) {
        found.push(command.clone());
        command
            .get_subcommands()
            .for_each(|inner| all(inner, found));
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        let mut commands = Vec::new();
        all(&Cli::command(), &mut commands);
        assert!(commands.len() > 15);
        for mut command in commands {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }

    #[test]
    fn wrong_use_ends_with_2_and_help_with_0() {
        let code = |arguments: &[&str]| {
            Cli::try_parse_from(arguments)
                .expect_err("no command")
                .exit_code()
        };
        assert_eq!(code(&["patchbay", "dance"]), 2);
        assert_eq!(code(&["patchbay", "run", "--listen", "udp:nowhere"]), 2);
        assert_eq!(code(&["patchbay", "run", "--listen", "tls:127.0.0.1:0"]), 2);
        assert_eq!(code(&["patchbay", "check", "--set", "nothing"]), 2);
        assert_eq!(code(&["patchbay", "user"]), 2);
        for wrong in [
            ["policy", "canary", "a", "--percent", "101"].as_slice(),
            &["policy", "canary", "a", "--percent", "nan"],
            &["policy", "canary", "a", "--percent", "0"],
            &[
                "policy",
                "canary",
                "a",
                "--percent",
                "5",
                "--max-fault-rate",
                "200",
            ],
            &["record", "start", "--max-size", "abc"],
            &["record", "start", "--max-size", "1KiB"],
            &["record", "start", "--max-time", "0s"],
            &["record", "start", "--name", "a/b"],
        ] {
            assert_eq!(code(&[&["patchbay"], wrong].concat()), 2, "{wrong:?}");
        }
        assert_eq!(code(&["patchbay", "run", "--help"]), 0);
    }

    #[test]
    fn passwords_are_no_arguments() {
        assert!(Cli::try_parse_from(["patchbay", "user", "add", "alice", "secret"]).is_err());
        assert!(
            Cli::try_parse_from(["patchbay", "user", "add", "alice", "--password", "secret"])
                .is_err()
        );
    }
}
