//! `patchbay run`.

use std::path::PathBuf;

use clap::Args;

use super::{ConfigArguments, Failure, listener};
use crate::config::{Config, Listen};
use crate::server;

/// Starts the router.
///
/// Without a configuration file it uses the development defaults: loopback only, domains localhost and 127.0.0.1, open
/// registration, data in ./patchbay-data, the built-in policy, the admin API on 127.0.0.1:8060.
///
/// SIGTERM and SIGINT end it gracefully, a second one at once. SIGHUP reads the configuration again.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay run\n  patchbay run --config /etc/patchbay/patchbay.toml\n  patchbay run --listen udp:127.0.0.1:0 --set registrar.durability=memory\n  patchbay run --policy target/policies/mine.wasm"
)]
pub(super) struct Run {
    #[command(flatten)]
    config: ConfigArguments,
    /// Listens here instead of the configured addresses: transport:ip:port. May be given several times.
    #[arg(long, value_name = "ADDRESS", value_parser = listener)]
    listen: Vec<Listen>,
    /// Routes with this policy instead of the configured one. What is activated later goes on at the next start, unless the file has changed.
    #[arg(long, value_name = "FILE.wasm")]
    policy: Option<PathBuf>,
}

impl Run {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let file = self.config.file();
        let mut overrides = self.config.overrides();
        overrides.listen = self.listen;
        overrides.policy = self.policy;
        let config = Config::load(file.as_deref(), &overrides)?;
        server::run(config, server::Source { file, overrides })?;
        Ok(())
    }
}
