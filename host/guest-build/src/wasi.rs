//! Answers for modules whose language takes WASI for granted.
//!
//! A policy has no WASI: time, random numbers and logs come from the router, and there are no files and sockets. The runtimes of
//! Go and C++ ask for it nevertheless. A small adapter inside of the component answers them: there is no argument, no environment
//! and no file, the clock advances by a microsecond whenever it is read, and random numbers always begin alike.

/// The module that these runtimes import from.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";

/// `EBADF`: there are no files.
const NO_FILE: &str = "(i32.const 8)";

/// Functions that a runtime depends on, with their parameters and what they do.
const ANSWERED: [(&str, &str, &str); 9] = [
    ("args_get", "i32 i32", "(i32.const 0)"),
    ("args_sizes_get", "i32 i32", NO_STRINGS),
    ("environ_get", "i32 i32", "(i32.const 0)"),
    ("environ_sizes_get", "i32 i32", NO_STRINGS),
    (
        "clock_res_get",
        "i32 i32",
        "(i64.store (local.get 1) (i64.const 1000)) (i32.const 0)",
    ),
    (
        "clock_time_get",
        "i32 i64 i32",
        "(global.set $time (i64.add (global.get $time) (i64.const 1000)))
         (i64.store (local.get 2) (global.get $time)) (i32.const 0)",
    ),
    (
        "random_get",
        "i32 i32",
        "(local $end i32)
         (local.set $end (i32.add (local.get 0) (local.get 1)))
         (block $done (loop $more
           (br_if $done (i32.ge_u (local.get 0) (local.get $end)))
           (global.set $seed (i64.add (i64.mul (global.get $seed) (i64.const 6364136223846793005)) (i64.const 1442695040888963407)))
           (i32.store8 (local.get 0) (i32.wrap_i64 (i64.shr_u (global.get $seed) (i64.const 56))))
           (local.set 0 (i32.add (local.get 0) (i32.const 1)))
           (br $more)))
         (i32.const 0)",
    ),
    ("sched_yield", "", "(i32.const 0)"),
    ("proc_raise", "i32", "unreachable"),
];

const NO_STRINGS: &str =
    "(i32.store (local.get 0) (i32.const 0)) (i32.store (local.get 1) (i32.const 0)) (i32.const 0)";

/// Functions that fail, with their parameters.
const FAILING: [(&str, &str); 36] = [
    ("fd_advise", "i32 i64 i64 i32"),
    ("fd_allocate", "i32 i64 i64"),
    ("fd_close", "i32"),
    ("fd_datasync", "i32"),
    ("fd_fdstat_get", "i32 i32"),
    ("fd_fdstat_set_flags", "i32 i32"),
    ("fd_fdstat_set_rights", "i32 i64 i64"),
    ("fd_filestat_get", "i32 i32"),
    ("fd_filestat_set_size", "i32 i64"),
    ("fd_filestat_set_times", "i32 i64 i64 i32"),
    ("fd_pread", "i32 i32 i32 i64 i32"),
    ("fd_prestat_dir_name", "i32 i32 i32"),
    ("fd_prestat_get", "i32 i32"),
    ("fd_pwrite", "i32 i32 i32 i64 i32"),
    ("fd_read", "i32 i32 i32 i32"),
    ("fd_readdir", "i32 i32 i32 i64 i32"),
    ("fd_renumber", "i32 i32"),
    ("fd_seek", "i32 i64 i32 i32"),
    ("fd_sync", "i32"),
    ("fd_tell", "i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("path_create_directory", "i32 i32 i32"),
    ("path_filestat_get", "i32 i32 i32 i32 i32"),
    ("path_filestat_set_times", "i32 i32 i32 i32 i64 i64 i32"),
    ("path_link", "i32 i32 i32 i32 i32 i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_readlink", "i32 i32 i32 i32 i32 i32"),
    ("path_remove_directory", "i32 i32 i32"),
    ("path_rename", "i32 i32 i32 i32 i32 i32"),
    ("path_symlink", "i32 i32 i32 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
    ("poll_oneoff", "i32 i32 i32 i32"),
    ("sock_accept", "i32 i32 i32"),
    ("sock_recv", "i32 i32 i32 i32 i32 i32"),
    ("sock_send", "i32 i32 i32 i32 i32"),
    ("sock_shutdown", "i32 i32"),
];

/// Whether a module may import from WASI: its name is in it.
pub(crate) fn is_used(module: &[u8]) -> bool {
    module
        .windows(MODULE.len())
        .any(|window| window == MODULE.as_bytes())
}

/// The adapter. Of its functions those that the module imports get into the component.
pub(crate) fn adapter() -> Result<Vec<u8>, wat::Error> {
    let function = |name: &str, parameters: &str, body: &str| {
        format!("(func (export \"{name}\") (param {parameters}) (result i32) {body})\n")
    };
    let answered = ANSWERED.map(|(name, parameters, body)| function(name, parameters, body));
    let failing = FAILING.map(|(name, parameters)| function(name, parameters, NO_FILE));
    wat::parse_str(format!(
        "(module
           (import \"env\" \"memory\" (memory 0))
           (global $time (mut i64) (i64.const 1))
           (global $seed (mut i64) (i64.const 1))
           (func (export \"proc_exit\") (param i32) unreachable)
           {}{})",
        answered.concat(),
        failing.concat()
    ))
}

#[cfg(test)]
mod tests {
    use crate::component;
    use crate::manifest::Manifest;

    #[test]
    fn a_module_that_imports_wasi_becomes_a_component_that_does_not() {
        let mut module = wat::parse_str(
            r#"(module
              (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
              (memory (export "memory") 1)
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 8))
              (func (export "patchbay:policy/branch-route@0.1.0#branch-route") (result i32)
                (call $clock (i32.const 0) (i64.const 0) (i32.const 0))))"#,
        )
        .unwrap();
        component::describe(&mut module, &Manifest::of_hooks(&["branch-route"])).unwrap();
        let bytes = component::encode(&module).unwrap();
        let decoded = wit_component::decode(&bytes).unwrap();
        let world = decoded.resolve().worlds.iter().next().unwrap().1;
        let imports: Vec<String> = world
            .imports
            .keys()
            .map(|key| decoded.resolve().name_world_key(key))
            .collect();
        assert!(
            imports.iter().all(|name| name.starts_with("patchbay:")),
            "{imports:?}"
        );
    }
}
