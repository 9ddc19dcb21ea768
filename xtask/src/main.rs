//! Set-up and chores of the repository: `cargo xtask help`.

mod bench;
mod bindings;
mod check;
mod machine;
mod policies;
mod run;
mod steps;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use steps::Failure;

/// What `cargo xtask help` prints.
const HELP: &str = "\
cargo xtask run [ARGUMENTS]      everything it takes to run the router from a bare machine, then runs it; the arguments
                                 are those of `patchbay run`
cargo xtask test [FILTER...]     everything the tests need, then all of them (or those whose name contains a filter)
cargo xtask bench [WHAT]         what the router costs: micro, growth, side-by-side, budget (`cargo xtask bench help`)
cargo xtask check                format, clippy with warnings denied, documentation
cargo xtask policies [NAME...]   builds every folder of policies/ (or these) to target/policies/NAME.wasm
cargo xtask bindings             writes the SDK's bindings anew, after a change of wit/
cargo xtask help                 this text

Example: cargo xtask run --listen udp:127.0.0.1:5070 --set policy.settings.voicemail=sip:voicemail@127.0.0.1:5090";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    match execute(&command, &arguments) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(failure)) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(1)
        }
        None => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}

/// `None`: there is no such command.
fn execute(command: &str, arguments: &[String]) -> Option<Result<(), Failure>> {
    let root = repository();
    let result = match command {
        "run" => run::run(&root, arguments),
        "test" => test::test(&root, arguments),
        "bench" => bench::bench(&root, arguments),
        "check" => check::check(&root),
        "policies" => policies::build(&root, arguments),
        "bindings" => bindings::write(&root),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        _ => return None,
    };
    Some(result)
}

/// The root of the repository.
fn repository() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}
