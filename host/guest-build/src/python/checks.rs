//! The module of a policy in Python that checks what it hands to the router.

use crate::BuildError;
use crate::manifest::Manifest;
use crate::shape::{self, Named, Shape};
use crate::wasi_http;

/// The checks themselves.
const CHECK: &str = include_str!("check.py");

/// The text of the module, which puts the checks in place when it is imported.
pub(super) fn module(manifest: &Manifest) -> Result<String, BuildError> {
    let mut text = CHECK.to_owned();
    let names = Names {
        brings_client: wasi_http::is_wanted(manifest),
    };
    for (interface, functions) in shape::imports(manifest)? {
        let module = names.module(&interface);
        text.push_str(&format!("\nfrom wit_world.imports import {module}\n"));
        for function in functions {
            if function.parameters.is_empty() {
                continue;
            }
            let name = snake_case(&function.name);
            let parameters = names.arguments(&function.parameters);
            text.push_str(&format!("checked({module}, \"{name}\", {parameters})\n"));
        }
    }
    for (hook, shape) in shape::verdicts(manifest)? {
        let module = snake_case(&hook);
        let check = names.check(&shape);
        text.push_str(&format!(
            "\nfrom wit_world.exports import {module}\nVERDICTS[\"{hook}\"] = {check}\n"
        ));
    }
    Ok(text)
}

/// How the bindings call things.
struct Names {
    /// Then the module `types` is that of `wasi:http`.
    brings_client: bool,
}

impl Names {
    fn module(&self, interface: &str) -> String {
        if interface == "types" && self.brings_client {
            return "policy_types".to_owned();
        }
        snake_case(interface)
    }

    fn class(&self, named: &Named) -> String {
        let module = self.module(&named.interface);
        format!("{module}.{}", super::pascal_case(&named.name))
    }

    /// An expression that makes the check of a shape.
    fn check(&self, shape: &Shape) -> String {
        match shape {
            Shape::Text => "text".to_owned(),
            Shape::Truth => "truth".to_owned(),
            Shape::Bytes => "octets".to_owned(),
            Shape::Whole(low, above) => format!("whole({low}, {above})"),
            Shape::Optional(value) => format!("optional({})", self.check(value)),
            Shape::List(element) => format!("sequence({})", self.check(element)),
            Shape::Tuple(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| self.check(part)).collect();
                format!("parts({})", parts.join(", "))
            }
            Shape::Record(named, fields) => {
                format!("record({}, {})", self.class(named), self.arguments(fields))
            }
            Shape::Enumeration(named, _) | Shape::Flags(named, _) => {
                format!("member({})", self.class(named))
            }
            Shape::Variant(named, cases) => {
                let class = self.class(named);
                let cases = cases.iter().map(|(case, value)| {
                    let case = super::pascal_case(case);
                    let check = value.as_ref().map(|value| self.check(value));
                    format!("{class}_{case}: {}", check.as_deref().unwrap_or("None"))
                });
                format!("variant({{{}}})", cases.collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn arguments(&self, fields: &[(String, Shape)]) -> String {
        let fields = fields.iter();
        let fields =
            fields.map(|(name, shape)| format!("{}={}", snake_case(name), self.check(shape)));
        fields.collect::<Vec<_>>().join(", ")
    }
}

/// `request-route` as `request_route`.
fn snake_case(name: &str) -> String {
    name.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_verdicts_are_checked_with_the_classes_of_the_bindings() {
        let mut manifest = Manifest::of_hooks(&["init", "request-route", "branch-route"]);
        let text = module(&manifest).unwrap();
        for line in [
            "checked(message, \"header\", name=text)",
            "checked(log, \"log\", level=member(log.Level), message=text)",
            "checked(transaction, \"arm\", hooks=member(transaction.Hooks))",
            "request_route.RequestVerdict_Reply: record(types.ResponseLine, status=whole(0, 65536), reason=text)",
            "VERDICTS[\"branch-route\"] = member(branch_route.BranchVerdict)",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("VERDICTS[\"init\"]") && !text.contains("save_contact"));
        manifest.imports.push("wasi:http".to_owned());
        assert!(
            module(&manifest)
                .unwrap()
                .contains("record(policy_types.ResponseLine")
        );
    }
}
