//! What the kernel says of running processes.

use std::fs;
use std::path::Path;

/// The processes of a session, without those that have ended.
pub(crate) fn of_session(session: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries.flatten().filter_map(|entry| {
        let number: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        (session_of(&stat)? == session).then_some(number)
    });
    numbers.collect()
}

/// The session in the text of `/proc/PID/stat`, `None` for a process that has ended.
fn session_of(stat: &str) -> Option<u32> {
    // The second field is the name of the program in parentheses, whatever it contains.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let session = fields.nth(2)?.parse().ok()?;
    (state != "Z").then_some(session)
}

/// The time that all threads of these processes have spent on a processor.
pub(crate) fn cpu_ns(processes: &[u32]) -> u64 {
    let folders = processes
        .iter()
        .map(|process| format!("/proc/{process}/task"));
    let threads = folders
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    threads
        .filter_map(|thread| running_ns(&thread.path().join("schedstat")))
        .sum()
}

/// The first field of `schedstat`.
fn running_ns(path: &Path) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// The resident memory of these processes; what they share is counted once.
pub(crate) fn resident_bytes(processes: &[u32]) -> u64 {
    let kib = processes.iter().filter_map(|process| {
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    kib.sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 6 5 0 -1 4194304";
        assert_eq!(session_of(stat), Some(5));
        assert_eq!(session_of("7 (a) Z 1 6 5 0"), None);
        assert_eq!(session_of(""), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let own = [std::process::id()];
        assert!(cpu_ns(&own) > 0);
        assert!(resident_bytes(&own) > 0);
    }
}
