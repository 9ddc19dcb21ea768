//! Finds what compiles Rust policies, or fetches it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{BuildError, TARGET, command, debian};

/// How long `rustup target add` may take. Where it gets through it needs a few seconds; a closed network fails at once or never.
const RUSTUP_LIMIT: Duration = Duration::from_secs(60);

/// Forces a way, to try one that the machine would not take: `installed`, `rustup` or `debian`.
const CHOICE: &str = "PATCHBAY_GUEST_TOOLCHAIN";

/// Where a toolchain came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The compiler in use has the target.
    Installed,
    /// `rustup target add` has just brought it.
    Rustup,
    /// Debian's compiler in the cache, with a standard library built from Debian's source.
    Debian,
}

/// What compiles Rust policies to WebAssembly.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// Where it came from.
    pub origin: Origin,
    environment: Vec<(&'static str, OsString)>,
}

impl Toolchain {
    /// `cargo` as it has to be called to use this toolchain.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.envs(self.environment.iter().map(|(name, value)| (name, value)));
        cargo
    }

    pub(crate) fn new(origin: Origin, environment: Vec<(&'static str, OsString)>) -> Toolchain {
        Toolchain {
            origin,
            environment,
        }
    }
}

/// Finds a toolchain with the target [`TARGET`]; when there is none, asks rustup for it, and when that does not get through,
/// makes one of Debian's packages. What was found or made once is used again at once.
///
/// # Errors
/// When all of this fails; the error names the command that would help.
pub fn ensure_toolchain(progress: &mut dyn FnMut(&str)) -> Result<Toolchain, BuildError> {
    if env::var_os("CARGO").is_none() && !command::exists("cargo") {
        return Err(BuildError::Missing {
            what: "cargo",
            reason: "it is not in PATH".to_owned(),
            command: "open https://rustup.rs, and do what it says".to_owned(),
        });
    }
    match env::var(CHOICE).as_deref() {
        Ok("installed") => {
            installed().ok_or_else(|| missing("the compiler in use does not have it".to_owned()))
        }
        Ok("rustup") => from_rustup(progress),
        Ok("debian") => debian::toolchain(progress),
        _ => any(progress),
    }
}

/// The first way that works, cheapest first.
fn any(progress: &mut dyn FnMut(&str)) -> Result<Toolchain, BuildError> {
    if let Some(toolchain) = installed() {
        return Ok(toolchain);
    }
    if let Some(toolchain) = debian::cached()? {
        return Ok(toolchain);
    }
    let rustup = match from_rustup(progress) {
        Ok(toolchain) => return Ok(toolchain),
        Err(error) => error,
    };
    progress(&format!("{rustup}; falling back to Debian's compiler"));
    debian::toolchain(progress).map_err(|debian| missing(format!("{rustup}; {debian}")))
}

fn installed() -> Option<Toolchain> {
    let library = command::output(Command::new("rustc").args([
        "--print",
        "target-libdir",
        "--target",
        TARGET,
    ]))
    .ok()?;
    Path::new(library.trim())
        .is_dir()
        .then(|| Toolchain::new(Origin::Installed, Vec::new()))
}

fn from_rustup(progress: &mut dyn FnMut(&str)) -> Result<Toolchain, BuildError> {
    if !command::exists("rustup") {
        return Err(missing("there is no rustup".to_owned()));
    }
    progress(&format!(
        "rustup target add {TARGET} (at most {} s)",
        RUSTUP_LIMIT.as_secs()
    ));
    command::run_within(
        Command::new("rustup").args(["target", "add", TARGET]),
        RUSTUP_LIMIT,
    )?;
    let toolchain = installed()
        .ok_or_else(|| missing("rustup said it was added, rustc does not find it".to_owned()))?;
    Ok(Toolchain {
        origin: Origin::Rustup,
        ..toolchain
    })
}

fn missing(reason: String) -> BuildError {
    BuildError::Missing {
        what: "the Rust standard library for wasm32-unknown-unknown",
        reason,
        command: format!("rustup target add {TARGET}"),
    }
}

/// The linker for WebAssembly that comes with the compiler in use.
pub(crate) fn rust_lld() -> Result<PathBuf, BuildError> {
    let sysroot = command::output(
        Command::new("rustc")
            .args(["--print", "sysroot"])
            .env_remove("RUSTC"),
    )?;
    let targets = Path::new(sysroot.trim()).join("lib").join("rustlib");
    let entries = targets
        .read_dir()
        .map_err(|error| BuildError::io("read", &targets, error))?;
    let candidates = entries
        .flatten()
        .map(|entry| entry.path().join("bin").join("rust-lld"));
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| BuildError::Missing {
            what: "the linker rust-lld",
            reason: format!("not below {}", targets.display()),
            command: "rustup component add llvm-tools".to_owned(),
        })
}
