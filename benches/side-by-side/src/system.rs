//! What the standard library does not offer of the operating system: sessions, cores, priorities, signals.
//!
//! All of them are calls with numbers; those with a pointer get one to a value of the calling frame.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};

/// Makes this process the first of a new session, which the scheduler treats as a group of its own.
pub(crate) fn begin_session() {
    // SAFETY: no pointers. It fails for a leader of a process group, which stays in its session then.
    unsafe { libc::setsid() };
}

/// Runs this process, and what it starts, on these cores only.
pub(crate) fn stay_on_cores(cores: &[usize]) -> io::Result<()> {
    // SAFETY: all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    for &core in cores {
        if core >= size_of::<libc::cpu_set_t>() * 8 {
            return Err(io::Error::other("there are not that many cores"));
        }
        // SAFETY: the core is within the set, as just checked.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: the set lives over the call and the size is its own.
    let result =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The cores that this process may run on.
pub(crate) fn cores() -> Vec<usize> {
    // SAFETY: as above; the kernel writes at most the size of the set.
    let set = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set);
        set
    };
    let all = 0..size_of::<libc::cpu_set_t>() * 8;
    // SAFETY: every number is within the set.
    all.filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect()
}

/// Raises (below 0) or lowers the priority of this process; not everybody may raise it.
pub(crate) fn set_niceness(niceness: libc::c_int) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness) == 0 }
}

/// Has the kernel end this process when its parent ends: an interrupted measurement leaves no server behind.
pub(crate) fn end_with_parent() {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
}

/// Sends a signal to a process that this program has started.
pub(crate) fn signal(process: u32, signal: libc::c_int) {
    if let Ok(process) = libc::pid_t::try_from(process) {
        // SAFETY: no pointers. A process that is gone needs no signal.
        unsafe { libc::kill(process, signal) };
    }
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    // SAFETY: no pointers.
    unsafe { libc::geteuid() == 0 }
}

/// The processor time of this process, all threads.
pub(crate) fn own_cpu_ns() -> u64 {
    // SAFETY: the kernel fills in a value of this frame.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time);
        time
    };
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}
