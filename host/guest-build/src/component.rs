//! From a core module to a component of `patchbay:policy@0.1.0`.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, SourceMap, WorldId};

use crate::manifest::Manifest;
use crate::{BuildError, wasi, wasi_http};

/// The files of the WIT package.
pub(crate) const WIT: [(&str, &str); 7] = [
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("message.wit", include_str!("../../../wit/message.wit")),
    (
        "transaction.wit",
        include_str!("../../../wit/transaction.wit"),
    ),
    ("services.wit", include_str!("../../../wit/services.wit")),
    ("outside.wit", include_str!("../../../wit/outside.wit")),
    ("hooks.wit", include_str!("../../../wit/hooks.wit")),
    ("world.wit", include_str!("../../../wit/world.wit")),
];

/// The hooks there are.
pub(crate) const HOOKS: [&str; 6] = [
    "init",
    "request-route",
    "branch-route",
    "onreply-route",
    "failure-route",
    "event-route",
];

/// The interfaces that are imported only when the manifest names them.
pub(crate) const GRANTED: [&str; 2] = ["http", "keyvalue"];

/// An interface that compiled code imports and the manifest does not name, as a mistake in the manifest.
pub(crate) fn check_imports(
    code: &[u8],
    policy: &Path,
    manifest: &Manifest,
) -> Result<(), BuildError> {
    let is_imported = |interface: &str| {
        let name = format!("patchbay:policy/{interface}@0.1.0");
        code.windows(name.len())
            .any(|window| window == name.as_bytes())
    };
    let is_listed = |interface: &str| manifest.imports.iter().any(|listed| listed == interface);
    let missing = GRANTED
        .into_iter()
        .find(|interface| is_imported(interface) && !is_listed(interface));
    match missing {
        Some(interface) => Err(BuildError::Manifest {
            path: policy.join("policy.toml"),
            problem: format!(
                "the policy imports {interface}, which `imports` does not list: imports = [\"{interface}\"]"
            ),
        }),
        None => Ok(()),
    }
}

/// The hooks that are not in a list.
pub(crate) fn unlisted(hooks: &[String]) -> impl Iterator<Item = &'static str> {
    HOOKS
        .into_iter()
        .filter(|hook| !hooks.iter().any(|listed| listed == hook))
}

/// The name of the world a policy is built for; the bindings for C are named after it.
pub(crate) const WORLD: &str = "policy";

/// The bindings of all languages put the description of the module's world into it. What it calls of WASI gets the answers of
/// [`wasi`].
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let mut encoder = ComponentEncoder::default();
    let mut encoder = encoder
        .validate(true)
        .module(module)
        .map_err(|error| problem(&error))?;
    if wasi::is_used(module) {
        let adapter = wasi::adapter().map_err(|error| problem(&error))?;
        encoder = encoder
            .adapter(wasi::MODULE, &adapter)
            .map_err(|error| problem(&error))?;
    }
    encoder.encode().map_err(|error| problem(&error))
}

/// The world with everything the host provides to any policy, and what the manifest names.
pub(crate) fn world(manifest: &Manifest) -> Result<(Resolve, WorldId), BuildError> {
    let mut sources = SourceMap::default();
    for (name, text) in WIT {
        sources.push_str(name, text);
    }
    let package = sources
        .parse()
        .map_err(|(_, error)| BuildError::Component {
            problem: error.to_string(),
        })?;
    let mut resolve = Resolve::default();
    resolve
        .push_group(package)
        .map_err(|error| BuildError::Component {
            problem: error.to_string(),
        })?;
    for (name, text) in wasi_http::packages(manifest) {
        resolve
            .push_source(&wasi_http::file_name(name), text)
            .map_err(|error| problem(&error))?;
    }
    let package = resolve
        .push_source("guest.wit", &world_text(manifest))
        .map_err(|error| problem(&error))?;
    let world = resolve
        .select_world(&[package], Some(WORLD))
        .map_err(|error| problem(&error))?;
    Ok((resolve, world))
}

/// The text of that world, in a package of its own.
pub(crate) fn world_text(manifest: &Manifest) -> String {
    let line = |what: &str, name: &str| format!("{what} patchbay:policy/{name}@0.1.0;\n");
    let ours = manifest.imports.iter().filter(|name| !wasi_http::is(name));
    let mut imports: String = ours.map(|name| line("import", name)).collect();
    imports.push_str(wasi_http::imports(manifest));
    let exports: String = manifest
        .hooks
        .iter()
        .map(|name| line("export", name))
        .collect();
    format!(
        "package patchbay:guest;\nworld {WORLD} {{\ninclude patchbay:policy/imports@0.1.0;\n{imports}{exports}}}\n"
    )
}

/// Puts the description of that world into a module whose language has no generator that does.
pub(crate) fn describe(module: &mut Vec<u8>, manifest: &Manifest) -> Result<(), BuildError> {
    let (resolve, world) = world(manifest)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| problem(&error))
}

/// Interface and name of every function that a policy may call, for tests of hand-written bindings.
#[cfg(test)]
pub(crate) fn functions() -> Result<Vec<(String, String)>, BuildError> {
    let (resolve, _) = world(&Manifest::of_hooks(&["init"]))?;
    let worlds = resolve.worlds.iter().map(|(_, world)| world);
    let worlds = worlds.filter(|world| matches!(world.name.as_str(), "imports" | "granted"));
    let items = worlds.flat_map(|world| world.imports.values());
    let interfaces = items.filter_map(|item| match item {
        wit_parser::WorldItem::Interface { id, .. } => resolve.interfaces.get(*id),
        _ => None,
    });
    let named = interfaces.flat_map(|interface| {
        let name = interface.name.clone().unwrap_or_default();
        let functions = interface.functions.keys();
        functions.map(move |function| (name.clone(), function.clone()))
    });
    Ok(named.collect())
}

/// The whole chain of causes: the first alone rarely says which function is wrong.
fn problem(error: &impl std::fmt::Display) -> BuildError {
    BuildError::Component {
        problem: format!("{error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_can_be_exported() {
        let (resolve, world) = world(&Manifest::of_hooks(&HOOKS)).unwrap();
        let world = resolve.worlds.get(world).unwrap();
        assert_eq!(world.exports.len(), HOOKS.len());
    }

    #[test]
    fn an_import_that_the_manifest_does_not_name_is_a_mistake() {
        let mut manifest = Manifest::of_hooks(&["init"]);
        let code = b"\0\x1epatchbay:policy/http@0.1.0\x05fetch";
        let check = |manifest: &Manifest| check_imports(code, Path::new("p"), manifest);
        let error = check(&manifest).unwrap_err().to_string();
        assert!(error.contains("imports = [\"http\"]"), "{error}");
        manifest.imports.push("http".to_owned());
        check(&manifest).unwrap();
    }

    #[test]
    fn an_unknown_hook_is_an_error() {
        world(&Manifest::of_hooks(&["reply-route"])).unwrap_err();
    }
}
