//! `cargo xtask run`: from a bare machine to a running router.

use std::path::Path;
use std::process::Command;

use crate::policies;
use crate::steps::{Failure, cargo, line, say, step, target_folder};

/// Where the router listens unless `--listen` says otherwise.
const ADDRESS: &str = "127.0.0.1:5060";

/// Builds what it takes, says how to use it, and becomes the router.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), Failure> {
    policies::build_default(root)?;
    step(cargo(root).args(["build", "--release", "--package", "patchbay"]))?;
    let binary = target_folder(root).join("release").join("patchbay");
    println!("{}", instructions(&address(arguments), &shown(&binary)));
    let mut router = Command::new(&binary);
    router
        .arg("run")
        .args(router_settings(root))
        .args(arguments);
    say(&line(&router));
    become_process(router)
}

/// The policies of this repository, the default one active. What the user gives comes later and wins.
fn router_settings(root: &Path) -> [String; 4] {
    let directory = root.join("target").join("policies");
    let set = || "--set".to_owned();
    [
        set(),
        format!("policy.directory={}", directory.display()),
        set(),
        "policy.active=default".to_owned(),
    ]
}

/// The address of the first listener for phones.
fn address(arguments: &[String]) -> String {
    let after_flag = arguments.windows(2).filter_map(|pair| match pair {
        [flag, value] if flag == "--listen" => Some(value.as_str()),
        _ => None,
    });
    let joined = arguments
        .iter()
        .filter_map(|argument| argument.strip_prefix("--listen="));
    let first = after_flag
        .chain(joined)
        .next()
        .and_then(|listener| listener.split_once(':'));
    first.map_or(ADDRESS, |(_, address)| address).to_owned()
}

/// The path as one would type it here.
fn shown(binary: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    binary
        .strip_prefix(&here)
        .unwrap_or(binary)
        .display()
        .to_string()
}

/// How to register a phone and place a call.
fn instructions(address: &str, binary: &str) -> String {
    format!(
        "
Patchbay starts on {address} (UDP and TCP), on this machine only.

  Register a phone    server (domain) {address}, user alice, any password: registration is open.
                      With baresip (Debian: apt-get install baresip), one line in ~/.baresip/accounts:
                          <sip:alice@{address};transport=udp>;regint=60
  Place a call        register a second phone as bob, then dial sip:bob@{address} on the first one.
  Without phones      with SIPp (Debian: apt-get install sip-tester), the first command in another terminal:
                          sipp -sf tests/scenarios/uas_answer.xml -i 127.0.0.1 -p 5070
                          sipp -sf tests/scenarios/uac_register_open.xml -s bob -key phone 127.0.0.1:5070 -m 1 {address}
                          sipp -sf tests/scenarios/uac_call.xml -s bob -m 1 {address}
  Ask for passwords   {binary} user add alice
                      cargo xtask run --set auth.registration=required
  Busy to voicemail   cargo xtask run --set policy.settings.voicemail=sip:voicemail@127.0.0.1:5090
  Change the routing  edit policies/default/src/lib.rs, then: {binary} policy build policies/default
                      The running router takes the new version by itself.
  Look inside         curl http://127.0.0.1:8060/api/v1/status
  Stop                Ctrl-C, twice to stop at once
"
    )
}

/// Replaces this process, so that signals reach the router.
#[cfg(unix)]
fn become_process(mut router: Command) -> Result<(), Failure> {
    use std::os::unix::process::CommandExt;
    let line = line(&router);
    Err(Failure::NotStarted(line, router.exec()))
}

#[cfg(not(unix))]
fn become_process(mut router: Command) -> Result<(), Failure> {
    step(&mut router)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_name_the_address_that_was_asked_for() {
        let arguments = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(address(&[]), ADDRESS);
        assert_eq!(
            address(&arguments(&[
                "--set",
                "a.b=c",
                "--listen",
                "udp:127.0.0.1:5070"
            ])),
            "127.0.0.1:5070"
        );
        assert_eq!(
            address(&arguments(&["--listen=tcp:[::1]:5062"])),
            "[::1]:5062"
        );
    }
}
