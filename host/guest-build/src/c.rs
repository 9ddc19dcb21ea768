//! Compiles a C policy to a core module.
//!
//! The folder holds `policy.toml` and C files. The header `policy.h` and the glue behind it are generated from the WIT package
//! for exactly the hooks of the manifest. The compiler is `zig cc`: Zig on the machine, or the package `ziglang` of the
//! Python package index in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wit_bindgen_core::Files;

use crate::{BuildError, cache, command, component, folder};

/// The compiler's version in the Python package index.
const ZIGLANG: &str = "0.16.0";

/// A library without a main function for WebAssembly, small, with a stack of 64 KiB as for Rust. Of the C library only what does
/// not need WASI may be used; anything else is refused when the component is made.
const FLAGS: [&str; 9] = [
    "cc",
    "-target",
    "wasm32-wasi",
    "-mexec-model=reactor",
    "-O2",
    "-s",
    "-Wall",
    "-Wextra",
    "-Wl,-z,stack-size=65536",
];

/// What `policy.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The hooks the policy implements, as in the WIT package (`request-route`).
    pub(crate) hooks: Vec<String>,
    /// The C files, from the folder.
    pub(crate) sources: Vec<PathBuf>,
}

impl Manifest {
    /// Reads `policy.toml`.
    pub(crate) fn read(folder: &Path) -> Result<Manifest, BuildError> {
        let path = folder.join("policy.toml");
        let text =
            fs::read_to_string(&path).map_err(|error| BuildError::io("read", &path, error))?;
        Manifest::parse(&text).map_err(|problem| BuildError::Manifest { path, problem })
    }

    fn parse(text: &str) -> Result<Manifest, String> {
        let table = text
            .parse::<toml::Table>()
            .map_err(|error| error.to_string())?;
        if let Some(unknown) = table
            .keys()
            .find(|key| !["language", "hooks", "sources"].contains(&key.as_str()))
        {
            return Err(format!(
                "unknown key `{unknown}`; there are `language`, `hooks` and `sources`"
            ));
        }
        match table.get("language").and_then(toml::Value::as_str) {
            Some("c") => {}
            _ => {
                return Err(
                    "`language` must be \"c\"; a Rust policy has a Cargo.toml instead".to_owned(),
                );
            }
        }
        let hooks = strings(&table, "hooks")?;
        let sources = strings(&table, "sources")?
            .into_iter()
            .map(PathBuf::from)
            .collect();
        Ok(Manifest { hooks, sources })
    }
}

/// A list of texts that is not empty.
fn strings(table: &toml::Table, key: &str) -> Result<Vec<String>, String> {
    let values = table
        .get(key)
        .and_then(toml::Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let texts: Option<Vec<String>> = values
        .iter()
        .map(|value| value.as_str().map(str::to_owned))
        .collect();
    texts
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| format!("`{key}` must be a list of texts with at least one"))
}

/// Compiles the policy and returns the module.
pub(crate) fn compile(
    policy: &Path,
    name: &str,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<u8>, BuildError> {
    let manifest = Manifest::read(policy)?;
    let compiler = Compiler::find(progress)?;
    let work = folder::workspace(policy)
        .join("target")
        .join("guest")
        .join("c")
        .join(name);
    fs::create_dir_all(&work).map_err(|error| BuildError::io("create", &work, error))?;
    let glue = write_bindings(&work, &manifest.hooks)?;
    progress(&format!("compiling {}", policy.display()));
    let module = work.join("policy.wasm");
    let mut zig = compiler.command()?;
    zig.args(FLAGS).arg("-I").arg(&work).arg("-o").arg(&module);
    zig.args(manifest.sources.iter().map(|source| policy.join(source)))
        .args(glue);
    command::run(&mut zig)?;
    fs::read(&module).map_err(|error| BuildError::io("read", &module, error))
}

/// Writes `policy.h` and the glue behind it, and returns what has to be linked with the policy.
fn write_bindings(work: &Path, hooks: &[String]) -> Result<Vec<PathBuf>, BuildError> {
    let (mut resolve, world) = component::world(hooks)?;
    let mut files = Files::default();
    let generated =
        wit_bindgen_c::Opts::default()
            .build()
            .generate(&mut resolve, world, &mut files);
    generated.map_err(|error| BuildError::Component {
        problem: format!("{error:#}"),
    })?;
    let mut sources = Vec::new();
    for (name, bytes) in files.iter() {
        let path = work.join(name);
        fs::write(&path, bytes).map_err(|error| BuildError::io("write", &path, error))?;
        if !name.ends_with(".h") {
            sources.push(path);
        }
    }
    Ok(sources)
}

/// How to call Zig.
struct Compiler {
    program: PathBuf,
    arguments: Vec<&'static str>,
}

impl Compiler {
    /// Zig on the machine, in the cache, or fetched into the cache.
    fn find(progress: &mut dyn FnMut(&str)) -> Result<Compiler, BuildError> {
        if command::exists("zig") {
            return Ok(Compiler {
                program: PathBuf::from("zig"),
                arguments: Vec::new(),
            });
        }
        let environment = cache::folder()?.join(format!("ziglang-{ZIGLANG}"));
        let python = environment.join("bin").join("python");
        let complete = format!("ziglang-{ZIGLANG}.complete");
        cache::ensure(&complete, progress, |_, progress| {
            fetch(&environment, &python, progress)
        })?;
        Ok(Compiler {
            program: python,
            arguments: vec!["-m", "ziglang"],
        })
    }

    fn command(&self) -> Result<Command, BuildError> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("ZIG_GLOBAL_CACHE_DIR", cache::folder()?.join("zig"));
        Ok(command)
    }
}

/// Makes a Python environment with the package in it. It can't be renamed afterwards, hence its place is final.
fn fetch(
    environment: &Path,
    python: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    progress(&format!(
        "fetching ziglang {ZIGLANG}, the C compiler for policies, into the cache (100 MB)"
    ));
    command::output(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(environment),
    )
    .map_err(|error| missing(&error))?;
    let package = format!("ziglang=={ZIGLANG}");
    command::output(Command::new(python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        &package,
    ]))
    .map_err(|error| missing(&error))?;
    Ok(())
}

fn missing(reason: &BuildError) -> BuildError {
    BuildError::Missing {
        what: "the C compiler for WebAssembly (Zig)",
        reason: reason.to_string(),
        command: "apt-get install -y python3-venv    # then Zig comes from PyPI by itself; or put `zig` into PATH".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_hooks_and_sources() {
        let manifest =
            Manifest::parse("language = 'c'\nhooks = ['request-route']\nsources = ['policy.c']\n")
                .unwrap();
        assert_eq!(manifest.hooks, ["request-route"]);
        assert_eq!(manifest.sources, [Path::new("policy.c")]);
    }

    #[test]
    fn a_mistake_in_a_manifest_is_named() {
        for (text, named) in [
            ("language = 'go'", "language"),
            ("language = 'c'\nhook = []", "hook"),
            ("language = 'c'\nhooks = []", "hooks"),
            ("language = 'c'\nhooks = ['init']", "sources"),
        ] {
            let problem = Manifest::parse(text).unwrap_err();
            assert!(problem.contains(named), "{problem}");
        }
    }

    #[test]
    fn the_bindings_declare_the_hooks_of_the_manifest() {
        let work = tempfile::tempdir().unwrap();
        write_bindings(work.path(), &["request-route".to_owned()]).unwrap();
        let header = fs::read_to_string(work.path().join("policy.h")).unwrap();
        assert!(
            header.contains("request_route") && !header.contains("failure_route_failure_route"),
            "{header}"
        );
    }
}
