//! `patchbay policy`: for authors, offline; and for operators, against a running router.

mod canary;
mod list;
mod sign;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use patchbay_guest_build::Language;
use patchbay_policy::ComponentReport;
use serde_json::{Value, json};

use super::client::{AdminArguments, escape};
use super::differing::{Diff, Replay, Shadow};
use super::policy_test::Test;
use super::{Failure, output, wants};
use crate::policy_directory;
use crate::signature;

/// Makes, builds and checks policies offline, or manages those of a running router.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Writes a new policy to start from, in one of eight languages, with scenarios for `patchbay policy test` and in Rust with a test besides.
    New(New),
    /// Builds a policy to a WebAssembly component.
    Build(Build),
    /// Checks whether files are policies that a router can run.
    Check(Check),
    /// Shows what a policy is and what it wants: hooks, imports, grants it needs, memory, digest.
    Inspect(Inspect),
    /// Signs a component, or makes a key pair.
    Sign(sign::Sign),
    /// Checks the signature of a component.
    Verify(sign::Verify),
    /// Plays scenarios: files that say who calls whom, what phones answer, and what is to be seen.
    Test(Test),
    /// Lists the policies of a running router with their versions.
    List(list::List),
    /// Shows who changed what about the policies of a running router.
    Audit(list::Audit),
    /// Stores and checks a version in a running router, with the signature in FILE.wasm.sig if there is one; does not activate it.
    Push(Push),
    /// Makes a stored version the one that routes.
    Activate(Activate),
    /// Goes back to the version that routed before.
    Rollback(Rollback),
    /// Gives some new dialogs to a stored version.
    Canary(canary::Canary),
    /// Makes the canary the version that routes.
    Promote(canary::Promote),
    /// Ends the canary.
    Abort(canary::Abort),
    /// Runs recorded hooks on a version, offline, and shows where the two part.
    Replay(Replay),
    /// Runs a stored version on copies of live requests, without effects.
    Shadow(Shadow),
    /// Shows what the version in the shadow would have treated differently.
    Diff(Diff),
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy new my-routing && cd my-routing && cargo test && patchbay policy build\n  patchbay policy new --lang python my-routing && patchbay policy build my-routing"
)]
pub(super) struct New {
    /// The name: lower-case letters, digits, - and _. A path puts it elsewhere than here.
    name: PathBuf,
    /// The language; js, ts, py, rs, golang and c++ are understood too.
    #[arg(long, value_parser = language, default_value = "rust", value_name = LANGUAGES)]
    lang: Language,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy build\n  patchbay policy build policies/default --out /etc/patchbay/policies"
)]
pub(super) struct Build {
    /// The folder of the policy.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where NAME.wasm goes. Default: target/policies of the workspace.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay policy check target/policies/*.wasm")]
pub(super) struct Check {
    /// The files.
    #[arg(required = true, value_name = "FILE.wasm")]
    files: Vec<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  patchbay policy inspect target/policies/default.wasm --json")]
pub(super) struct Inspect {
    /// The file.
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy push target/policies/mine.wasm\n  patchbay policy push mine build/routing.wasm --json"
)]
pub(super) struct Push {
    /// The component, or the name of its policy when that is not the file's.
    #[arg(value_name = "FILE.wasm|NAME")]
    name_or_file: PathBuf,
    /// The component, behind a name.
    #[arg(value_name = "FILE.wasm")]
    file: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy activate mine\n  patchbay policy activate mine@3f2a91"
)]
pub(super) struct Activate {
    /// The policy, and the digest of its version or the beginning of it. Default: the newest version.
    #[arg(value_name = "NAME[@VERSION]")]
    name: String,
    /// The version, where it is not written behind the name.
    #[arg(long, value_name = "DIGEST")]
    version: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  patchbay policy rollback\n  patchbay policy rollback tenant")]
pub(super) struct Rollback {
    /// A policy that routes of the configuration name: only its version changes. Default: what routes everything else.
    name: Option<String>,
    #[command(flatten)]
    admin: AdminArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Policy {
    pub(super) fn execute(self) -> Result<(), Failure> {
        match self {
            Policy::New(new) => new.execute(),
            Policy::Build(build) => build.execute(),
            Policy::Check(check) => check.execute(),
            Policy::Inspect(inspect) => inspect.execute(),
            Policy::Sign(sign) => sign.execute(),
            Policy::Verify(verify) => verify.execute(),
            Policy::Test(test) => test.execute(),
            Policy::List(list) => list.execute(),
            Policy::Audit(audit) => audit.execute(),
            Policy::Push(push) => push.execute(),
            Policy::Activate(activate) => activate.execute(),
            Policy::Rollback(rollback) => rollback.execute(),
            Policy::Canary(canary) => canary.execute(),
            Policy::Promote(promote) => promote.execute(),
            Policy::Abort(abort) => abort.execute(),
            Policy::Replay(replay) => replay.execute(),
            Policy::Shadow(shadow) => shadow.execute(),
            Policy::Diff(diff) => diff.execute(),
        }
    }
}

/// What `--lang` takes.
const LANGUAGES: &str = "rust|javascript|typescript|python|go|c|cpp|zig";

fn language(name: &str) -> Result<Language, String> {
    Language::named(name).ok_or_else(|| format!("there are {}", LANGUAGES.replace('|', ", ")))
}

impl New {
    fn execute(self) -> Result<(), Failure> {
        let scaffold = patchbay_guest_build::new_policy(&self.name, self.lang, &mut |line| {
            eprintln!("{line}")
        })?;
        for file in &scaffold.files {
            output::line(&format!("wrote {}", file.display()));
        }
        output::line(&format!(
            "build it with: patchbay policy build {}",
            scaffold.folder.display()
        ));
        Ok(())
    }
}

impl Build {
    fn execute(self) -> Result<(), Failure> {
        let out = self
            .out
            .unwrap_or_else(|| patchbay_guest_build::default_output(&self.folder));
        let built = patchbay_guest_build::build_policy(&self.folder, &out, &mut |line| {
            eprintln!("{line}")
        })?;
        if self.json {
            output::json(
                &json!({ "name": built.name, "path": built.path, "size_bytes": built.size_bytes }),
            );
        } else {
            output::line(&built.path.display().to_string());
        }
        Ok(())
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|source| Failure::File {
        path: file.to_path_buf(),
        source,
    })
}

fn inspect(file: &Path) -> Result<ComponentReport, Failure> {
    policy_directory::inspect(&read(file)?)
        .map_err(|problem| Failure::Said(format!("{}: {problem}", file.display())))
}

/// The hooks that it has, with `init`.
fn hooks(report: &ComponentReport) -> Vec<&'static str> {
    let init = report.exports_init.then_some("init");
    let others = report.hooks.iter().map(|hook| hook.name());
    init.into_iter().chain(others).collect()
}

fn report_json(file: &Path, report: &ComponentReport) -> Value {
    json!({
        "file": file,
        "version": report.digest.as_str(),
        "size_bytes": report.size_bytes,
        "memory_bytes": report.memory_bytes,
        "hooks": hooks(report),
        "init": report.exports_init,
        "imports": report.imports,
        "capabilities": wants::json(&report.wants),
    })
}

impl Check {
    fn execute(self) -> Result<(), Failure> {
        let results: Vec<(PathBuf, Result<ComponentReport, Failure>)> = self
            .files
            .into_iter()
            .map(|file| (file.clone(), inspect(&file)))
            .collect();
        let bad = results.iter().any(|(_, result)| result.is_err());
        if self.json {
            let list: Vec<Value> = results
                .iter()
                .map(|(file, result)| json!({ "file": file, "valid": result.is_ok(), "problem": result.as_ref().err().map(ToString::to_string) }))
                .collect();
            output::json(&json!({ "policies": list }));
        } else {
            for (file, result) in &results {
                match result {
                    Ok(report) => output::line(&format!(
                        "{}: a policy, version {}",
                        file.display(),
                        report.digest.short()
                    )),
                    Err(problem) => eprintln!("{problem}"),
                }
            }
        }
        if bad { Err(Failure::Printed) } else { Ok(()) }
    }
}

impl Inspect {
    fn execute(self) -> Result<(), Failure> {
        let report = inspect(&self.file)?;
        if self.json {
            output::json(&report_json(&self.file, &report));
            return Ok(());
        }
        output::line(&format!("version {}", report.digest.as_str()));
        output::line(&format!("size    {} bytes", report.size_bytes));
        output::line(&format!("hooks   {}", hooks(&report).join(" ")));
        output::line(&format!("memory  {} bytes", report.memory_bytes));
        output::line(&format!("imports {}", report.imports.join(" ")));
        for line in wants::lines(&report.wants) {
            output::line(&line);
        }
        Ok(())
    }
}

impl Push {
    fn execute(self) -> Result<(), Failure> {
        let (name, file) = match &self.file {
            Some(file) => (self.name_or_file.as_os_str(), file),
            None => (
                self.name_or_file.file_stem().unwrap_or_default(),
                &self.name_or_file,
            ),
        };
        let name = name.to_string_lossy();
        let bytes = read(file)?;
        let signature = signature::read_beside(file).map_err(|source| Failure::File {
            path: signature::signature_file(file),
            source,
        })?;
        let path = format!("/api/v1/policies/{}", escape(&name));
        let answer = self
            .admin
            .client()?
            .put_wasm(&path, &bytes, signature.as_deref())?;
        said(&answer, self.json, "stored")
    }
}

impl Activate {
    fn execute(self) -> Result<(), Failure> {
        let (name, version) = match self.name.split_once('@') {
            Some(_) if self.version.is_some() => {
                let message = "the version is there twice: behind the name and as --version";
                return Err(Failure::Said(message.to_owned()));
            }
            Some((name, version)) => (name, Some(version)),
            None => (&*self.name, self.version.as_deref()),
        };
        let body = version.map_or_else(|| json!({}), |version| json!({ "version": version }));
        let answer = self.admin.client()?.post(
            &format!("/api/v1/policies/{}/activate", escape(name)),
            &body,
        )?;
        let was_active = answer.get("was_active").and_then(Value::as_bool) == Some(true);
        let word = if was_active {
            "active already:"
        } else {
            "active:"
        };
        said(&answer, self.json, word)
    }
}

impl Rollback {
    fn execute(self) -> Result<(), Failure> {
        let body = match &self.name {
            Some(name) => json!({ "policy": name }),
            None => json!({}),
        };
        let answer = self
            .admin
            .client()?
            .post("/api/v1/policies/rollback", &body)?;
        said(&answer, self.json, "active:")
    }
}

fn said(answer: &Value, json: bool, word: &str) -> Result<(), Failure> {
    if answer.get("remembered").and_then(Value::as_bool) == Some(false) {
        eprintln!(
            "warning: the router can't write its data directory: this is not remembered over a restart. It tries again until it can"
        );
    }
    if json {
        output::json(answer);
    } else {
        let part = |key: &str| answer.get(key).map_or_else(|| "-".to_owned(), output::cell);
        output::line(&format!(
            "{word} {} version {}",
            part("policy"),
            part("version")
        ));
    }
    Ok(())
}
