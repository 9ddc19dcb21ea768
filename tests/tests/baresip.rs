//! A real client: baresip registers with digest authentication, calls, hangs up, is busy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use patchbay_tests::router::{Setup, wait_until};
use patchbay_tests::sipp::free_port;
use tempfile::TempDir;

struct Baresip {
    child: Child,
    output: Arc<Mutex<String>>,
    _directory: TempDir,
}

impl Baresip {
    /// Starts a client that registers `user` and then runs `commands`.
    fn start(router: SocketAddr, user: &str, account: &str, commands: &[&str]) -> Baresip {
        let directory = TempDir::new().expect("a temporary directory");
        let listen = free_port(router);
        let config = format!(
            "sip_listen {listen}\naudio_player aubridge,line\naudio_source aubridge,line\nmodule_path {}\nmodule aubridge.so\n             module g711.so\nmodule_app account.so\nmodule_app menu.so\nmodule stdio.so\n",
            module_path()
        );
        std::fs::write(directory.path().join("config"), config).expect("write config");
        let account = format!(
            "<sip:{user}@localhost>;auth_user={user};auth_pass=secret;outbound=\"sip:{router};transport=udp\";regint=600;{account}\n"
        );
        std::fs::write(directory.path().join("accounts"), account).expect("write accounts");
        std::fs::write(directory.path().join("contacts"), "").expect("write contacts");
        let mut child = Command::new("stdbuf")
            .args(["-oL", "baresip", "-4", "-f"])
            .arg(directory.path())
            .args(["-t", "60"])
            .args(commands.iter().flat_map(|command| ["-e", command]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "baresip does not start ({error}): install it with `apt-get install baresip`"
                )
            });
        let output = Arc::new(Mutex::new(String::new()));
        for stream in [
            Box::new(child.stdout.take().expect("piped")) as Box<dyn std::io::Read + Send>,
            Box::new(child.stderr.take().expect("piped")),
        ] {
            let output = Arc::clone(&output);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut output = output.lock().expect("the output");
                    output.push_str(&line);
                    output.push('\n');
                }
            });
        }
        Baresip {
            child,
            output,
            _directory: directory,
        }
    }

    fn output(&self) -> String {
        self.output.lock().expect("the output").clone()
    }

    fn wait_for(&self, text: &str) {
        wait_until(&format!("{text:?} from baresip"), || {
            self.output().contains(text)
        });
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- baresip ---\n{}", self.output());
        }
    }
}

fn module_path() -> &'static str {
    let path = "/usr/lib/baresip/modules";
    assert!(
        Path::new(path).exists(),
        "{path} is missing: install baresip with `apt-get install baresip`"
    );
    path
}

#[test]
fn two_clients_register_and_one_calls_the_other() {
    let router = Setup::new()
        .md5_only()
        .user("alice", "secret")
        .user("bob", "secret")
        .start();
    let bob = Baresip::start(router.udp(), "bob", "answermode=auto", &[]);
    wait_until("bob's registration", || {
        router
            .get("/api/v1/registrations")
            .to_string()
            .contains("bob@")
    });
    let alice = Baresip::start(router.udp(), "alice", "", &["/dial sip:bob@localhost"]);
    alice.wait_for("Call established");
    bob.wait_for("Call established");
}

#[test]
fn a_busy_client_sends_its_caller_to_voicemail() {
    let voicemail_at = free_port("127.0.0.1:9".parse().expect("an address"));
    let router = Setup::new()
        .md5_only()
        .user("alice", "secret")
        .user("bob", "secret")
        .setting("voicemail", &format!("sip:voicemail@{voicemail_at}"))
        .start();
    let voicemail =
        patchbay_tests::sipp::Sipp::start_at("uas_answer", voicemail_at, router.udp(), "u1", &[]);
    let mut bob = patchbay_tests::agent::Agent::udp(router.udp(), "bob");
    bob.register_with("secret");
    let alice = Baresip::start(router.udp(), "alice", "", &["/dial sip:bob@localhost"]);
    let invite = bob.expect_request("INVITE");
    bob.respond(&invite, 486, "", "");
    alice.wait_for("Call established");
    drop(alice);
    drop(voicemail);
}
