//! Makes a component of a policy in Python, with CPython in it.
//!
//! The sources are copied, so that nothing is left in the folder, and a generated module around them exports the hooks and logs
//! what nobody catches.

mod checks;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::manifest::Manifest;
use crate::venv::Tool;
use crate::wit_files::write_file;
use crate::{BuildError, command, component, kept, wasi_http, wit_files};

const COMPONENTIZE: Tool = Tool {
    package: "componentize-py",
    version: "0.25.1",
    what: "what makes components of Python (componentize-py)",
    megabytes: 50,
    instead: "",
};

/// The module around the policy; no module of a policy has that name.
const APP: &str = "patchbay_app";

/// The module that checks what the policy hands over.
const CHECKS: &str = "patchbay_checks";

/// The beginning of the module around it.
const ENTRY: &str = include_str!("entry.py");

/// Two packages have an interface `types`. The module `poll_loop` that comes with Python's toolchain looks for that of `wasi:http`.
const CLIENT_NAMES: [&str; 4] = [
    "--import-interface-name",
    "wasj:http/types@0.2.12=types",
    "--import-interface-name",
    "patchbay:policy/types@0.1.0=policy_types",
];

/// Makes the component.
pub(crate) fn compile(
    policy: &Path,
    manifest: &Manifest,
    work: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let wit = wit_files::write(work, manifest)?;
    let brings_client = wasi_http::is_wanted(manifest);
    if brings_client {
        wasi_http::hide(&wit)?;
    }
    let programs = COMPONENTIZE.programs(progress)?;
    let app = work.join("app");
    let mut made_of = copy(policy, manifest, &app)?;
    let entry = entry(&manifest.hooks, &module_name(manifest.main()));
    write_file(&app.join(format!("{APP}.py")), &entry)?;
    let checks = checks::module(manifest)?;
    write_file(&app.join(format!("{CHECKS}.py")), &checks)?;
    made_of.extend_from_slice(entry.as_bytes());
    made_of.extend_from_slice(checks.as_bytes());
    made_of.extend_from_slice(COMPONENTIZE.version.as_bytes());
    kept::or_make(work, manifest, &made_of, |output| {
        progress(&format!(
            "compiling {} (it takes a while)",
            policy.display()
        ));
        let mut componentize = Command::new(programs.join("componentize-py"));
        componentize
            .args(["--quiet", "--world", component::WORLD, "--wit-path"])
            .arg(&wit)
            .args(brings_client.then_some(CLIENT_NAMES).into_iter().flatten())
            .args(["componentize", "--stub-wasi", "--python-path"])
            .arg(&app)
            .arg("--output")
            .arg(output)
            .arg(APP)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("RUST_BACKTRACE", "0")
            .current_dir(work);
        command::output(&mut componentize).map_err(|error| not_run(error, policy))?;
        if brings_client {
            wasi_http::show(output)?;
        }
        Ok(())
    })
}

/// The policy is run once while the component is made; what it raises stands between the steps of whoever does it.
fn not_run(error: BuildError, policy: &Path) -> BuildError {
    match &error {
        BuildError::Command { output, .. } => raised(output).map_or(error, |problem| {
            let folder = policy.to_owned();
            BuildError::Sources { folder, problem }
        }),
        _ => error,
    }
}

/// The traceback of Python in WebAssembly, without the lines of the module around the policy.
fn raised(output: &str) -> Option<String> {
    let (_, raised) = output.split_once("AssertionError: ")?;
    let raised = raised.split("\nCaused by:").next().unwrap_or(raised);
    let mut lines = Vec::new();
    let mut is_ours = false;
    for line in raised.trim_end().lines() {
        if line.starts_with("  File ") || !line.starts_with(' ') {
            is_ours = line.contains(APP) || line.contains(CHECKS);
        }
        if !is_ours {
            lines.push(line.replacen("File \"/0/", "File \"", 1));
        }
    }
    Some(lines.join("\n"))
}

/// Copies the sources into an empty folder, and returns names and contents of all.
fn copy(policy: &Path, manifest: &Manifest, app: &Path) -> Result<Vec<u8>, BuildError> {
    if app.exists() {
        fs::remove_dir_all(app).map_err(|error| BuildError::io("remove", app, error))?;
    }
    let mut all = Vec::new();
    for source in &manifest.sources {
        let from = policy.join(source);
        let bytes = fs::read(&from).map_err(|error| BuildError::io("read", &from, error))?;
        let to = app.join(source);
        let folder = to.parent().unwrap_or(app);
        fs::create_dir_all(folder).map_err(|error| BuildError::io("create", folder, error))?;
        fs::write(&to, &bytes).map_err(|error| BuildError::io("write", &to, error))?;
        all.extend_from_slice(source.as_os_str().as_encoded_bytes());
        all.extend(bytes);
    }
    Ok(all)
}

/// The name under which Python imports a file.
fn module_name(source: &Path) -> String {
    let parts = source.with_extension("");
    let names = parts.iter().map(|part| part.to_string_lossy().into_owned());
    names.collect::<Vec<_>>().join(".")
}

/// The module around the policy.
fn entry(hooks: &[String], policy: &str) -> String {
    let mut text = ENTRY.replace("{{policy}}", policy);
    for hook in hooks {
        let (class, method) = (pascal_case(hook), hook.replace('-', "_"));
        let guard = if hook == "init" { "refused" } else { "guarded" };
        text.push_str(&format!(
            "\n\nlisted(\"{hook}\", \"{class}\", \"{method}\")\n\n\nclass {class}(policy.{class}):\n    def {method}(self, *values):\n        return {guard}(\"{hook}\", super().{method}, *values)\n"
        ));
    }
    for hook in component::unlisted(hooks) {
        text.push_str(&format!(
            "\nnot_listed(\"{hook}\", \"{}\")\n",
            pascal_case(hook)
        ));
    }
    text
}

/// `request-route` as `RequestRoute`.
fn pascal_case(hook: &str) -> String {
    let word = |word: &str| {
        let (initial, rest) = word.split_at(word.len().min(1));
        initial.to_ascii_uppercase() + rest
    };
    hook.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_exports_the_hooks_of_the_manifest() {
        let text = entry(&["request-route".to_owned()], "routing");
        assert!(text.contains("import routing as policy"), "{text}");
        assert!(text.contains("class RequestRoute(policy.RequestRoute):"));
        assert!(text.contains("def request_route(self, *values):"));
        assert!(text.contains("not_listed(\"init\", \"Init\")"));
    }

    #[test]
    fn of_a_failed_build_the_reason_is_told() {
        let output = "Traceback (most recent call last):\n  File \"/bin/componentize-py\", line 8\nAssertionError: Traceback (most recent call last):\n  File \"/0/patchbay_app.py\", line 8, in <module>\n    import p as policy\n  File \"/0/p.py\", line 1, in <module>\n    import nothere\nModuleNotFoundError: No module named 'nothere'\n\n\nCaused by:\n    ModuleNotFoundError";
        assert_eq!(
            raised(output).unwrap(),
            "Traceback (most recent call last):\n  File \"p.py\", line 1, in <module>\n    import nothere\nModuleNotFoundError: No module named 'nothere'"
        );
        assert_eq!(raised("no space left"), None);
    }

    #[test]
    fn a_file_in_a_folder_is_a_module_of_a_package() {
        assert_eq!(module_name(Path::new("routing/main.py")), "routing.main");
    }
}
