//! Finds scenario files, and the components that they test.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bench::Component;
use super::suite::{Broken, Options, SuiteError};
use crate::config::BUILTIN;
use crate::config::scenario::ScenarioFile;
use crate::policy_directory::BUILTIN_POLICY;

/// The folder of a policy that has its scenarios.
const FOLDER: &str = "tests";

/// Scenarios and the component that they test.
pub(super) struct Group {
    pub(super) component: Component,
    pub(super) files: Vec<ScenarioFile>,
    /// What random scenarios are named after.
    pub(super) place: PathBuf,
}

/// What is to be played, and what can't be.
#[derive(Default)]
pub(super) struct Found {
    pub(super) groups: Vec<Group>,
    pub(super) broken: Vec<Broken>,
}

/// The files that the options name, by the component that they test. What is wrong with one keeps none of the others from being played.
pub(super) fn find(options: &Options, progress: &mut dyn FnMut(&str)) -> Found {
    let mut builds = Builds::default();
    let mut found = Found::default();
    for path in &options.paths {
        if let Err(error) = found.look_at(path, options, &mut builds, progress) {
            found.broken.push(Broken::new(path, error.to_string()));
        }
    }
    found
}

impl Found {
    fn look_at(
        &mut self,
        path: &Path,
        options: &Options,
        builds: &mut Builds,
        progress: &mut dyn FnMut(&str),
    ) -> Result<(), SuiteError> {
        let paths = files_of(path)?;
        if paths.is_empty() && options.random.is_some() {
            let component = builds.component(options, None, path, progress)?;
            self.groups.push(Group {
                component,
                files: Vec::new(),
                place: path.to_path_buf(),
            });
            return Ok(());
        }
        if paths.is_empty() {
            return Err(SuiteError::Nothing(format!(
                "there are no scenarios in {}: write them into {}",
                path.display(),
                path.join(FOLDER).join("NAME.toml").display()
            )));
        }
        for file in paths {
            match ScenarioFile::read(&file) {
                Ok(read) if read.scenarios.is_empty() && options.random.is_none() => {
                    let problem = format!(
                        "{}: there are no scenarios in it: write [[scenario]], with name and step",
                        file.display()
                    );
                    self.broken.push(Broken::new(&file, problem));
                }
                Ok(file) => self.add(file, path, options, builds, progress),
                Err(problems) => self.broken.push(Broken::new(&file, problems.to_string())),
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        file: ScenarioFile,
        place: &Path,
        options: &Options,
        builds: &mut Builds,
        progress: &mut dyn FnMut(&str),
    ) {
        let named = file.policy.as_ref().map(|(path, _)| path.as_path());
        let component = match builds.component(options, named, &file.path, progress) {
            Ok(component) => component,
            Err(error) => {
                let at = file.policy.as_ref().map(|(_, line)| line);
                let at = at.filter(|_| options.policy.is_none());
                let text = match at {
                    Some(line) => format!("{}:{line}: policy: {error}", file.path.display()),
                    None => error.to_string(),
                };
                return self.broken.push(Broken::new(&file.path, text));
            }
        };
        let same = |group: &&mut Group| {
            Arc::ptr_eq(&group.component.bytes, &component.bytes) && group.place == place
        };
        match self.groups.iter_mut().find(same) {
            Some(group) => group.files.push(file),
            None => self.groups.push(Group {
                component,
                files: vec![file],
                place: place.to_path_buf(),
            }),
        }
    }
}

/// The scenario files of a path, in the order of their names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, SuiteError> {
    let wrong = |source| SuiteError::File {
        path: path.to_path_buf(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(wrong)?;
    if metadata.is_file() {
        let is_component = path
            .extension()
            .is_some_and(|extension| extension == "wasm");
        if is_component {
            return Err(SuiteError::Nothing(format!(
                "{} is a component: name it with --policy, and the scenarios without",
                path.display()
            )));
        }
        return Ok(vec![path.to_path_buf()]);
    }
    let folder = if patchbay_guest_build::is_policy(path) {
        path.join(FOLDER)
    } else {
        path.to_path_buf()
    };
    let mut files = Vec::new();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(error) => return Err(wrong(error)),
    };
    for entry in entries {
        let file = entry.map_err(wrong)?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Components that were read or built, by their path, and those that could not be.
#[derive(Default)]
struct Builds(HashMap<PathBuf, Result<Component, String>>);

impl Builds {
    /// The component for a file: that of the command line, the one that the file names, or what is built from the folder around it.
    fn component(
        &mut self,
        options: &Options,
        named: Option<&Path>,
        file: &Path,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Component, SuiteError> {
        let path = match options.policy.as_deref().or(named) {
            Some(path) => path.to_path_buf(),
            None => policy_around(file)?,
        };
        let made = self
            .0
            .entry(path)
            .or_insert_with_key(|path| made(path, progress).map_err(|error| error.to_string()));
        made.clone().map_err(SuiteError::Nothing)
    }
}

fn made(path: &Path, progress: &mut dyn FnMut(&str)) -> Result<Component, SuiteError> {
    if path == Path::new(BUILTIN) {
        Ok(component(BUILTIN.to_owned(), BUILTIN_POLICY.to_vec()))
    } else if path.is_dir() {
        let output = patchbay_guest_build::default_output(path);
        let built = patchbay_guest_build::build_policy(path, &output, progress)?;
        read(&built.path)
    } else {
        read(path)
    }
}

fn component(name: String, bytes: Vec<u8>) -> Component {
    Component {
        name,
        bytes: Arc::new(bytes),
    }
}

fn read(path: &Path) -> Result<Component, SuiteError> {
    let bytes = std::fs::read(path).map_err(|source| SuiteError::File {
        path: path.to_path_buf(),
        source,
    })?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok(component(name.into_owned(), bytes))
}

/// The folder of the policy that a file is in.
fn policy_around(file: &Path) -> Result<PathBuf, SuiteError> {
    let whole = file.canonicalize().map_err(|source| SuiteError::File {
        path: file.to_path_buf(),
        source,
    })?;
    let folder = whole
        .ancestors()
        .find(|folder| patchbay_guest_build::is_policy(folder));
    folder.map(Path::to_path_buf).ok_or_else(|| {
        SuiteError::Nothing(format!(
            "{} is in no folder of a policy: say which one it tests with --policy FILE.wasm, or with policy = \"FILE.wasm\" in the file",
            file.display()
        ))
    })
}
