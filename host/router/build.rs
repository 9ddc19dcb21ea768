//! Embeds the default policy, `target/policies/default.wasm` of the workspace or `$PATCHBAY_DEFAULT_POLICY`.

use std::path::PathBuf;
use std::process::ExitCode;

const ADVICE: &str = "the default policy is not built: run `cargo xtask policies` first";

fn main() -> ExitCode {
    println!("cargo:rerun-if-env-changed=PATCHBAY_DEFAULT_POLICY");
    let workspace = PathBuf::from(env("CARGO_MANIFEST_DIR")).join("../..");
    let built = std::env::var_os("PATCHBAY_DEFAULT_POLICY").map_or_else(
        || workspace.join("target/policies/default.wasm"),
        PathBuf::from,
    );
    println!("cargo:rerun-if-changed={}", built.display());
    let policy = match std::fs::read(&built) {
        Ok(policy) => policy,
        Err(error) if env("PROFILE") == "release" => {
            eprintln!("{}: {error}\n{ADVICE}", built.display());
            return ExitCode::FAILURE;
        }
        Err(_) => {
            // Checking and testing parts of the router needs no policy; a router without one says the same when it starts.
            println!("cargo:warning={ADVICE}");
            Vec::new()
        }
    };
    let embedded = PathBuf::from(env("OUT_DIR")).join("default.wasm");
    if let Err(error) = std::fs::write(&embedded, policy) {
        eprintln!("{}: {error}", embedded.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
