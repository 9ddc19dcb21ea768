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
    let policies = folder.join("policies");
    only_bench(machine, &policies)?;
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
    option("--set", format!("policy.directory={}", shown(&policies)));
    option("--set", "policy.active=bench".to_owned());
    option("--set", format!("registrar.durability={durability}"));
    option("--set", format!("node.workers={}", setup.workers));
    option("--set", "admin.listen=127.0.0.1:0".to_owned());
    Ok(words)
}

/// A directory with the one policy that is measured: a router compiles whatever is in its directory.
fn only_bench(machine: &Machine, folder: &Path) -> Result<(), Failure> {
    let (built, kept) = (
        machine.policies.join("bench.wasm"),
        folder.join("bench.wasm"),
    );
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(&built, &kept))
        .map_err(Failure::file(&built))?;
    Ok(())
}

/// Whether the running router has compiled its policies. The built-in one, which comes last, is in the list from then on.
pub(super) fn has_compiled(machine: &Machine, folder: &Path) -> bool {
    let listed = Command::new(&machine.patchbay)
        .args(["policy", "list", "--json", "--data-dir"])
        .arg(folder.join("data"))
        .output();
    let listed: Option<serde_json::Value> = listed
        .ok()
        .and_then(|output| serde_json::from_slice(&output.stdout).ok());
    listed
        .as_ref()
        .and_then(|listed| listed.get("policies").unwrap_or(listed).as_array())
        .into_iter()
        .flatten()
        .any(|policy| policy.get("name").is_some_and(|name| name == "builtin"))
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

/// How many messages workers have handed to each other since the start.
pub(crate) fn messages_handed_over(server: &Server) -> Result<f64, Failure> {
    let path = server.folder.join("data/admin.json");
    let text = fs::read_to_string(&path).map_err(Failure::file(&path))?;
    let admin: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| Failure::Report(text.clone(), error))?;
    let field = |name| admin.get(name).and_then(serde_json::Value::as_str);
    let address = field("address").unwrap_or_default();
    let token = field("token").unwrap_or_default();
    let metrics = ureq::get(format!("http://{address}/metrics"))
        .header("Authorization", format!("Bearer {token}"))
        .call()?
        .body_mut()
        .read_to_string()?;
    Ok(sum_of(&metrics, "patchbay_sip_messages_handed_over_total"))
}

/// Adds up all lines of a metric.
fn sum_of(metrics: &str, name: &str) -> f64 {
    let values = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let rest = rest.starts_with([' ', '{']).then_some(rest)?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    });
    values.sum()
}

fn configuration() -> std::path::PathBuf {
    repository().join("benches/side-by-side/patchbay.toml")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_added_up_over_its_labels() {
        let metrics = "# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3\na_b 7\nc 1\n";
        assert_eq!(sum_of(metrics, "a"), 5.0);
        assert_eq!(sum_of(metrics, "c"), 1.0);
        assert_eq!(sum_of(metrics, "d"), 0.0);
    }
}
