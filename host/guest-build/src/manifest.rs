//! `policy.toml`: what is built of a folder that is no Rust crate.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{BuildError, Language};

/// The keys there are.
const KEYS: [&str; 4] = ["language", "hooks", "imports", "sources"];

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
        Manifest::parse(&text).map_err(|problem| BuildError::Manifest { path, problem })
    }

    fn parse(text: &str) -> Result<Manifest, String> {
        let table = text
            .parse::<toml::Table>()
            .map_err(|error| error.to_string())?;
        if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!(
                "unknown key `{unknown}`; there are `{}`",
                KEYS.join("`, `")
            ));
        }
        let hooks = strings(&table, "hooks")?;
        let imports = if table.contains_key("imports") {
            strings(&table, "imports")?
        } else {
            Vec::new()
        };
        let sources: Vec<PathBuf> = strings(&table, "sources")?
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
    fn a_mistake_in_a_manifest_is_named() {
        for (text, named) in [
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
