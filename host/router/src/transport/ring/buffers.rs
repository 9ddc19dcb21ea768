//! The buffers that the kernel receives datagrams into.
//!
//! What makes the `unsafe` code sound:
//! - both allocations are made once, never move, and are freed only when the ring says that the kernel is done with them;
//! - a buffer belongs to the kernel from `provide` until its completion names it, and to us from then until it is provided again;
//!   a slice of it exists only in between;
//! - the kernel reads an entry of the list only after the tail was moved over it, which is an atomic store with `Release`.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use super::super::batch::{Control, Datagram, local_address_in, socket_address};

/// Datagrams that may wait in the ring. A burst of more stays in the socket until these are handled.
pub(super) const BUFFERS: u16 = 64;
/// The one group of buffers of a ring.
pub(super) const GROUP: u16 = 0;
/// The size of `struct io_uring_recvmsg_out`.
const HEADER_BYTES: usize = 16;
/// Room for an address, so that the control data after it is aligned.
const NAME_BYTES: usize = 32;
/// No UDP datagram is longer.
const DATAGRAM_BYTES: usize = 65_536;
/// What the kernel writes before the datagram: its own header of 16 bytes, the address, the control data. The rest of it is there so that
/// buffers don't begin at the same offset of their pages: else all of them would compete for the same lines of the cache.
const BEFORE_BYTES: usize = 1152;
/// From one buffer to the next.
const STRIDE_BYTES: usize = DATAGRAM_BYTES + BEFORE_BYTES;

/// The list of free buffers must begin with a page.
#[repr(C, align(4096))]
struct Page(#[allow(dead_code, reason = "used through pointers")] [u8; 4096]);

const _: () = assert!(BUFFERS as usize * size_of::<BufRingEntry>() <= size_of::<Page>());
const _: () = assert!(HEADER_BYTES + NAME_BYTES + size_of::<Control>() <= BEFORE_BYTES);
const _: () = assert!(BUFFERS.is_power_of_two() && STRIDE_BYTES.is_multiple_of(8));

/// See the module.
pub(super) struct Buffers {
    list: NonNull<Page>,
    bytes: NonNull<[u64]>,
    tail: u16,
    /// Says how much room the kernel leaves for the address and the control data.
    shape: Box<libc::msghdr>,
}

impl Buffers {
    /// Allocates the buffers and gives them all to the kernel.
    pub(super) fn register(submitter: &Submitter<'_>) -> io::Result<Buffers> {
        let page: Box<Page> = Box::new(Page([0; 4096]));
        let bytes = vec![0_u64; usize::from(BUFFERS) * STRIDE_BYTES / 8].into_boxed_slice();
        // SAFETY: a plain C struct for which all bits zero is a valid value.
        let mut shape: Box<libc::msghdr> = Box::new(unsafe { zeroed() });
        shape.msg_namelen = NAME_BYTES as libc::socklen_t;
        shape.msg_controllen = size_of::<Control>() as _;
        let mut buffers = Buffers {
            list: NonNull::from(Box::leak(page)),
            bytes: NonNull::from(Box::leak(bytes)),
            tail: 0,
            shape,
        };
        // SAFETY: the list has room for that many entries and lives until `free`, which its owner calls only after the ring is quiet.
        let registered = unsafe {
            submitter.register_buf_ring_with_flags(buffers.list.as_ptr() as u64, BUFFERS, GROUP, 0)
        };
        if let Err(error) = registered {
            buffers.free();
            return Err(error);
        }
        for id in 0..BUFFERS {
            buffers.provide(id);
        }
        Ok(buffers)
    }

    /// For the request that receives.
    pub(super) fn shape(&self) -> *const libc::msghdr {
        &raw const *self.shape
    }

    /// Gives a buffer to the kernel.
    pub(super) fn provide(&mut self, id: u16) {
        let entries: *mut BufRingEntry = self.list.as_ptr().cast();
        let index = usize::from(self.tail & (BUFFERS - 1));
        // SAFETY: the index is inside of the list, and the kernel reads this entry only after the store below. The tail lies in the first
        // entry, in a field that the setters don't touch.
        unsafe {
            let entry = &mut *entries.add(index);
            entry.set_addr(self.start_of(id) as u64);
            entry.set_len(STRIDE_BYTES as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Ordering::Release);
        }
    }

    /// The datagram in a buffer that a completion has named, with the length it told. `None` when it was cut or has no usable address.
    pub(super) fn datagram(&self, id: u16, length: usize) -> Option<Datagram<'_>> {
        if id >= BUFFERS {
            return None;
        }
        // SAFETY: the buffer is inside of the allocation, is ours until it is provided again, and that needs `&mut self`.
        let buffer =
            unsafe { std::slice::from_raw_parts(self.start_of(id), length.min(STRIDE_BYTES)) };
        Received::read(buffer)?.datagram()
    }

    /// Frees the memory. Only when the kernel has no request that may use it.
    pub(super) fn free(&mut self) {
        // SAFETY: both came from a box, and the owner calls this once, when nothing refers to them any more.
        unsafe {
            drop(Box::from_raw(self.list.as_ptr()));
            drop(Box::from_raw(self.bytes.as_ptr()));
        }
    }

    fn start_of(&self, id: u16) -> *mut u8 {
        let start: *mut u8 = self.bytes.as_ptr().cast();
        // SAFETY: an id is less than BUFFERS, so that the offset is inside of the allocation.
        unsafe { start.add(usize::from(id) * STRIDE_BYTES) }
    }
}

/// What the kernel has written into a buffer: `struct io_uring_recvmsg_out`, then room for the address and for the control data as asked
/// for, then what was sent.
struct Received<'a> {
    name: &'a [u8],
    control: &'a [u8],
    payload: &'a [u8],
    flags: u32,
}

impl<'a> Received<'a> {
    fn read(buffer: &'a [u8]) -> Option<Received<'a>> {
        let (header, rest) = buffer.split_first_chunk::<HEADER_BYTES>()?;
        let number = |index: usize| -> Option<u32> {
            let bytes = header.get(4 * index..)?.first_chunk::<4>()?;
            Some(u32::from_ne_bytes(*bytes))
        };
        let (name_length, control_length) = (number(0)? as usize, number(1)? as usize);
        let (name, rest) = rest.split_at_checked(NAME_BYTES)?;
        let (control, payload) = rest.split_at_checked(size_of::<Control>())?;
        Some(Received {
            name: name.get(..name_length)?,
            control: control.get(..control_length)?,
            payload,
            flags: number(3)?,
        })
    }

    fn datagram(self) -> Option<Datagram<'a>> {
        if self.flags & libc::MSG_TRUNC as u32 != 0 {
            return None;
        }
        Some(Datagram {
            bytes: self.payload,
            remote: remote(self.name)?,
            local: local_address_in(self.control),
        })
    }
}

fn remote(name: &[u8]) -> Option<std::net::SocketAddr> {
    // SAFETY: all bits zero is a valid value, and it is larger than NAME_BYTES.
    let storage = unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let length = name.len().min(NAME_BYTES);
        ptr::copy_nonoverlapping(name.as_ptr(), (&raw mut storage).cast(), length);
        storage
    };
    socket_address(&storage)
}
