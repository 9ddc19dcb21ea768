//! `cargo xtask bindings`: writes the Rust bindings of the WIT package into the SDK.
//!
//! They are committed, because generating them with a macro would cost every policy most of a minute of compilation. One
//! file holds everything that the host provides; each hook has a file of its own, so that a policy exports exactly the
//! hooks it writes.

use std::error::Error;
use std::fs;
use std::path::Path;

use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};
use wit_parser::Resolve;

use crate::steps::{Failure, say};

/// The hooks of the WIT package, in the order of `wit/hooks.wit`.
const HOOKS: [&str; 6] = [
    "init",
    "request-route",
    "branch-route",
    "onreply-route",
    "failure-route",
    "event-route",
];

/// Where the bindings are, from the root of the repository.
const FOLDER: &str = "guest-sdk/src/bindings";

/// Writes every binding that is not current.
pub(crate) fn write(root: &Path) -> Result<(), Failure> {
    let files = generate(root).map_err(|error| Failure::Bindings(error.to_string()))?;
    for (name, text) in files {
        let path = root.join(FOLDER).join(&name);
        if fs::read_to_string(&path).is_ok_and(|current| current == text) {
            continue;
        }
        fs::write(&path, text).map_err(|error| Failure::File(path.clone(), error))?;
        say(&format!("wrote {FOLDER}/{name}"));
    }
    Ok(())
}

/// File names and contents of all bindings.
fn generate(root: &Path) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut files = vec![("imports.rs".to_owned(), imports(root)?)];
    for hook in HOOKS {
        files.push((format!("{}.rs", snake_case(hook)), export(root, hook)?));
    }
    Ok(files)
}

/// The bindings of everything the host provides.
fn imports(root: &Path) -> Result<String, Box<dyn Error>> {
    let text = bindings(
        root,
        "package patchbay:sdk; world sdk { include patchbay:policy/imports@0.1.0; include patchbay:policy/granted@0.1.0; }",
        options(),
    )?;
    with_header_inlined(&text)
}

/// Makes `message.header`, which policies call more often than anything else, a part of the functions that call it.
fn with_header_inlined(text: &str) -> Result<String, Box<dyn Error>> {
    const HEADER: &str = "            pub fn header(name: &str)";
    if !text.contains(HEADER) {
        return Err(format!("the bindings have no `{}` to inline", HEADER.trim()).into());
    }
    let inlined = format!("            #[inline(always)]\n{HEADER}");
    Ok(text.replacen(HEADER, &inlined, 1))
}

/// The bindings of one exported hook; its types are those of `imports.rs`.
fn export(root: &Path, hook: &str) -> Result<String, Box<dyn Error>> {
    let world =
        format!("package patchbay:sdk; world {hook} {{ export patchbay:policy/{hook}@0.1.0; }}");
    let types = "crate::bindings::imports::patchbay::policy::types".to_owned();
    let uses_types = matches!(hook, "request-route" | "failure-route");
    let options = Opts {
        with: if uses_types {
            vec![(
                "patchbay:policy/types@0.1.0".to_owned(),
                WithOption::Path(types),
            )]
        } else {
            Vec::new()
        },
        export_macro_name: Some(format!("__export_{}", snake_case(hook))),
        pub_export_macro: true,
        // The SDK does it when it makes the policy object.
        disable_run_ctors_once_workaround: true,
        default_bindings_module: Some(format!("$crate::bindings::{}", snake_case(hook))),
        ..options()
    };
    Ok(without_post_return(&bindings(root, &world, options)?))
}

/// Leaves out the function that a host calls after each hook to free what the hook returned: the SDK frees it in the next hook, and
/// the host is spared a call into the guest.
fn without_post_return(text: &str) -> String {
    const START: &str = "#[unsafe (export_name =\n";
    const END: &str = "> (arg0) } }";
    let Some(name) = text.find("\"cabi_post_") else {
        return text.to_owned();
    };
    let (before, after) = text.split_at(name);
    match (before.rfind(START), after.split_once(END)) {
        (Some(start), Some((_, rest))) => {
            let kept = before.get(..start).unwrap_or(before).trim_end();
            format!("{kept}{rest}")
        }
        _ => text.to_owned(),
    }
}

/// What all bindings have in common.
fn options() -> Opts {
    Opts {
        format: true,
        generate_all: true,
        runtime_path: Some("wit_bindgen::rt".to_owned()),
        ..Opts::default()
    }
}

/// Runs the generator on one world, given as the text of a package.
fn bindings(root: &Path, package: &str, options: Opts) -> Result<String, Box<dyn Error>> {
    let mut resolve = Resolve::default();
    resolve.push_dir(root.join("wit"))?;
    let package = resolve.push_str("sdk.wit", package)?;
    let world = resolve.select_world(&[package], None)?;
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    let (_, text) = files.iter().next().ok_or("the generator wrote no file")?;
    Ok(String::from_utf8(text.to_vec())?)
}

fn snake_case(kebab: &str) -> String {
    kebab.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_bindings_are_current() {
        let root = crate::repository();
        for (name, text) in generate(&root).unwrap() {
            let committed = fs::read_to_string(root.join(FOLDER).join(&name)).unwrap_or_default();
            assert!(
                committed == text,
                "{FOLDER}/{name} is stale: run `cargo xtask bindings`"
            );
        }
    }
}
