//! Makes a component of a policy in JavaScript or TypeScript, with the engine QuickJS in it.
//!
//! The files of the policy become one, and a generated module around it exports the hooks and logs what nobody catches.
//! StarlingMonkey, the other engine, would take ten times the size, the memory and the time of each hook.

mod checks;
mod types;

use std::fs;
use std::path::Path;

use crate::manifest::Manifest;
use crate::npm::Programs;
use crate::wit_files::write_file;
use crate::{BuildError, Language, command, component, kept, npm, shape, wasi_http, wit_files};

/// The beginning of the module around the policy.
const ENTRY: &str = include_str!("entry.mjs");

/// What comes before it in a policy that asks over HTTP: `fetch` and promises. In any other nothing can be waited for.
const FETCH: &str = include_str!("fetch.mjs");
const WITH_FETCH: &str = "import { settled } from './fetch.mjs';\n";
const WITHOUT_FETCH: &str = include_str!("settled.mjs");

/// The interface behind `fetch`.
const HTTP: &str = "http";

/// The types of what the router provides, for who writes TypeScript.
pub(crate) const TYPES: &str = include_str!("patchbay.d.ts");

/// Makes the component.
pub(crate) fn compile(
    policy: &Path,
    manifest: &Manifest,
    work: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    if wasi_http::is_wanted(manifest) {
        return Err(BuildError::Manifest {
            path: policy.join("policy.toml"),
            problem: "in JavaScript `imports = [\"http\"]` gives the policy `fetch`; there is no `wasi:http`".to_owned(),
        });
    }
    let wit = wit_files::write(work, manifest)?;
    let programs = npm::programs(progress)?;
    let bundle = work.join("policy.mjs");
    if manifest.language == Language::TypeScript {
        types::check(policy, manifest.main(), work, progress)?;
    }
    let mut bundler = programs.bundler();
    bundler
        .args(["--bundle", "--format=esm", "--target=es2022"])
        // The engine does not go on with what waits; the promises of `fetch.mjs` do.
        .args(UNSUPPORTED.map(|feature| format!("--supported:{feature}=false")))
        .args(["--external:patchbay:*", "--log-level=warning"])
        .arg(format!("--outfile={}", bundle.display()))
        .arg(manifest.main())
        // Names in the output are those from here, so that the component does not depend on where the folder is.
        .current_dir(policy);
    command::run(&mut bundler).map_err(|error| not_bundled(error, policy))?;
    let text =
        fs::read_to_string(&bundle).map_err(|error| BuildError::io("read", &bundle, error))?;
    component::check_imports(text.as_bytes(), policy, manifest)?;
    let asks = manifest.imports.iter().any(|import| import == HTTP);
    let fetch = if asks {
        bundled_fetch(&programs, work)?
    } else {
        String::new()
    };
    let entry = entry(manifest, asks)?;
    let policy_and_checks = checks::between(&text, policy, manifest, work)?;
    let made_of = [&npm::versions(), &entry, &fetch, &policy_and_checks];
    let made_of = made_of.map(String::as_str).concat();
    kept::or_make(work, manifest, made_of.as_bytes(), |output| {
        progress(&format!("compiling {}", policy.display()));
        let entry_path = work.join("entry.mjs");
        write_file(&entry_path, &entry)?;
        let mut componentize = programs.componentize();
        componentize
            .args(["--sync", "--stub-wasi", "--world", component::WORLD])
            .arg("--wit")
            .arg(&wit)
            .arg("--js")
            .arg(&entry_path)
            .arg("--output")
            .arg(output)
            .current_dir(work);
        command::output(&mut componentize)
            .map(drop)
            .map_err(|error| not_run(error, policy))
    })
}

/// What the bundler says is shown already.
fn not_bundled(error: BuildError, policy: &Path) -> BuildError {
    match error {
        BuildError::Command { output, .. } if output.is_empty() => BuildError::Sources {
            folder: policy.to_owned(),
            problem: "what is wrong with the sources is said above".to_owned(),
        },
        other => other,
    }
}

/// The policy is run once while the component is made; what it throws stands behind the steps of whoever does it.
fn not_run(error: BuildError, policy: &Path) -> BuildError {
    match &error {
        BuildError::Command { output, .. } => thrown(output).map_or(error, |problem| {
            let folder = policy.to_owned();
            BuildError::Sources { folder, problem }
        }),
        _ => error,
    }
}

fn thrown(output: &str) -> Option<String> {
    let (_, thrown) = output.split_once("JavaScript module: ")?;
    let text = thrown
        .rsplit_once("Error: ")
        .map_or(thrown, |(_, text)| text);
    let lines = text.lines().filter(|line| !line.contains("(/entry.mjs:"));
    let text = lines.collect::<Vec<_>>().join("\n");
    Some(checks::with_names_of_interfaces(&text))
}

/// What the bundler expresses by promises and generators.
const UNSUPPORTED: [&str; 3] = ["async-await", "async-generator", "for-await"];

/// Puts `fetch` beside the policy, and returns its text.
fn bundled_fetch(programs: &Programs, work: &Path) -> Result<String, BuildError> {
    let source = work.join("fetch-source.mjs");
    write_file(&source, FETCH)?;
    let output = work.join("fetch.mjs");
    let mut bundler = programs.bundler();
    bundler
        .args(["--format=esm", "--target=es2022", "--log-level=warning"])
        .args(UNSUPPORTED.map(|feature| format!("--supported:{feature}=false")))
        .arg(format!("--outfile={}", output.display()))
        .arg(&source)
        .current_dir(work);
    command::run(&mut bundler)?;
    fs::read_to_string(&output).map_err(|error| BuildError::io("read", &output, error))
}

/// The module around the policy.
fn entry(manifest: &Manifest, asks: bool) -> Result<String, BuildError> {
    let hooks = &manifest.hooks;
    let verdicts = shape::verdicts(manifest)?;
    // What is imported first is there when the policy begins.
    let mut text = if asks {
        [WITH_FETCH, ENTRY].concat()
    } else {
        [ENTRY, WITHOUT_FETCH].concat()
    };
    for hook in hooks {
        let name = camel_case(hook);
        let verdict = verdicts.iter().find(|(name, _)| name == hook);
        text.push_str(&format!(
            "\nexport const {name} = guarded('{hook}', '{name}', {});\n",
            verdict.map_or_else(|| "undefined".to_owned(), |(_, shape)| checks::check(shape))
        ));
    }
    for hook in component::unlisted(hooks) {
        text.push_str(&format!("\nnotListed('{hook}', '{}');\n", camel_case(hook)));
    }
    Ok(text)
}

/// `request-route` as `requestRoute`.
fn camel_case(hook: &str) -> String {
    let mut words = hook.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (initial, rest) = word.split_at(word.len().min(1));
        name + &initial.to_ascii_uppercase() + rest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_have_every_function_of_the_world() {
        for (interface, function) in component::functions().unwrap() {
            let module = format!("declare module 'patchbay:policy/{interface}@0.1.0' {{");
            let (_, text) = TYPES.split_once(&module).unwrap();
            let (text, _) = text.split_once("\n}").unwrap();
            let name = camel_case(&function);
            // A reserved word is declared under another name.
            let declared = [
                format!("export function {name}("),
                format!(" as {name} }};"),
            ];
            let is_declared = declared.iter().any(|declared| text.contains(declared));
            assert!(is_declared, "{interface}: {name}");
        }
    }

    #[test]
    fn of_a_failed_build_the_reason_is_told() {
        let steps = "componentize-qjs\n  JS: entry.mjs\nError: : Failed to evaluate user JavaScript module: ";
        let throws = "Failed to finish JavaScript module evaluation: Error: no x\n    at <anonymous> (/policy.mjs:2:1)\n    at <anonymous> (/entry.mjs:4:1)";
        let told = thrown(&[steps, throws].concat()).unwrap();
        assert_eq!(told, "no x\n    at <anonymous> (/policy.mjs:2:1)");
        let exports = "Failed to evaluate JavaScript module: Error: Could not find export 'nosuch' in module '/checked-message.mjs'";
        let told = thrown(&[steps, exports].concat()).unwrap();
        assert_eq!(
            told,
            "Could not find export 'nosuch' in module 'patchbay:policy/message@0.1.0'"
        );
        assert_eq!(thrown("no such file"), None);
    }

    #[test]
    fn the_entry_exports_the_hooks_of_the_manifest() {
        let text = entry(&Manifest::of_hooks(&["init", "request-route"]), false).unwrap();
        let export = "export const requestRoute = guarded('request-route', 'requestRoute', check.variant({ 'relay': null, ";
        assert!(text.contains(export), "{text}");
        assert!(text.contains("export const init = guarded('init', 'init', undefined);"));
        assert!(text.contains("notListed('failure-route', 'failureRoute');"));
    }

    #[test]
    fn what_waits_is_there_before_the_policy_and_only_with_http() {
        let hooks = Manifest::of_hooks(&["request-route"]);
        let entry = |asks| entry(&hooks, asks).unwrap();
        assert!(entry(true).starts_with("import { settled } from './fetch.mjs';"));
        let without = entry(false);
        assert!(!without.contains("fetch.mjs") && without.contains("function settled("));
    }
}
