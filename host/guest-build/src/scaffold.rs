//! `patchbay policy new`: a policy to start from.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{BuildError, Language, cache, folder, javascript, sdk};

/// A policy that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaffold {
    /// Its folder.
    pub folder: PathBuf,
    /// The files in it.
    pub files: Vec<PathBuf>,
}

/// Writes a new policy in that language into `folder`, whose last part is its name. The folder must be new or empty.
///
/// A Rust crate is a workspace of its own, and starts with the versions of the SDK's dependencies that this program was built
/// with. Inside the repository it uses the SDK there; elsewhere the copy that this program brings along. In the `policies`
/// folder of the repository it is a member of the workspace, like the others there.
///
/// # Errors
/// When the name does not fit, the folder has something in it, or it can't be written.
pub fn new_policy(
    folder: &Path,
    language: Language,
    progress: &mut dyn FnMut(&str),
) -> Result<Scaffold, BuildError> {
    if language == Language::Rust {
        return write_crate(folder, || sdk::unpacked(&cache::folder()?, progress));
    }
    let name = folder::policy_name(folder)?;
    let files = templates(language);
    is_free(folder, &files)?;
    fs::create_dir_all(folder.join("tests"))
        .map_err(|error| BuildError::io("create", folder, error))?;
    if is_member(folder, sdk::repository(folder).as_deref()) {
        progress(&format!(
            "add \"policies/{name}\" to `exclude` in the Cargo.toml of the repository: cargo takes every folder here for a crate"
        ));
    }
    write_files(folder, files, |text| text.replace("{{name}}", &name))
}

/// The files of a policy in a language other than Rust, and their templates.
fn templates(language: Language) -> Vec<(&'static str, String)> {
    macro_rules! files {
        ($($language:literal: $($file:literal),+);+ $(;)?) => {
            match language.name() {
                $($language => vec![$(($file, include_str!(concat!("scaffold/", $language, "/", $file, ".template")))),+],)+
                // A crate is written by itself.
                _ => Vec::new(),
            }
        };
    }
    let files: Vec<(&str, &str)> = files! {
        "javascript": "policy.toml", "policy.js";
        "typescript": "policy.toml", "policy.ts";
        "python": "policy.toml", "policy.py";
        "go": "policy.toml", "go.mod", "policy.go";
        "c": "policy.toml", "policy.c";
        "cpp": "policy.toml", "policy.cpp";
        "zig": "policy.toml", "policy.zig";
    };
    let files = files
        .into_iter()
        .map(|(file, text)| (file, text.to_owned()));
    files
        .chain(types(language))
        .chain([
            ("tests/calls.toml", SCENARIOS.to_owned()),
            (".gitignore", "/target\n".to_owned()),
        ])
        .collect()
}

/// What editors and `tsc` need to know of the router.
fn types(language: Language) -> Option<(&'static str, String)> {
    let wanted = language == Language::TypeScript;
    wanted.then(|| ("patchbay.d.ts", javascript::TYPES.to_owned()))
}

fn write_crate(
    folder: &Path,
    sdk_copy: impl FnOnce() -> Result<PathBuf, BuildError>,
) -> Result<Scaffold, BuildError> {
    let name = folder::policy_name(folder)?;
    if sdk::CRATES.contains(&&*name) {
        return Err(BuildError::SdkCrate { name });
    }
    let repository = sdk::repository(folder);
    let files = texts(is_member(folder, repository.as_deref()));
    is_free(folder, &files)?;
    let sdk = match &repository {
        Some(root) => root.join("guest-sdk"),
        None => sdk_copy()?,
    };
    for inner in ["src", "tests"] {
        fs::create_dir_all(folder.join(inner))
            .map_err(|error| BuildError::io("create", folder, error))?;
    }
    let sdk = match &repository {
        Some(root) => relative(folder, root).map_or(sdk, |up| up.join("guest-sdk")),
        None => sdk,
    };
    write_files(folder, files, |text| fill(text, &name, &sdk))
}

/// That nothing is there that would be written.
fn is_free(folder: &Path, files: &[(&'static str, String)]) -> Result<(), BuildError> {
    match files.iter().find(|(file, _)| folder.join(file).exists()) {
        Some((file, _)) => Err(BuildError::Exists {
            folder: folder.to_owned(),
            file,
        }),
        None => Ok(()),
    }
}

/// Writes files that must not be there.
fn write_files(
    folder: &Path,
    texts: Vec<(&'static str, String)>,
    fill: impl Fn(&str) -> String,
) -> Result<Scaffold, BuildError> {
    let mut files = Vec::new();
    for (file, text) in texts {
        let path = folder.join(file);
        write_new(&path, &fill(&text)).map_err(|error| BuildError::io("create", &path, error))?;
        files.push(path);
    }
    Ok(Scaffold {
        folder: folder.to_owned(),
        files,
    })
}

/// The files of a crate and their templates.
fn texts(is_member: bool) -> Vec<(&'static str, String)> {
    let source = ("src/lib.rs", SOURCE.to_owned());
    let scenarios = ("tests/calls.toml", SCENARIOS.to_owned());
    if is_member {
        return vec![("Cargo.toml", MANIFEST.to_owned()), source, scenarios];
    }
    let mut texts = vec![
        ("Cargo.toml", format!("{MANIFEST}{WORKSPACE}")),
        (".gitignore", "/target\n".to_owned()),
        source,
        scenarios,
    ];
    texts.extend(sdk::lock().map(|lock| ("Cargo.lock", lock.to_owned())));
    texts
}

/// Whether the workspace of the repository takes the folder in: a workspace of its own would break that one.
fn is_member(folder: &Path, repository: Option<&Path>) -> bool {
    let parent = folder.parent().map(|parent| {
        if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        }
    });
    let parent = parent.and_then(|parent| parent.canonicalize().ok());
    repository.is_some_and(|root| parent.as_deref() == Some(&*root.join("policies")))
}

/// The way up from a folder to one around it, so that the repository can be moved.
fn relative(folder: &Path, around: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let down = folder.strip_prefix(around).ok()?;
    Some(down.components().map(|_| "..").collect())
}

/// Writes a file that must not be there.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    File::create_new(path)?.write_all(text.as_bytes())
}

/// Puts names into a template.
fn fill(template: &str, name: &str, sdk: &Path) -> String {
    let sdk = toml::Value::String(sdk.display().to_string()).to_string();
    template
        .replace("{{name}}", name)
        .replace("{{sdk}}", &sdk)
        .replace("{{type}}", &type_name(name))
}

/// `least-cost` as a type: `LeastCostPolicy`. Nothing that the SDK or the language brings along has such a name.
fn type_name(name: &str) -> String {
    let words = capitalised(name);
    match words.strip_suffix("Policy") {
        Some(start) if !start.is_empty() => words,
        _ => words + "Policy",
    }
}

fn capitalised(name: &str) -> String {
    let mut starts_word = true;
    let mut capitalise = |each: char| {
        let capital = starts_word;
        starts_word = matches!(each, '-' | '_');
        if capital {
            each.to_ascii_uppercase()
        } else {
            each
        }
    };
    name.chars()
        .map(&mut capitalise)
        .filter(|each| !matches!(each, '-' | '_'))
        .collect()
}

/// The crate's manifest.
const MANIFEST: &str = include_str!("scaffold/rust/Cargo.toml.template");

/// What follows in it when the crate is a workspace of its own.
const WORKSPACE: &str = include_str!("scaffold/rust/workspace.toml.template");

/// The crate's source.
const SOURCE: &str = include_str!("scaffold/rust/lib.rs.template");

/// Its scenarios, for `patchbay policy test`. They fit every policy that routes as the source does.
const SCENARIOS: &str = include_str!("scaffold/calls.toml.template");

#[cfg(test)]
mod tests {
    use super::*;

    const ELSEWHERE: &str = "/usr/share/patchbay/guest-sdk";

    fn new_crate(folder: &Path) -> Result<Scaffold, BuildError> {
        write_crate(folder, || Ok(PathBuf::from(ELSEWHERE)))
    }

    fn manifest(scaffold: &Scaffold) -> toml::Table {
        let text = fs::read_to_string(scaffold.folder.join("Cargo.toml")).unwrap();
        text.parse().unwrap()
    }

    /// A folder with the SDK in it.
    fn repository() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("guest-sdk")).unwrap();
        fs::create_dir(root.path().join("policies")).unwrap();
        fs::write(
            root.path().join("guest-sdk/Cargo.toml"),
            "[package]\nname = 'patchbay-sdk'\n",
        )
        .unwrap();
        root
    }

    #[test]
    fn a_new_policy_is_a_crate_that_names_its_type() {
        let parent = tempfile::tempdir().unwrap();
        let scaffold = new_crate(&parent.path().join("least-cost")).unwrap();
        let manifest = manifest(&scaffold);
        assert_eq!(manifest["package"]["name"].as_str(), Some("least-cost"));
        let source = fs::read_to_string(scaffold.folder.join("src/lib.rs")).unwrap();
        assert!(source.contains("impl Policy for LeastCostPolicy {"));
        assert!(!source.contains("{{"));
    }

    #[test]
    fn a_crate_of_the_sdk_is_no_name_of_a_policy() {
        let parent = tempfile::tempdir().unwrap();
        for name in sdk::CRATES {
            let error = new_crate(&parent.path().join(name))
                .unwrap_err()
                .to_string();
            assert!(error.contains("another name"), "{error}");
        }
    }

    #[test]
    fn no_type_is_named_as_one_that_it_needs() {
        for (name, expected) in [
            ("policy", "PolicyPolicy"),
            ("request", "RequestPolicy"),
            ("self", "SelfPolicy"),
            ("my_policy", "MyPolicy"),
        ] {
            assert_eq!(type_name(name), expected);
        }
    }

    #[test]
    fn away_from_the_repository_it_uses_the_copy_of_the_sdk() {
        let parent = tempfile::tempdir().unwrap();
        let scaffold = new_crate(&parent.path().join("mine")).unwrap();
        let manifest = manifest(&scaffold);
        let sdk = &manifest["dependencies"]["patchbay-sdk"]["path"];
        assert_eq!(sdk.as_str(), Some(ELSEWHERE));
        assert!(manifest.contains_key("workspace"));
        assert!(scaffold.folder.join("Cargo.lock").is_file());
    }

    #[test]
    fn in_the_repository_it_uses_the_sdk_there() {
        let root = repository();
        let scaffold = new_crate(&root.path().join("mine")).unwrap();
        let manifest = manifest(&scaffold);
        let sdk = &manifest["dependencies"]["patchbay-sdk"]["path"];
        assert_eq!(sdk.as_str(), Some("../guest-sdk"));
        assert!(manifest.contains_key("workspace"));
    }

    #[test]
    fn beside_the_policies_of_the_repository_it_is_a_member_of_their_workspace() {
        let root = repository();
        let scaffold = new_crate(&root.path().join("policies/mine")).unwrap();
        assert!(!manifest(&scaffold).contains_key("workspace"));
        assert!(!scaffold.folder.join("Cargo.lock").exists());
    }

    #[test]
    fn nothing_is_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("mine");
        new_crate(&folder).unwrap();
        fs::write(folder.join("src/lib.rs"), "mine").unwrap();
        let error = new_crate(&folder).unwrap_err().to_string();
        assert!(
            error.contains("has a Cargo.toml already") && error.contains("another name"),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(folder.join("src/lib.rs")).unwrap(),
            "mine"
        );
    }

    #[test]
    fn a_new_policy_in_another_language_has_a_manifest_that_names_its_sources() {
        let parent = tempfile::tempdir().unwrap();
        for language in Language::ALL.into_iter().skip(1) {
            let folder = parent.path().join(language.name());
            let scaffold = new_policy(&folder, language, &mut |_| {}).unwrap();
            let manifest = crate::manifest::Manifest::read(&folder).unwrap();
            assert_eq!(manifest.language, language);
            assert!(scaffold.files.contains(&folder.join(manifest.main())));
            new_policy(&folder, language, &mut |_| {}).unwrap_err();
        }
    }

    #[test]
    fn beside_the_policies_of_the_repository_one_is_told_what_cargo_needs() {
        let root = repository();
        let mut said = Vec::new();
        let folder = root.path().join("policies/mine");
        new_policy(&folder, Language::Go, &mut |line| {
            said.push(line.to_owned())
        })
        .unwrap();
        assert!(said.concat().contains("\"policies/mine\""), "{said:?}");
    }
}
