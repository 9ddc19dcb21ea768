//! Checks the types of a policy in TypeScript.

use std::path::Path;

use super::TYPES;
use crate::wit_files::write_file;
use crate::{BuildError, command, npm};

/// What is checked unless the policy has a `tsconfig.json` that says it.
const OPTIONS: &str = r#""strict": true, "target": "es2022", "module": "esnext", "moduleResolution": "bundler", "lib": ["es2022", "dom"], "types": [], "skipLibCheck": true, "allowImportingTsExtensions": true, "#;

/// Finds what does not fit together, before the types are taken off.
pub(super) fn check(
    policy: &Path,
    main: &Path,
    work: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    let types = work.join("patchbay.d.ts");
    write_file(&types, TYPES)?;
    let project = work.join("tsconfig.json");
    write_file(&project, &project_text(policy, main, &types))?;
    let mut checker = npm::type_checker(progress)?;
    checker
        .args(["--pretty", "false", "--project"])
        .arg(&project)
        // The names in its messages are those from here.
        .current_dir(policy);
    match command::output(&mut checker) {
        Err(BuildError::Command { output, .. }) if output.contains("error TS") => {
            Err(BuildError::Sources {
                folder: policy.to_owned(),
                problem: output.lines().map(located).collect::<Vec<_>>().join("\n"),
            })
        }
        other => other.map(drop),
    }
}

fn project_text(policy: &Path, main: &Path, types: &Path) -> String {
    let own = policy.join("tsconfig.json");
    let (extends, options) = if own.is_file() {
        (
            format!("\"extends\": {:?}, ", own.display().to_string()),
            "",
        )
    } else {
        (String::new(), OPTIONS)
    };
    let files = [policy.join(main), types.to_owned()].map(|file| file.display().to_string());
    format!(
        "{{ {extends}\"compilerOptions\": {{ {options}\"noEmit\": true }}, \"include\": [], \"files\": {files:?} }}\n"
    )
}

/// `policy.ts(3,7): error` as `policy.ts:3:7: error`, which editors and terminals know as a place.
fn located(line: &str) -> String {
    let place = line
        .split_once("): error ")
        .and_then(|(place, rest)| Some((place.rsplit_once('(')?, rest)));
    match place {
        Some(((file, at), rest)) => format!("{file}:{}: error {rest}", at.replace(',', ":")),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_place() {
        assert_eq!(
            located("policy.ts(3,7): error TS2322: Type '(a)' is wrong."),
            "policy.ts:3:7: error TS2322: Type '(a)' is wrong."
        );
        assert_eq!(located("  of the same"), "  of the same");
    }

    #[test]
    fn the_options_of_the_policy_come_first() {
        let policy = tempfile::tempdir().unwrap();
        let text = || {
            project_text(
                policy.path(),
                Path::new("policy.ts"),
                Path::new("/w/p.d.ts"),
            )
        };
        assert!(text().contains("\"strict\": true"));
        std::fs::write(policy.path().join("tsconfig.json"), "{}").unwrap();
        assert!(text().contains("\"extends\": ") && !text().contains("strict"));
    }
}
