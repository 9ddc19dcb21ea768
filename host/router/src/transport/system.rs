//! What neither the standard library nor tokio offers: an eventfd, the epoll instance of the runtime, how a thread takes turns with others,
//! and whether valgrind runs the router.
//!
//! What makes the `unsafe` code sound: the calls get no pointer but one that may be null or is lent for the call, and a descriptor that they return is new and
//! owned by nobody else.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Descriptors looked at to find the runtime's. It is made at the start and therefore low.
const MAX_DESCRIPTOR: RawFd = 65_536;

/// A new eventfd.
pub(super) fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked and nobody else owns it.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The epoll instance of the current thread's runtime, which becomes readable when the runtime has something to do.
///
/// tokio does not tell it. But it can be recognised: only the instance that a descriptor was added to lets it be removed again; any other
/// one, and any descriptor that is no epoll instance, answers with an error and changes nothing.
pub(super) fn epoll_of_runtime() -> io::Result<OwnedFd> {
    let mark = File::from(event_counter()?);
    // SAFETY: the descriptor is open, the file owns it, closes it when it is dropped, and always tells the same one.
    let mark = unsafe { AsyncFd::register_with_interest(mark, Interest::READABLE) }?;
    for fd in 0..MAX_DESCRIPTOR {
        // SAFETY: the kernel takes any number as a descriptor, and ignores the pointer for this operation.
        let removed =
            unsafe { libc::epoll_ctl(fd, libc::EPOLL_CTL_DEL, mark.as_raw_fd(), ptr::null_mut()) };
        if removed == 0 {
            // SAFETY: the call has just shown that this descriptor is open; the runtime keeps it open while this thread is here.
            return unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Has this thread wait for its turn when it is woken, and not break into what another one does on the same processor. Whoever has chosen a
/// scheduling policy for the router keeps it.
pub(crate) fn wait_for_turns() -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling thread.
    if unsafe { libc::sched_getscheduler(0) } != libc::SCHED_OTHER {
        return Ok(());
    }
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and the parameter is only read.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameter) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether valgrind runs the router. It lets one thread go on at a time, and does not know that one that waits in a ring could let the others:
/// nobody would ever wake it. Like every program under valgrind the router has a library of it loaded before its own.
pub(super) fn is_under_valgrind() -> bool {
    std::env::var_os("LD_PRELOAD")
        .is_some_and(|libraries| libraries.to_string_lossy().contains("/vgpreload_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_turns_is_scheduled_so_and_no_other_thread_is() {
        // SAFETY: no pointers; 0 is the calling thread.
        let policy = || unsafe { libc::sched_getscheduler(0) };
        let before = policy();
        let of_thread = std::thread::spawn(move || {
            wait_for_turns().unwrap();
            policy()
        });
        let expected = match before {
            libc::SCHED_OTHER => libc::SCHED_BATCH,
            chosen => chosen,
        };
        assert_eq!(of_thread.join().unwrap(), expected);
        assert_eq!(policy(), before);
    }
}
