//! What a policy can touch beyond messages, look-ups and log: it says so by its imports, and the operator grants it.

use wasmparser::{Parser, Payload};
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::imports::{wasi_http, wasi_keyvalue};
use crate::world::{CheckError, PACKAGE, VERSION};

/// Something that the operator has to grant, by its key in `[policy.grants]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// `http`: requests to other servers.
    Http,
    /// `keyvalue`: the key-value store.
    KeyValue,
    /// `write_headers`: changing headers of messages. Every header may be written unless the operator lists some, and which one it is shows
    /// when it is written.
    WriteHeaders,
    /// `save_location`: changing the location service.
    SaveLocation,
}

impl Capability {
    /// Whether a call can have the policy wait.
    pub(crate) fn may_wait(self) -> bool {
        self == Capability::Http
    }

    /// Every capability.
    pub const ALL: [Capability; 4] = [
        Capability::Http,
        Capability::KeyValue,
        Capability::WriteHeaders,
        Capability::SaveLocation,
    ];

    /// The key in `[policy.grants]`.
    pub fn key(self) -> &'static str {
        match self {
            Capability::Http => "http",
            Capability::KeyValue => "keyvalue",
            Capability::WriteHeaders => "write_headers",
            Capability::SaveLocation => "save_location",
        }
    }

    /// A line of `[policy.grants]` that grants it.
    pub fn line(self) -> &'static str {
        match self {
            Capability::Http => "http = [\"https://HOST/\"]",
            Capability::KeyValue => "keyvalue = [\"PREFIX/\"]",
            Capability::WriteHeaders => "write_headers = [\"NAME\"]",
            Capability::SaveLocation => "save_location = true",
        }
    }

    /// The capability that a function of our package needs.
    fn of(interface: &str, function: &str) -> Option<Capability> {
        match (interface, function) {
            ("http", _) => Some(Capability::Http),
            ("keyvalue", _) => Some(Capability::KeyValue),
            ("message", "set-header" | "add-header" | "remove-header") => {
                Some(Capability::WriteHeaders)
            }
            ("location", "save-contact" | "remove-contact") => Some(Capability::SaveLocation),
            _ => None,
        }
    }
}

/// A capability that a component wants, and the functions by which it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// What has to be granted.
    pub capability: Capability,
    /// The functions that the component imports, such as `patchbay:policy/http@0.1.0#fetch`.
    pub imports: Vec<String>,
}

/// What a component wants, in the order of [`Capability::ALL`].
pub(crate) fn wants(component: &Component) -> Vec<Want> {
    let engine = component.engine();
    let mut functions = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            continue;
        };
        for (function, export) in instance.exports(engine) {
            let ComponentItem::ComponentFunc(_) = export.ty else {
                continue;
            };
            if let Some(capability) = Capability::of(interface_of(name), function) {
                functions.push((capability, format!("{name}#{function}")));
            }
        }
    }
    Capability::ALL
        .into_iter()
        .map(|capability| Want {
            capability,
            imports: functions
                .iter()
                .filter(|(wanted, _)| *wanted == capability)
                .map(|(_, import)| import.clone())
                .collect(),
        })
        .filter(|want| !want.imports.is_empty())
        .collect()
}

/// The interface of our package that an import is, or does the same as.
fn interface_of(import: &str) -> &str {
    if wasi_keyvalue::INTERFACES.contains(&import) {
        return "keyvalue";
    }
    if wasi_http::asks(import) {
        return "http";
    }
    import
        .strip_prefix(PACKAGE)
        .and_then(|rest| rest.strip_suffix(VERSION))
        .unwrap_or_default()
}

/// Refuses what is wanted and not granted.
pub(crate) fn check_grants(
    wants: &[Want],
    grants: impl Fn(Capability) -> bool,
) -> Result<(), CheckError> {
    let missing = wants.iter().filter(|want| !grants(want.capability));
    let missing: Vec<Want> = missing.cloned().collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(CheckError::NotGranted(missing))
    }
}

/// The bytes of all memories of the modules in a component at the start; 0 for what can't be read.
pub(crate) fn initial_memory(bytes: &[u8]) -> u64 {
    let memories = Parser::new(0)
        .parse_all(bytes)
        .map_while(Result::ok)
        .filter_map(|payload| match payload {
            Payload::MemorySection(memories) => Some(memories),
            _ => None,
        });
    memories
        .flat_map(|section| section.into_iter().map_while(Result::ok))
        .map(|memory| memory.initial.saturating_mul(WASM_PAGE))
        .fold(0, u64::saturating_add)
}

const WASM_PAGE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn want(capability: Capability, import: &str) -> Want {
        Want {
            capability,
            imports: vec![import.to_owned()],
        }
    }

    #[test]
    fn functions_are_known_by_what_they_touch() {
        assert_eq!(Capability::of("http", "fetch"), Some(Capability::Http));
        assert_eq!(
            Capability::of("location", "save-contact"),
            Some(Capability::SaveLocation)
        );
        assert_eq!(Capability::of("location", "lookup"), None);
        assert_eq!(Capability::of("message", "header"), None);
    }

    #[test]
    fn what_is_not_granted_is_named_with_the_line_that_grants_it() {
        let wants = [
            want(Capability::KeyValue, "patchbay:policy/keyvalue@0.1.0#get"),
            want(Capability::Http, "patchbay:policy/http@0.1.0#fetch"),
        ];
        assert_eq!(check_grants(&wants, |_| true), Ok(()));
        let refused = check_grants(&wants, |capability| capability == Capability::KeyValue);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "it imports `patchbay:policy/http@0.1.0#fetch`, which is not granted: add `http = [\"https://HOST/\"]` to [policy.grants]"
        );
        let refused = check_grants(&wants, |_| false).unwrap_err().to_string();
        for part in [
            "policy/keyvalue@0.1.0#get` and `patchbay:policy/http@0.1.0#fetch`, which are not granted",
            "add each of `keyvalue = [\"PREFIX/\"]` and `http = [\"https://HOST/\"]` to",
        ] {
            assert!(refused.contains(part), "{refused}");
        }
    }

    #[test]
    fn memory_is_that_of_all_modules() {
        let module = wat::parse_str("(module (memory 3))").unwrap();
        assert_eq!(initial_memory(&module), 3 * WASM_PAGE);
        assert_eq!(initial_memory(b"nothing"), 0);
    }
}
