//! The languages policies are written in.

use std::fmt;
use std::path::Path;

/// A language that policies are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// A crate on `patchbay-sdk`.
    Rust,
    /// Runs on QuickJS inside of the component.
    JavaScript,
    /// JavaScript once the types are taken off.
    TypeScript,
    /// Runs on CPython inside of the component.
    Python,
    /// On the module `patchbay` that the build brings along.
    Go,
    /// On the generated `policy.h`.
    C,
    /// On the generated `policy.h`, too.
    Cpp,
    /// On `policy.h` as a Zig module.
    Zig,
}

impl Language {
    /// All of them, in the order of the documentation.
    pub const ALL: [Language; 8] = [
        Language::Rust,
        Language::JavaScript,
        Language::TypeScript,
        Language::Python,
        Language::Go,
        Language::C,
        Language::Cpp,
        Language::Zig,
    ];

    /// The name on the command line: `patchbay policy new --lang NAME`.
    pub fn name(self) -> &'static str {
        match self {
            Language::Rust => "rust",
            Language::JavaScript => "javascript",
            Language::TypeScript => "typescript",
            Language::Python => "python",
            Language::Go => "go",
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::Zig => "zig",
        }
    }

    /// The language of that name, as on the command line and in `policy.toml`, or of the short form that many know it by.
    pub fn named(name: &str) -> Option<Language> {
        let name = match name {
            "rs" => "rust",
            "js" => "javascript",
            "ts" => "typescript",
            "py" => "python",
            "golang" => "go",
            "c++" => "cpp",
            name => name,
        };
        Language::ALL
            .into_iter()
            .find(|language| language.name() == name)
    }

    /// The language of a source file, by the end of its name.
    pub(crate) fn of_source(source: &Path) -> Option<Language> {
        match source.extension()?.to_str()? {
            "rs" => Some(Language::Rust),
            "js" | "mjs" => Some(Language::JavaScript),
            "ts" | "mts" => Some(Language::TypeScript),
            "py" => Some(Language::Python),
            "go" => Some(Language::Go),
            "c" => Some(Language::C),
            "cc" | "cpp" | "cxx" => Some(Language::Cpp),
            "zig" => Some(Language::Zig),
            _ => None,
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Language::Rust => "Rust",
            Language::JavaScript => "JavaScript",
            Language::TypeScript => "TypeScript",
            Language::Python => "Python",
            Language::Go => "Go",
            Language::C => "C",
            Language::Cpp => "C++",
            Language::Zig => "Zig",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_known_by_its_name() {
        for language in Language::ALL {
            assert_eq!(Language::named(language.name()), Some(language));
        }
        for (short, language) in [
            ("rs", Language::Rust),
            ("js", Language::JavaScript),
            ("ts", Language::TypeScript),
            ("py", Language::Python),
            ("golang", Language::Go),
            ("c++", Language::Cpp),
        ] {
            assert_eq!(Language::named(short), Some(language));
        }
        assert_eq!(Language::named("cobol"), None);
    }

    #[test]
    fn a_language_is_known_by_its_files() {
        for (file, language) in [
            ("policy.mjs", Some(Language::JavaScript)),
            ("src/policy.ts", Some(Language::TypeScript)),
            ("policy.cc", Some(Language::Cpp)),
            ("policy.txt", None),
            ("policy", None),
        ] {
            assert_eq!(Language::of_source(Path::new(file)), language, "{file}");
        }
    }
}
