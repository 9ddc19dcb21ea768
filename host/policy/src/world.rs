//! The WIT package `patchbay:policy@0.1.0` as seen from a component: does it fit?

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use crate::capability::{self, Capability, Want};
use crate::digest::Digest;
use crate::host::Hook;
use crate::imports::{wasi_http, wasi_keyvalue};
use crate::verdict::{Event, FailureVerdict, PassVerdict, RequestVerdict};

/// The package, as it begins every interface name.
pub(crate) const PACKAGE: &str = "patchbay:policy/";
/// Its version, as it ends every interface name.
pub(crate) const VERSION: &str = "@0.1.0";

/// The interfaces that the host provides.
pub(crate) const IMPORTS: [&str; 15] = [
    "types",
    "message",
    "transaction",
    "targets",
    "reply",
    "location",
    "auth",
    "settings",
    "log",
    "clock",
    "random",
    "counters",
    "timers",
    "http",
    "keyvalue",
];

impl Hook {
    /// Every hook.
    pub const ALL: [Hook; 5] = [
        Hook::RequestRoute,
        Hook::BranchRoute,
        Hook::OnreplyRoute,
        Hook::FailureRoute,
        Hook::EventRoute,
    ];

    /// The name of its WIT interface, and of the function in it.
    pub fn name(self) -> &'static str {
        match self {
            Hook::RequestRoute => "request-route",
            Hook::BranchRoute => "branch-route",
            Hook::OnreplyRoute => "onreply-route",
            Hook::FailureRoute => "failure-route",
            Hook::EventRoute => "event-route",
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Hook::RequestRoute => 0,
            Hook::BranchRoute => 1,
            Hook::OnreplyRoute => 2,
            Hook::FailureRoute => 3,
            Hook::EventRoute => 4,
        }
    }

    fn typecheck<T: 'static>(
        self,
        func: &ComponentFunc,
        pre: &InstancePre<T>,
    ) -> wasmtime::Result<()> {
        let types = &pre.instance_type();
        match self {
            Hook::RequestRoute => func.typecheck::<(), (RequestVerdict,)>(types),
            Hook::BranchRoute | Hook::OnreplyRoute => func.typecheck::<(), (PassVerdict,)>(types),
            Hook::FailureRoute => func.typecheck::<(), (FailureVerdict,)>(types),
            Hook::EventRoute => func.typecheck::<(&Event,), ()>(types),
        }
    }
}

/// Why a file is no policy that this router can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The bytes are no valid WebAssembly: cut off, damaged, or something else altogether.
    #[error("not a valid WebAssembly component: {0}")]
    Invalid(String),
    /// A core module.
    #[error(
        "a core WebAssembly module, not a component: build it with `patchbay policy build`, or convert it with `wasm-tools component new`"
    )]
    CoreModule,
    /// No hook interface is exported.
    #[error(
        "wrong world: it exports {}, but none of the hooks of patchbay:policy@0.1.0 (request-route, branch-route, onreply-route, \
         failure-route, event-route)",
        listed(.exports)
    )]
    NoHooks {
        /// What it exports instead.
        exports: Vec<String>,
    },
    /// A hook interface without its function, or with another type.
    #[error(
        "wrong world: the export `{export}` does not have the type of patchbay:policy@0.1.0 ({detail}): build it against the router's wit/"
    )]
    Export {
        /// The interface.
        export: String,
        /// What differs.
        detail: String,
    },
    /// An import that the host does not have.
    #[error("wrong world: it imports `{import}`, {}", advice(.import))]
    UnknownImport {
        /// The import.
        import: String,
    },
    /// Imports that the operator has not granted: what is wanted by them.
    #[error("{}", not_granted(.0))]
    NotGranted(Vec<Want>),
    /// An import with another type than the host's.
    #[error(
        "wrong world: an import does not have the type of patchbay:policy@0.1.0 ({0}): build it against the router's wit/"
    )]
    Import(String),
}

/// Every import that is not granted, and the lines that grant them.
fn not_granted(wants: &[Want]) -> String {
    let named = |name: &dyn Fn(&Want) -> String| {
        let names: Vec<String> = wants
            .iter()
            .map(|want| format!("`{}`", name(want)))
            .collect();
        names.join(" and ")
    };
    let imports = named(&|want| want.imports.first().cloned().unwrap_or_default());
    let lines = named(&|want| want.capability.line().to_owned());
    let (which, them) = match wants {
        [_] => ("which is", ""),
        _ => ("which are", "each of "),
    };
    format!("it imports {imports}, {which} not granted: add {them}{lines} to [policy.grants]")
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "nothing".into()
    } else {
        names.join(", ")
    }
}

fn advice(import: &str) -> &'static str {
    if import.starts_with("wasi:") {
        "but of WASI policies get wasi:http@0.2 (outgoing-handler and types, with the wasi:io and the monotonic clock that these need) and \
         wasi:keyvalue@0.2.0-draft: build it without (Rust: target wasm32-unknown-unknown; others: stub WASI out)"
    } else if import.starts_with(PACKAGE) {
        "which this version of the router does not provide: build it against the router's wit/"
    } else {
        "which is not part of patchbay:policy@0.1.0: remove it"
    }
}

/// What `policy check` and `policy inspect` tell about a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentReport {
    /// Its identity.
    pub digest: Digest,
    /// How long it is.
    pub size_bytes: usize,
    /// The hooks it exports.
    pub hooks: Vec<Hook>,
    /// Whether it exports `init`.
    pub exports_init: bool,
    /// The interfaces it imports.
    pub imports: Vec<String>,
    /// What the operator has to grant it.
    pub wants: Vec<Want>,
    /// The memory that it has at the start, in bytes.
    pub memory_bytes: u64,
}

impl ComponentReport {
    /// Whether everything that it wants is granted.
    pub fn check_grants(&self, grants: impl Fn(Capability) -> bool) -> Result<(), CheckError> {
        capability::check_grants(&self.wants, grants)
    }
}

/// Where the hooks of a component are.
#[derive(Clone, Default)]
pub(crate) struct Exports {
    pub(crate) init: Option<ComponentExportIndex>,
    pub(crate) hooks: [Option<ComponentExportIndex>; 5],
}

impl Exports {
    pub(crate) fn hook(&self, hook: Hook) -> Option<&ComponentExportIndex> {
        self.hooks.get(hook.index()).and_then(Option::as_ref)
    }

    pub(crate) fn hooks(&self) -> Vec<Hook> {
        Hook::ALL
            .into_iter()
            .filter(|&hook| self.hook(hook).is_some())
            .collect()
    }
}

/// The imports, each of which the host has.
pub(crate) fn check_imports(component: &Component) -> Result<Vec<String>, CheckError> {
    let ty = component.component_type();
    let imports: Vec<String> = ty
        .imports(component.engine())
        .map(|(name, _)| name.to_owned())
        .collect();
    match imports.iter().find(|name| !is_provided(name)) {
        Some(import) => Err(CheckError::UnknownImport {
            import: import.clone(),
        }),
        None => Ok(imports),
    }
}

fn is_provided(import: &str) -> bool {
    import
        .strip_prefix(PACKAGE)
        .and_then(|rest| rest.strip_suffix(VERSION))
        .is_some_and(|interface| IMPORTS.contains(&interface))
        || wasi_keyvalue::INTERFACES.contains(&import)
        || wasi_http::provides(import)
}

/// The hooks, each with the right type, at least one.
pub(crate) fn check_exports<T: 'static>(
    component: &Component,
    pre: &InstancePre<T>,
) -> Result<Exports, CheckError> {
    let types = &pre.instance_type();
    let init = find(component, "init", &|func| {
        func.typecheck::<(), (Result<(), String>,)>(types)
    })?;
    let mut exports = Exports {
        init,
        ..Exports::default()
    };
    for (hook, slot) in Hook::ALL.into_iter().zip(&mut exports.hooks) {
        *slot = find(component, hook.name(), &|func| hook.typecheck(func, pre))?;
    }
    if exports.hooks.iter().all(Option::is_none) {
        let ty = component.component_type();
        return Err(CheckError::NoHooks {
            exports: ty
                .exports(component.engine())
                .map(|(name, _)| name.to_owned())
                .collect(),
        });
    }
    Ok(exports)
}

/// The function `name` in the exported interface of the same name.
fn find(
    component: &Component,
    name: &str,
    typecheck: &dyn Fn(&ComponentFunc) -> wasmtime::Result<()>,
) -> Result<Option<ComponentExportIndex>, CheckError> {
    let interface = format!("{PACKAGE}{name}{VERSION}");
    let wrong = |detail: String| CheckError::Export {
        export: interface.clone(),
        detail,
    };
    let Some((item, index)) = component.get_export(None, &interface) else {
        return Ok(None);
    };
    let ComponentItem::ComponentInstance(_) = item else {
        return Err(wrong("it is no interface".into()));
    };
    let Some((item, function)) = component.get_export(Some(&index), name) else {
        return Err(wrong(format!("the function `{name}` is missing")));
    };
    let ComponentItem::ComponentFunc(func) = item else {
        return Err(wrong(format!("`{name}` is no function")));
    };
    typecheck(&func).map_err(|error| wrong(format!("{error:#}")))?;
    Ok(Some(function))
}
