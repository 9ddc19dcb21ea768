//! Batched socket calls: many datagrams per `recvmmsg` and `sendmmsg`, and `ppoll` with a timeout in nanoseconds.
//!
//! The load must cost much less than the server that it measures, and the standard library has none of these calls. What makes the `unsafe`
//! here sound: every pointer that the kernel gets points into a buffer that is borrowed until the call returns, lengths are those of the
//! buffers, and what the kernel wrote is read only as far as it says it wrote.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::Duration;

/// Datagrams per system call.
pub(crate) const BATCH: usize = 64;
/// The longest message that the load makes or takes.
pub(crate) const MESSAGE_BYTES: usize = 4096;

/// Room for one call's worth of datagrams.
pub(crate) struct Received {
    storage: Box<[u8]>,
    /// Length and sender of each.
    datagrams: Vec<(usize, SocketAddrV4)>,
}

impl Received {
    /// Empty.
    pub(crate) fn new() -> Self {
        Self {
            storage: vec![0; BATCH * MESSAGE_BYTES].into_boxed_slice(),
            datagrams: Vec::with_capacity(BATCH),
        }
    }

    /// What the last call brought.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddrV4)> {
        let rooms = self.storage.chunks_exact(MESSAGE_BYTES);
        rooms
            .zip(&self.datagrams)
            .map(|(room, &(length, from))| (room.get(..length).unwrap_or(room), from))
    }

    /// Takes what has arrived, at most [`BATCH`] datagrams; 0 when there is nothing. A datagram that is too long is cut.
    pub(crate) fn receive(&mut self, socket: &impl AsRawFd) -> usize {
        self.datagrams.clear();
        // SAFETY: these are plain structures of the C interface for which all zeros is a valid value.
        let (mut headers, mut vectors, mut addresses): (
            [libc::mmsghdr; BATCH],
            [libc::iovec; BATCH],
            [libc::sockaddr_in; BATCH],
        ) = unsafe { (zeroed(), zeroed(), zeroed()) };
        let rooms = self.storage.chunks_exact_mut(MESSAGE_BYTES);
        let parts = headers.iter_mut().zip(&mut vectors).zip(&mut addresses);
        for (((header, vector), address), room) in parts.zip(rooms) {
            vector.iov_base = room.as_mut_ptr().cast();
            vector.iov_len = room.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = ptr::from_mut(address).cast();
            header.msg_hdr.msg_namelen = ADDRESS_BYTES;
        }
        // SAFETY: each header points to a vector, an address and a room of this frame or of `self`, all alive and not otherwise used
        // during the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0);
        let filled = headers.iter().zip(&addresses).take(count);
        self.datagrams.extend(
            filled.map(|(header, address)| (header.msg_len as usize, from_kernel(address))),
        );
        count
    }
}

const ADDRESS_BYTES: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

/// Sends the datagrams in as few calls as it takes and returns how many the kernel refused.
pub(crate) fn send<'a>(
    socket: &impl AsRawFd,
    mut datagrams: impl Iterator<Item = (&'a [u8], SocketAddrV4)>,
) -> usize {
    let mut refused = 0;
    loop {
        // SAFETY: as in `receive`.
        let (mut headers, mut vectors, mut addresses): (
            [libc::mmsghdr; BATCH],
            [libc::iovec; BATCH],
            [libc::sockaddr_in; BATCH],
        ) = unsafe { (zeroed(), zeroed(), zeroed()) };
        let mut count = 0;
        let parts = headers.iter_mut().zip(&mut vectors).zip(&mut addresses);
        for ((header, vector), address) in parts {
            let Some((bytes, to)) = datagrams.next() else {
                break;
            };
            *address = to_kernel(to);
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = ptr::from_mut(address).cast();
            header.msg_hdr.msg_namelen = ADDRESS_BYTES;
            count += 1;
        }
        if count == 0 {
            return refused;
        }
        refused += send_batch(
            socket.as_raw_fd(),
            headers.get_mut(..count).unwrap_or(&mut []),
        );
    }
}

/// A datagram that the kernel refuses is left out, the others go on.
fn send_batch(socket: RawFd, mut headers: &mut [libc::mmsghdr]) -> usize {
    let mut refused = 0;
    while !headers.is_empty() {
        // SAFETY: the headers point to buffers and addresses that the caller holds until this returns; the kernel only reads them.
        let sent = unsafe {
            libc::sendmmsg(
                socket,
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                0,
            )
        };
        let sent = usize::try_from(sent).unwrap_or(0);
        refused += usize::from(sent == 0);
        headers = headers.get_mut(sent.max(1)..).unwrap_or(&mut []);
    }
    refused
}

/// Which of the descriptors can be read, after at most this long.
pub(crate) fn wait(descriptors: &mut [libc::pollfd], timeout: Duration) {
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: the slice and the timeout live over the call; no signal mask is given.
    let ready = unsafe {
        libc::ppoll(
            descriptors.as_mut_ptr(),
            descriptors.len() as libc::nfds_t,
            &raw const timeout,
            ptr::null(),
        )
    };
    if ready <= 0 {
        descriptors.iter_mut().for_each(|one| one.revents = 0);
    }
}

/// What [`wait`] takes: ask whether this one can be read.
pub(crate) fn readable(descriptor: &impl AsRawFd) -> libc::pollfd {
    libc::pollfd {
        fd: descriptor.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    }
}

/// Makes the socket's receive buffer this long, beyond the system's limit when we may: a burst that the load itself loses would look like the
/// server's fault.
pub(crate) fn enlarge_receive_buffer(socket: &impl AsRawFd, bytes: libc::c_int) -> io::Result<()> {
    let set = |option| {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: `bytes` lives over the call and `length` is its size.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                ptr::from_ref(&bytes).cast(),
                length,
            )
        }
    };
    if set(libc::SO_RCVBUFFORCE) == 0 || set(libc::SO_RCVBUF) == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

fn to_kernel(address: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: as in `receive`.
    let mut to: libc::sockaddr_in = unsafe { zeroed() };
    to.sin_family = libc::AF_INET as libc::sa_family_t;
    to.sin_port = address.port().to_be();
    to.sin_addr.s_addr = u32::from(*address.ip()).to_be();
    to
}

fn from_kernel(address: &libc::sockaddr_in) -> SocketAddrV4 {
    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(address.sin_port))
}
