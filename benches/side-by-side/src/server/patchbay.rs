//! Patchbay, with the policy `bench`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Product, Server, Setup, run};
use crate::failure::Failure;
use crate::machine::{Machine, repository};

/// The users with a password, `a0` and so on.
const USERS: usize = 1000;

/// The command line, and the users when they are not there.
pub(super) fn command(
    machine: &Machine,
    folder: &Path,
    setup: &Setup,
) -> Result<Vec<String>, Failure> {
    let data = folder.join("data");
    if !data.join("users.csv").is_file() {
        make_users(machine, &data)?;
    }
    let address = Product::Patchbay.address();
    let mut words = vec![shown(&machine.patchbay), "run".to_owned()];
    let mut option = |name: &str, value: String| words.extend([name.to_owned(), value]);
    option("--config", shown(&configuration()));
    option("--data-dir", shown(&data));
    option("--listen", format!("udp:{address}"));
    if setup.tcp {
        option("--listen", format!("tcp:{address}"));
    }
    let durability = if setup.stored { "batched" } else { "memory" };
    option(
        "--set",
        format!("policy.directory={}", shown(&machine.policies)),
    );
    option("--set", "policy.active=bench".to_owned());
    option("--set", format!("registrar.durability={durability}"));
    option("--set", format!("node.workers={}", setup.workers));
    option("--set", "admin.listen=127.0.0.1:0".to_owned());
    Ok(words)
}

fn make_users(machine: &Machine, data: &Path) -> Result<(), Failure> {
    fs::create_dir_all(data).map_err(Failure::file(data))?;
    let list = data.with_extension("csv");
    let lines: Vec<String> = (0..USERS)
        .map(|user| format!("a{user},bench.test,secret\n"))
        .collect();
    fs::write(&list, lines.concat()).map_err(Failure::file(&list))?;
    run(Command::new(&machine.patchbay)
        .args(["user", "import"])
        .arg(&list)
        .arg("--config")
        .arg(configuration())
        .arg("--data-dir")
        .arg(data))
}

/// Has the policy compiled and kept, so that a start under observation need not do it.
pub(crate) fn warm_up(machine: &Machine) -> Result<(), Failure> {
    Server::start(machine, Product::Patchbay, &Setup::default())?.stop();
    Ok(())
}

fn configuration() -> std::path::PathBuf {
    repository().join("benches/side-by-side/patchbay.toml")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
