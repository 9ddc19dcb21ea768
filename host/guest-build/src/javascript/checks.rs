//! Modules between a policy in JavaScript and the router, which check what is handed over.

use std::path::Path;

use super::camel_case;
use crate::manifest::Manifest;
use crate::nearest::hint;
use crate::shape::{self, Function, Shape};
use crate::wit_files::write_file;
use crate::{BuildError, component};

/// The checks themselves.
const CHECK: &str = include_str!("check.mjs");

/// Where an interface is imported from, in the output of the bundler.
fn import(interface: &str) -> String {
    format!("from \"{}\"", specifier(interface))
}

fn specifier(interface: &str) -> String {
    format!("patchbay:policy/{interface}@0.1.0")
}

/// An import that is no interface, when there is one. The bundler writes each as a line of its own.
fn unknown(policy: &str) -> Option<&str> {
    let mut imports = policy.lines().filter_map(|line| {
        let (_, name) = line.strip_suffix("\";")?.split_once("from \"")?;
        (line.starts_with("import ") || line.starts_with("export ") || line.starts_with('}'))
            .then_some(name)
    });
    imports.find(|name| name.starts_with("patchbay:"))
}

/// An error of the engine as the author knows the modules.
pub(super) fn with_names_of_interfaces(text: &str) -> String {
    let Some((before, rest)) = text.split_once("'/checked-") else {
        return text.to_owned();
    };
    let Some((interface, behind)) = rest.split_once(".mjs'") else {
        return text.to_owned();
    };
    format!("{before}'{}'{behind}", specifier(interface))
}

/// Puts the modules beside the policy and has its text import them, and returns the text of all.
pub(super) fn between(
    text: &str,
    folder: &Path,
    manifest: &Manifest,
    work: &Path,
) -> Result<String, BuildError> {
    write_file(&work.join("check.mjs"), CHECK)?;
    let mut all = CHECK.to_owned();
    let mut policy = text.to_owned();
    let interfaces = shape::imports(manifest)?;
    for (interface, functions) in &interfaces {
        let import = import(interface);
        if !policy.contains(&import) {
            continue;
        }
        policy = policy.replace(&import, &format!("from \"./checked-{interface}.mjs\""));
        let module = module(interface, functions);
        write_file(&work.join(format!("checked-{interface}.mjs")), &module)?;
        all.push_str(&module);
    }
    if let Some(unknown) = unknown(&policy) {
        let (_, name) = unknown.split_once('/').unwrap_or_default();
        let name = name.split('@').next().unwrap_or_default();
        let known = interfaces.iter().map(|(name, _)| name.as_str());
        let hint = hint(name, known.chain(component::GRANTED));
        return Err(BuildError::Sources {
            folder: folder.to_owned(),
            problem: format!("the sources import \"{unknown}\", which there is not{hint}"),
        });
    }
    write_file(&work.join("policy.mjs"), &policy)?;
    all.push_str(&policy);
    Ok(all)
}

/// The module of an interface.
fn module(interface: &str, functions: &[Function]) -> String {
    let mut text = format!(
        "import * as host from 'patchbay:policy/{interface}@0.1.0';\nimport * as check from './check.mjs';\n"
    );
    for (number, function) in functions.iter().enumerate() {
        let name = camel_case(&function.name);
        let call = if function.parameters.is_empty() {
            format!("host.{name}")
        } else {
            let parameters = object(&function.parameters, check);
            format!("check.checked('{interface}.{name}', host.{name}, {parameters})")
        };
        // A name may be a reserved word.
        text.push_str(&format!(
            "const call{number} = {call};\nexport {{ call{number} as {name} }};\n"
        ));
    }
    text
}

/// An expression that makes the check of a shape.
pub(super) fn check(shape: &Shape) -> String {
    match shape {
        Shape::Text => "check.text".to_owned(),
        Shape::Truth => "check.truth".to_owned(),
        Shape::Bytes => "check.bytes".to_owned(),
        Shape::Whole(low, above) if *above > 1 << 32 => format!("check.long({low}, {above})"),
        Shape::Whole(low, above) => format!("check.whole({low}, {above})"),
        Shape::Optional(value) => format!("check.optional({})", check(value)),
        Shape::List(element) => format!("check.list({})", check(element)),
        Shape::Tuple(parts) => {
            let parts: Vec<String> = parts.iter().map(check).collect();
            format!("check.tuple([{}])", parts.join(", "))
        }
        Shape::Record(_, fields) => format!("check.record({})", object(fields, check)),
        // The cases of an enumeration stay as they are written in WIT.
        Shape::Enumeration(_, names) => format!("check.enumeration({names:?})"),
        Shape::Flags(_, names) => {
            let names: Vec<String> = names.iter().map(|name| camel_case(name)).collect();
            format!("check.flags({names:?})")
        }
        Shape::Variant(_, cases) => {
            let cases = cases.iter().map(|(name, value)| {
                let check = value.as_ref().map_or_else(|| "null".to_owned(), check);
                format!("'{name}': {check}")
            });
            let cases: Vec<String> = cases.collect();
            format!("check.variant({{ {} }})", cases.join(", "))
        }
    }
}

fn object(fields: &[(String, Shape)], value: impl Fn(&Shape) -> String) -> String {
    let fields = fields.iter();
    let fields = fields.map(|(name, shape)| format!("{}: {}", camel_case(name), value(shape)));
    format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_policy_imports_is_checked_on_the_way() {
        let work = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::of_hooks(&["request-route"]);
        manifest.imports.push("keyvalue".to_owned());
        let text = "import * as kv from \"patchbay:policy/keyvalue@0.1.0\";\nkv.get('a');\n";
        between(text, Path::new("p"), &manifest, work.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(work.path().join(name)).unwrap();
        assert!(read("policy.mjs").starts_with("import * as kv from \"./checked-keyvalue.mjs\";"));
        let module = read("checked-keyvalue.mjs");
        assert!(
            module.contains("host.delete, { key: check.text })"),
            "{module}"
        );
        assert!(module.contains("delta: check.long("), "{module}");
        assert!(!work.path().join("checked-message.mjs").exists());
        let text = "import * as h from \"patchbay:policy/mesage@0.1.0\";\nh.x();\n";
        let error = between(text, Path::new("p"), &manifest, work.path()).unwrap_err();
        let expected = "p: the sources import \"patchbay:policy/mesage@0.1.0\", which there is not; did you mean \"message\"?";
        assert_eq!(error.to_string(), expected);
    }
}
