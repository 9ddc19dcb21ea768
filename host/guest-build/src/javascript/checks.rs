//! Modules between a policy in JavaScript and the router, which check what is handed over.

use std::path::Path;

use super::camel_case;
use crate::BuildError;
use crate::manifest::Manifest;
use crate::shape::{self, Function, Shape};
use crate::wit_files::write_file;

/// The checks themselves.
const CHECK: &str = include_str!("check.mjs");

/// Where an interface is imported from, in the output of the bundler.
fn import(interface: &str) -> String {
    format!("from \"patchbay:policy/{interface}@0.1.0\"")
}

/// Puts the modules beside the policy and has its text import them, and returns the text of all.
pub(super) fn between(text: &str, manifest: &Manifest, work: &Path) -> Result<String, BuildError> {
    write_file(&work.join("check.mjs"), CHECK)?;
    let mut all = CHECK.to_owned();
    let mut policy = text.to_owned();
    for (interface, functions) in shape::imports(manifest)? {
        let import = import(&interface);
        if !policy.contains(&import) {
            continue;
        }
        policy = policy.replace(&import, &format!("from \"./checked-{interface}.mjs\""));
        let module = module(&interface, &functions);
        write_file(&work.join(format!("checked-{interface}.mjs")), &module)?;
        all.push_str(&module);
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
        between(text, &manifest, work.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(work.path().join(name)).unwrap();
        assert!(read("policy.mjs").starts_with("import * as kv from \"./checked-keyvalue.mjs\";"));
        let module = read("checked-keyvalue.mjs");
        assert!(
            module.contains("host.delete, { key: check.text })"),
            "{module}"
        );
        assert!(module.contains("delta: check.long("), "{module}");
        assert!(!work.path().join("checked-message.mjs").exists());
    }
}
