//! The router as a process: started on free ports with a data directory of its own, ended by its pid.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// How long anything that ought to happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The binary under test: `$PATCHBAY_BIN`, or the one in the target directory of these tests.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PATCHBAY_BIN") {
        return path.into();
    }
    let mut folder = std::env::current_exe().expect("a test has a path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join("patchbay");
    assert!(
        path.exists(),
        "{} is not built: run `cargo build -p patchbay` (or `cargo xtask test`)",
        path.display()
    );
    path
}

/// The folder with the built policies: `$PATCHBAY_POLICIES`, or `target/policies` of the workspace.
pub fn policies() -> PathBuf {
    let path = std::env::var_os("PATCHBAY_POLICIES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/policies"),
        PathBuf::from,
    );
    assert!(
        path.join("default.wasm").exists(),
        "{} has no default.wasm: run `cargo xtask policies`",
        path.display()
    );
    path
}

/// What a router is started with.
pub struct Setup {
    listen: Vec<String>,
    node: String,
    sections: String,
    policy_keys: String,
    settings: Vec<(String, String)>,
    users: Vec<[String; 3]>,
    policy_files: Vec<(String, PathBuf)>,
    active: String,
    workers: u16,
    registration: &'static str,
    algorithms: &'static str,
    admin: String,
    directory: Option<TempDir>,
    program: Vec<OsString>,
    patience: Duration,
    compiled: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            listen: vec!["udp:127.0.0.1:0".into(), "tcp:127.0.0.1:0".into()],
            node: String::new(),
            sections: String::new(),
            policy_keys: String::new(),
            settings: Vec::new(),
            users: Vec::new(),
            policy_files: Vec::new(),
            active: "default".into(),
            workers: 1,
            registration: "open",
            algorithms: r#"["SHA-256", "MD5"]"#,
            admin: String::new(),
            directory: None,
            program: Vec::new(),
            patience: PATIENCE,
            compiled: None,
        }
    }
}

impl Setup {
    /// The default policy with open registration on loopback, UDP and TCP.
    pub fn new() -> Setup {
        Setup::default()
    }

    /// Replaces the listeners.
    pub fn listen(mut self, addresses: &[&str]) -> Setup {
        self.listen = addresses.iter().map(|&a| a.to_owned()).collect();
        self
    }

    /// A key of `[policy.settings]`.
    pub fn setting(mut self, name: &str, value: &str) -> Setup {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Further keys of `[policy]`, as TOML lines.
    pub fn policy_keys(mut self, lines: &str) -> Setup {
        self.policy_keys.push_str(lines);
        self.policy_keys.push('\n');
        self
    }

    /// A digest user of the realm `localhost`; turns required registration on.
    pub fn user(self, name: &str, password: &str) -> Setup {
        self.user_of("localhost", name, password)
    }

    /// A digest user of this realm; turns required registration on.
    pub fn user_of(mut self, realm: &str, name: &str, password: &str) -> Setup {
        self.users.push([name, realm, password].map(str::to_owned));
        self.registration = "required";
        self
    }

    /// Challenges with MD5 only, for clients that look at the first challenge only and know nothing else.
    pub fn md5_only(mut self) -> Setup {
        self.algorithms = r#"["MD5"]"#;
        self
    }

    /// Puts a policy into the policy directory under this name.
    pub fn policy(mut self, name: &str, file: &Path) -> Setup {
        self.policy_files.push((name.to_owned(), file.to_owned()));
        self
    }

    /// The name of the active policy.
    pub fn active(mut self, name: &str) -> Setup {
        name.clone_into(&mut self.active);
        self
    }

    /// The number of workers.
    pub fn workers(mut self, workers: u16) -> Setup {
        self.workers = workers;
        self
    }

    /// Further keys of `[node]`, as TOML lines.
    pub fn node(mut self, lines: &str) -> Setup {
        self.node.push_str(lines);
        self.node.push('\n');
        self
    }

    /// Further keys of `[admin]`, as TOML lines.
    pub fn admin(mut self, lines: &str) -> Setup {
        self.admin.push_str(lines);
        self.admin.push('\n');
        self
    }

    /// Further sections, as TOML.
    pub fn section(mut self, text: &str) -> Setup {
        self.sections.push_str(text);
        self.sections.push('\n');
        self
    }

    /// Uses the directory (data and policies) of a router that has ended.
    pub fn directory(mut self, directory: TempDir) -> Setup {
        self.directory = Some(directory);
        self
    }

    /// Starts this program instead of the binary under test: the words before `run`. It may take so long until it serves.
    pub fn program(mut self, words: Vec<OsString>, patience: Duration) -> Setup {
        (self.program, self.patience) = (words, patience);
        self
    }

    /// How long it may take until it serves.
    pub fn patience(mut self, patience: Duration) -> Setup {
        self.patience = patience;
        self
    }

    /// Starts with the compiled policies in this folder, as a router has that ran before.
    pub fn compiled(mut self, folder: PathBuf) -> Setup {
        self.compiled = Some(folder);
        self
    }

    /// Writes the files, starts the router and waits until it serves.
    pub fn start(self) -> Router {
        let directory = self
            .directory
            .unwrap_or_else(|| TempDir::new().expect("a temporary directory"));
        let root = directory.path();
        let policy_directory = root.join("policies");
        std::fs::create_dir_all(&policy_directory).expect("a policy directory");
        if self.active == "default" && !policy_directory.join("default.wasm").exists() {
            std::fs::copy(
                policies().join("default.wasm"),
                policy_directory.join("default.wasm"),
            )
            .expect("copy the default policy");
        }
        for (name, file) in &self.policy_files {
            std::fs::copy(file, policy_directory.join(format!("{name}.wasm")))
                .expect("copy a policy");
        }
        if let Some(folder) = &self.compiled {
            copy_compiled(folder, &root.join("data/policies/cache"));
        }
        let mut config = format!(
            "[node]\nname = \"test\"\ndomains = [\"localhost\"]\ndata_dir = {:?}\nworkers = {}\n{}\n",
            root.join("data"),
            self.workers,
            self.node
        );
        for address in &self.listen {
            config.push_str(&format!("[[listen]]\naddress = {address:?}\n"));
        }
        if !self.sections.contains("[policy]") {
            config.push_str(&format!(
                "[policy]\ndirectory = {policy_directory:?}\nactive = {:?}\n{}",
                self.active, self.policy_keys
            ));
        }
        config.push_str("[policy.settings]\n");
        for (name, value) in &self.settings {
            config.push_str(&format!("{name} = {value:?}\n"));
        }
        if !self.sections.contains("[auth]") {
            config.push_str(&format!(
                "[auth]\nrealm = \"localhost\"\nregistration = {:?}\nalgorithms = {}\n",
                self.registration, self.algorithms
            ));
        }
        config.push_str(&format!(
            "[admin]\nlisten = \"127.0.0.1:0\"\n{}",
            self.admin
        ));
        config.push_str(&self.sections);
        let file = root.join("patchbay.toml");
        std::fs::write(&file, config).expect("write patchbay.toml");
        import_users(&file, root, &self.users);
        let mut words = self.program.into_iter();
        let mut command = Command::new(words.next().unwrap_or_else(|| binary().into()));
        command.args(words).arg("run").arg("--config").arg(&file);
        Router::launch_within(&mut command, Some(directory), self.patience)
    }
}

/// Copies the files of a cache that were not just written by another process, which writes beside and renames.
fn copy_compiled(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a cache");
    for entry in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension != "new") {
            std::fs::copy(&path, to.join(entry.file_name())).expect("copy a compiled policy");
        }
    }
}

fn import_users(config: &Path, root: &Path, users: &[[String; 3]]) {
    if users.is_empty() {
        return;
    }
    let lines: String = users
        .iter()
        .map(|user| format!("{}\n", user.join(",")))
        .collect();
    let file = root.join("users.csv");
    std::fs::write(&file, lines).expect("write users.csv");
    let output = Command::new(binary())
        .args(["user", "import"])
        .arg(&file)
        .arg("--config")
        .arg(config)
        .output()
        .expect("run patchbay user import");
    assert!(
        output.status.success(),
        "patchbay user import: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A running router; ended with SIGKILL when it is dropped.
pub struct Router {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    listeners: Vec<(String, SocketAddr)>,
    admin: SocketAddr,
    directory: Option<TempDir>,
}

impl Router {
    /// Starts the router with the default policy in the development set-up.
    pub fn start() -> Router {
        Setup::new().start()
    }

    /// Runs this command, which starts a router, and waits until it serves.
    pub fn launch(command: &mut Command, directory: Option<TempDir>) -> Router {
        Router::launch_within(command, directory, PATIENCE)
    }

    fn launch_within(
        command: &mut Command,
        directory: Option<TempDir>,
        patience: Duration,
    ) -> Router {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start patchbay");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("stderr is piped");
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                lines.lock().expect("the log").push(line);
            }
        });
        let mut router = Router {
            child,
            log,
            listeners: Vec::new(),
            admin: SocketAddr::from(([0, 0, 0, 0], 0)),
            directory,
        };
        router.wait_until_ready(patience);
        router
    }

    fn wait_until_ready(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let lines = self.log.lock().expect("the log").clone();
            self.listeners = lines
                .iter()
                .filter(|l| l.contains("listening"))
                .filter_map(|l| field(l, "transport").zip(field(l, "address")?.parse().ok()))
                .collect();
            let admin = self
                .listeners
                .iter()
                .find(|(transport, _)| transport == "http")
                .map(|(_, address)| *address);
            if let Some(admin) = admin {
                self.admin = admin;
                if ureq::get(format!("http://{admin}/readyz")).call().is_ok() {
                    self.listeners.retain(|(transport, _)| transport != "http");
                    return;
                }
            }
            if let Some(status) = self.child.try_wait().expect("wait for the router") {
                panic!("the router ended with {status}:\n{}", lines.join("\n"));
            }
            assert!(
                Instant::now() < deadline,
                "the router is not ready:\n{}",
                lines.join("\n")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The bound address of the first listener of this transport.
    pub fn address(&self, transport: &str) -> SocketAddr {
        self.listeners
            .iter()
            .find(|(t, _)| t == transport)
            .unwrap_or_else(|| panic!("no {transport} listener"))
            .1
    }

    /// The UDP address.
    pub fn udp(&self) -> SocketAddr {
        self.address("udp")
    }

    /// The TCP address.
    pub fn tcp(&self) -> SocketAddr {
        self.address("tcp")
    }

    /// The address of the admin API.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory with `patchbay.toml`, `data` and `policies`.
    pub fn path(&self) -> &Path {
        self.directory.as_ref().expect("started by Setup").path()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").join("\n")
    }

    /// GET of the admin API, as JSON.
    pub fn get(&self, path: &str) -> Value {
        let mut response = ureq::get(format!("http://{}{path}", self.admin))
            .call()
            .unwrap_or_else(|error| panic!("GET {path}: {error}"));
        response
            .body_mut()
            .read_json()
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// GET of the admin API, as text.
    pub fn get_text(&self, path: &str) -> String {
        let mut response = ureq::get(format!("http://{}{path}", self.admin))
            .call()
            .unwrap_or_else(|error| panic!("GET {path}: {error}"));
        response
            .body_mut()
            .read_to_string()
            .unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// POST of JSON to the admin API: status and answer.
    pub fn post(&self, path: &str, body: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut response = agent
            .post(format!("http://{}{path}", self.admin))
            .header("Content-Type", "application/json")
            .send(body)
            .unwrap_or_else(|error| panic!("POST {path}: {error}"));
        (
            response.status().as_u16(),
            response.body_mut().read_to_string().unwrap_or_default(),
        )
    }

    /// DELETE of the admin API: status and answer.
    pub fn delete(&self, path: &str) -> (u16, String) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut response = agent
            .delete(format!("http://{}{path}", self.admin))
            .header("Content-Type", "application/json")
            .call()
            .unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
        (
            response.status().as_u16(),
            response.body_mut().read_to_string().unwrap_or_default(),
        )
    }

    /// The value of a metric: the sum over its label sets that contain `labels`.
    pub fn metric(&self, name: &str, labels: &str) -> f64 {
        self.get_text("/metrics")
            .lines()
            .filter(|line| {
                line.starts_with(name)
                    && line[name.len()..].starts_with(['{', ' '])
                    && line.contains(labels)
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Waits until the log has a line with this text.
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), || {
            self.log().contains(text)
        });
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .expect("run kill");
        assert!(status.success(), "kill -{name} failed");
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for the router") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the router does not end:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the process with SIGKILL and gives back its directory.
    pub fn kill(mut self) -> TempDir {
        self.signal("KILL");
        self.child.wait().expect("reap the router");
        self.directory.take().expect("started by Setup")
    }

    /// Ends the process with SIGTERM and gives back its directory.
    pub fn stop(mut self) -> TempDir {
        self.signal("TERM");
        let status = self.wait();
        assert!(
            status.success(),
            "the router ended with {status}:\n{}",
            self.log()
        );
        self.directory.take().expect("started by Setup")
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // The process may be gone already: then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the router's log ---\n{}", self.log());
        }
    }
}

/// Waits, within the patience of these tests, until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn field(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("{name}="))?;
    Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
}
