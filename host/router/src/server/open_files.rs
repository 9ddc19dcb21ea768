//! How many files the system lets the process have open: each connection is one.

/// Open files beside the connections: listeners, the store, the policies, the threads' own.
const BESIDE_CONNECTIONS: u64 = 256;

/// Takes as many open files as the system grants, and says so when they are too few for `limits.max_connections`.
///
/// Systems start processes with 1,024 and let them ask for far more.
pub(super) fn take_all(max_connections: usize) {
    let granted = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(granted) => granted,
        Err(error) => return tracing::warn!(%error, "the limit of open files can't be raised"),
    };
    if too_few(granted, max_connections) {
        tracing::info!(
            open_files = granted,
            max_connections,
            "fewer open files than limits.max_connections needs: connections beyond are refused; raise it with `ulimit -Hn` or LimitNOFILE="
        );
    }
}

fn too_few(granted: u64, max_connections: usize) -> bool {
    granted < (max_connections as u64).saturating_add(BESIDE_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_grant_is_taken() {
        take_all(1);
        let (taken, granted) = rlimit::Resource::NOFILE.get().expect("a limit");
        assert_eq!(taken, granted);
    }

    #[test]
    fn connections_need_files() {
        assert!(too_few(1024, 100_000));
        assert!(!too_few(1024, 500));
    }
}
