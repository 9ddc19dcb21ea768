//! From a core module to a component of `patchbay:policy@0.1.0`.

use wit_component::ComponentEncoder;
use wit_parser::{Resolve, SourceMap, WorldId};

use crate::BuildError;

/// The files of the WIT package.
const WIT: [(&str, &str); 7] = [
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

/// The bindings of all languages put the description of the module's world into it.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder
        .validate(true)
        .module(module)
        .map_err(|error| problem(&error))?;
    encoder.encode().map_err(|error| problem(&error))
}

/// The world with everything the host provides and these hooks.
pub(crate) fn world(hooks: &[String]) -> Result<(Resolve, WorldId), BuildError> {
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
    let exports: String = hooks
        .iter()
        .map(|hook| format!("export patchbay:policy/{hook}@0.1.0;\n"))
        .collect();
    let text = format!(
        "package patchbay:guest;\nworld policy {{\ninclude patchbay:policy/imports@0.1.0;\n{exports}}}\n"
    );
    let package = resolve
        .push_source("guest.wit", &text)
        .map_err(|error| problem(&error))?;
    let world = resolve
        .select_world(&[package], None)
        .map_err(|error| problem(&error))?;
    Ok((resolve, world))
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
        let hooks = [
            "init",
            "request-route",
            "branch-route",
            "onreply-route",
            "failure-route",
            "event-route",
        ];
        let (resolve, world) = world(&hooks.map(str::to_owned)).unwrap();
        let world = resolve.worlds.get(world).unwrap();
        assert_eq!(world.exports.len(), hooks.len());
    }

    #[test]
    fn an_unknown_hook_is_an_error() {
        world(&["reply-route".to_owned()]).unwrap_err();
    }
}
