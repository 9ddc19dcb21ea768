//! The compiler for C, C++ and Zig: Zig on the machine, or the package `ziglang` of the Python package index in the cache.

use std::path::PathBuf;
use std::process::Command;

use crate::venv::Tool;
use crate::{BuildError, cache, command};

const ZIGLANG: Tool = Tool {
    package: "ziglang",
    version: "0.16.0",
    what: "the compiler for C, C++ and Zig (Zig)",
    megabytes: 100,
    instead: "; or put `zig` into PATH",
};

/// How to call Zig.
pub(crate) struct Compiler {
    program: PathBuf,
    arguments: Vec<&'static str>,
    cache: PathBuf,
}

impl Compiler {
    /// Zig on the machine, in the cache, or fetched into the cache.
    pub(crate) fn find(progress: &mut dyn FnMut(&str)) -> Result<Compiler, BuildError> {
        let cache = cache::folder()?.join("zig");
        if command::exists("zig") {
            return Ok(Compiler {
                program: PathBuf::from("zig"),
                arguments: Vec::new(),
                cache,
            });
        }
        Ok(Compiler {
            program: ZIGLANG.programs(progress)?.join("python"),
            arguments: vec!["-m", "ziglang"],
            cache,
        })
    }

    /// `zig`, for the sub-command and its arguments to follow.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("ZIG_GLOBAL_CACHE_DIR", &self.cache);
        command
    }
}
