//! What `patchbay policy new` and `patchbay policy build` say of mistakes: the file, what is wrong, what was meant, and nothing of the tools.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test reports by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use patchbay_tests::router::binary;
use tempfile::TempDir;

/// What a command that fails says.
fn complaint(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("run patchbay");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// What is said of a policy with this manifest and this source.
fn complaint_about(manifest: &str, file: &str, source: &str) -> String {
    let parent = TempDir::new().expect("a folder");
    let folder = parent.path().join("mine");
    fs::create_dir(&folder).expect("a folder");
    let hooks = if manifest.contains("hooks") {
        ""
    } else {
        "hooks = [\"request-route\"]\n"
    };
    let manifest = format!("{hooks}sources = [\"{file}\"]\n{manifest}");
    fs::write(folder.join("policy.toml"), manifest).expect("write");
    if !source.is_empty() {
        fs::write(folder.join(file), source).expect("write");
    }
    complaint(&folder, &["policy", "build"])
}

#[track_caller]
fn tells(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part} is missing in:\n{said}");
    }
    for noise in [
        "node:",
        "Stack backtrace",
        "    at Object",
        "Node.js v",
        "/0/",
    ] {
        assert!(!said.contains(noise), "{noise} is in:\n{said}");
    }
}

#[test]
fn a_mistake_in_the_manifest_is_told_with_what_was_meant() {
    let said = complaint_about("hooks = [\"request_route\"]\n", "policy.js", ";");
    tells(
        &said,
        &[
            "mine/policy.toml: `hooks` has",
            "did you mean \"request-route\"?",
        ],
    );
    let said = complaint_about("imports = [\"htp\"]\n", "policy.js", ";");
    tells(
        &said,
        &["mine/policy.toml: `imports` has", "did you mean \"http\"?"],
    );
    let said = complaint_about("imports = []\n", "policy.js", "");
    tells(
        &said,
        &["mine/policy.toml: `sources` names policy.js, which is not there"],
    );
}

#[test]
fn a_mistake_in_javascript_is_told_with_file_and_line() {
    let said = complaint_about("", "policy.js", "\nexport const a = { tag: };\n");
    tells(&said, &["policy.js:2:", "Unexpected \"}\"", "said above"]);
    let said = complaint_about("", "policy.js", "import './nothere.js';\n");
    tells(
        &said,
        &["policy.js:1:", "Could not resolve \"./nothere.js\""],
    );
    let htp = "import * as h from 'patchbay:policy/htp@0.1.0';\nexport const requestRoute = { requestRoute() { h.x(); } };\n";
    let said = complaint_about("", "policy.js", htp);
    tells(
        &said,
        &["\"patchbay:policy/htp@0.1.0\"", "did you mean \"http\"?"],
    );
    let said = complaint_about(
        "",
        "policy.js",
        "null.x;\nexport const requestRoute = {};\n",
    );
    tells(&said, &["cannot read property 'x' of null", "policy.mjs:"]);
    let said = complaint_about("", "policy.js", "export const requestroute = {};\n");
    tells(
        &said,
        &["the policy has to export requestRoute = { requestRoute() {} }"],
    );
}

#[test]
fn a_type_that_does_not_fit_is_told_with_file_and_line() {
    let source = "import * as message from 'patchbay:policy/message@0.1.0';\nimport type { RequestVerdict } from 'patchbay:policy/request-route@0.1.0';\n\
                  export const requestRoute = {\n  requestRoute(): RequestVerdict {\n    message.header(5);\n    return { tag: 'nope' };\n  },\n};\n";
    let said = complaint_about("", "policy.ts", source);
    tells(
        &said,
        &[
            "policy.ts:5:20: error TS2345: Argument of type 'number' is not assignable",
            "policy.ts:6:14: error TS2322: Type '\"nope\"' is not assignable",
        ],
    );
}

#[test]
fn a_mistake_in_python_is_told_with_file_and_line() {
    let said = complaint_about("", "policy.py", "\nimport nothere\n");
    tells(
        &said,
        &["File \"policy.py\", line 2", "No module named 'nothere'"],
    );
    assert!(said.lines().count() < 10, "{said}");
    let said = complaint_about("hooks = [\"branch-route\"]\n", "policy.py", "\n");
    tells(
        &said,
        &["policy.toml lists branch-route: the policy has to have a class BranchRoute"],
    );
}

#[test]
fn a_name_that_can_not_be_taken_is_told_before_anything_is_written() {
    let folder = TempDir::new().expect("a folder");
    let said = complaint(folder.path(), &["policy", "new", "builtin"]);
    tells(&said, &["`builtin` is the policy inside of the router"]);
    assert!(!folder.path().join("builtin").exists());
    fs::create_dir(folder.path().join("mine")).expect("a folder");
    fs::write(folder.path().join("mine/Cargo.toml"), "").expect("write");
    let said = complaint(folder.path(), &["policy", "new", "mine"]);
    tells(
        &said,
        &["mine has a Cargo.toml already", "choose another name"],
    );
    assert!(!folder.path().join("mine/src").exists());
}
