//! `policy.toml`: what is built of a folder that is no Rust crate.

use std::fs;
use std::path::{Path, PathBuf};

use crate::nearest::hint;
use crate::{BuildError, Language, component};

/// The keys there are.
const KEYS: [&str; 4] = ["language", "hooks", "imports", "sources"];

/// What `imports` may name: what needs a grant of the operator.
const IMPORTS: [&str; 4] = ["http", "keyvalue", "location", "wasi:http"];

/// What `policy.toml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// What the sources are written in.
    pub(crate) language: Language,
    /// The hooks the policy implements, as in the WIT package (`request-route`).
    pub(crate) hooks: Vec<String>,
    /// Interfaces that it uses besides those every policy may; they need a grant of the operator.
    pub(crate) imports: Vec<String>,
    /// The files, from the folder; the first is where the policy begins.
    pub(crate) sources: Vec<PathBuf>,
}

impl Manifest {
    /// Reads `policy.toml`.
    pub(crate) fn read(folder: &Path) -> Result<Manifest, BuildError> {
        let path = folder.join("policy.toml");
        let text =
            fs::read_to_string(&path).map_err(|error| BuildError::io("read", &path, error))?;
        let manifest = Manifest::parse(&text).and_then(|manifest| {
            let mut missing = manifest.sources.iter();
            let missing = missing.find(|source| !folder.join(source).is_file());
            match missing {
                Some(source) => Err(format!(
                    "`sources` names {}, which is not there",
                    source.display()
                )),
                None => Ok(manifest),
            }
        });
        manifest.map_err(|problem| BuildError::Manifest { path, problem })
    }

    fn parse(text: &str) -> Result<Manifest, String> {
        let table = text
            .parse::<toml::Table>()
            .map_err(|error| error.to_string())?;
        if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!(
                "unknown key `{unknown}`{}; there are `{}`",
                hint(unknown, KEYS),
                KEYS.join("`, `")
            ));
        }
        let hooks = some(&table, "hooks")?;
        known("hooks", &hooks, &component::HOOKS)?;
        let imports = strings(&table, "imports")?;
        known("imports", &imports, &IMPORTS)?;
        let sources: Vec<PathBuf> = some(&table, "sources")?
            .into_iter()
            .map(PathBuf::from)
            .collect();
        if let Some(outside) = sources.iter().find(|source| !is_inside(source)) {
            return Err(format!(
                "`sources` are files of the folder; `{}` is not",
                outside.display()
            ));
        }
        let language = language(&table, &sources)?;
        Ok(Manifest {
            language,
            hooks,
            imports,
            sources,
        })
    }

    /// One with these hooks and nothing else.
    #[cfg(test)]
    pub(crate) fn of_hooks(hooks: &[&str]) -> Manifest {
        Manifest {
            language: Language::C,
            hooks: hooks.iter().map(|&hook| hook.to_owned()).collect(),
            imports: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// The file where the policy begins.
    pub(crate) fn main(&self) -> &Path {
        self.sources.first().map_or(Path::new(""), PathBuf::as_path)
    }
}

/// The language that is named, or else the one of the first source.
fn language(table: &toml::Table, sources: &[PathBuf]) -> Result<Language, String> {
    let names = || Language::ALL.map(Language::name).join(", ");
    let language = match table.get("language") {
        Some(value) => value.as_str().and_then(Language::named),
        None => sources
            .first()
            .and_then(|source| Language::of_source(source)),
    };
    match language {
        Some(Language::Rust) => Err("a Rust policy has a Cargo.toml instead".to_owned()),
        Some(language) => Ok(language),
        None => Err(format!(
            "`language` must be one of {}, or be told by the end of the first source's name",
            names()
        )),
    }
}

/// Whether a path leads to nowhere but below the folder.
fn is_inside(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// That a list has nothing but these names.
fn known(key: &str, listed: &[String], names: &[&str]) -> Result<(), String> {
    match listed.iter().find(|one| !names.contains(&one.as_str())) {
        Some(unknown) => Err(format!(
            "`{key}` has \"{unknown}\", which there is not{}; there are \"{}\"",
            hint(unknown, names.iter().copied()),
            names.join("\", \"")
        )),
        None => Ok(()),
    }
}

/// A list of texts that is not empty.
fn some(table: &toml::Table, key: &str) -> Result<Vec<String>, String> {
    let texts = strings(table, key)?;
    if texts.is_empty() {
        return Err(format!("`{key}` must be a list of texts with at least one"));
    }
    Ok(texts)
}

/// A list of texts; without the key it is empty.
fn strings(table: &toml::Table, key: &str) -> Result<Vec<String>, String> {
    let Some(value) = table.get(key) else {
        return Ok(Vec::new());
    };
    let texts = value.as_array().and_then(|values| {
        let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
        texts.collect::<Option<_>>()
    });
    texts.ok_or_else(|| format!("`{key}` must be a list of texts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_hooks_and_sources() {
        let manifest =
            Manifest::parse("language = 'c'\nhooks = ['request-route']\nsources = ['policy.c']\n")
                .unwrap();
        assert_eq!(manifest.language, Language::C);
        assert_eq!(manifest.hooks, ["request-route"]);
        assert_eq!(manifest.main(), Path::new("policy.c"));
    }

    #[test]
    fn without_a_language_the_sources_tell_it() {
        let manifest = Manifest::parse("hooks = ['init']\nsources = ['policy.py']\n").unwrap();
        assert_eq!(manifest.language, Language::Python);
    }

    #[test]
    fn imports_may_be_an_empty_list() {
        let text = "hooks = ['init']\nimports = []\nsources = ['policy.py']\n";
        assert!(Manifest::parse(text).unwrap().imports.is_empty());
    }

    #[test]
    fn a_source_that_is_not_there_is_told_with_the_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let text = "hooks = ['init']\nsources = ['policy.py']\n";
        fs::write(folder.path().join("policy.toml"), text).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("policy.toml: `sources` names policy.py, which is not there"),
            "{error}"
        );
    }

    #[test]
    fn a_mistake_in_a_manifest_is_named() {
        for (text, named) in [
            (
                "language = 'c'\nhooks = ['request_route']\nsources = ['a.c']",
                "did you mean \"request-route\"?",
            ),
            (
                "language = 'c'\nhooks = ['init']\nimports = ['htp']\nsources = ['a.c']",
                "did you mean \"http\"?",
            ),
            (
                "language = 'c'\nhooks = ['init']\nimports = 'http'\nsources = ['a.c']",
                "`imports` must be a list",
            ),
            (
                "language = 'cobol'\nhooks = ['init']\nsources = ['a.c']",
                "language",
            ),
            ("hooks = ['init']\nsources = ['a.txt']", "language"),
            (
                "language = 'rust'\nhooks = ['init']\nsources = ['a.rs']",
                "Cargo.toml",
            ),
            ("language = 'c'\nhook = []", "hook"),
            ("language = 'c'\nhooks = []", "hooks"),
            ("language = 'c'\nhooks = ['init']", "sources"),
            (
                "language = 'c'\nhooks = ['init']\nsources = ['../a.c']",
                "../a.c",
            ),
        ] {
            let problem = Manifest::parse(text).unwrap_err();
            assert!(problem.contains(named), "{problem}");
        }
    }
}
