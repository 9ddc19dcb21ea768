//! Datagrams that the ring sends.
//!
//! What makes the `unsafe` code sound: a request points into one slot of a boxed slice that never grows, and to the bytes of a packet that
//! the slot holds. A slot is written and its packet dropped only before the request is queued or after its completion has come.
#![allow(unsafe_code)]

use std::mem::zeroed;
use std::ptr;

use io_uring::{opcode, squeue, types};

use super::super::batch::{Control, write_local_address, write_socket_address};
use super::super::udp::UdpSend;

/// Datagrams on their way at the same time.
pub(super) const SLOTS: usize = 32;

/// See the module.
pub(super) struct Sends {
    slots: Box<[Slot]>,
    free: Vec<u32>,
}

struct Slot {
    header: libc::msghdr,
    vector: libc::iovec,
    address: libc::sockaddr_storage,
    control: Control,
    /// The socket, and what is being sent.
    send: Option<(usize, UdpSend)>,
}

impl Sends {
    pub(super) fn new() -> Sends {
        let slots = (0..SLOTS).map(|_| {
            // SAFETY: all three are plain C structs for which all bits zero is a valid value.
            let (header, vector, address) = unsafe { (zeroed(), zeroed(), zeroed()) };
            Slot {
                header,
                vector,
                address,
                control: Control::default(),
                send: None,
            }
        });
        Sends {
            slots: slots.collect(),
            free: (0..SLOTS as u32).rev().collect(),
        }
    }

    /// How many are on their way.
    pub(super) fn in_flight(&self) -> usize {
        SLOTS - self.free.len()
    }

    /// Puts a datagram into a slot; the request, and the number of the slot. It comes back when all are in use.
    pub(super) fn begin(
        &mut self,
        socket: usize,
        fd: types::Fd,
        send: UdpSend,
    ) -> Result<(squeue::Entry, u32), UdpSend> {
        let Some(index) = self.free.pop() else {
            return Err(send);
        };
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return Err(send);
        };
        let request = slot.fill(fd, &send);
        slot.send = Some((socket, send));
        Ok((request, index))
    }

    /// The completion of a slot has come: its datagram.
    pub(super) fn end(&mut self, index: u32) -> Option<(usize, UdpSend)> {
        let ended = self.slots.get_mut(index as usize)?.send.take()?;
        self.free.push(index);
        Some(ended)
    }
}

impl Slot {
    fn fill(&mut self, fd: types::Fd, send: &UdpSend) -> squeue::Entry {
        self.vector.iov_base = send.packet.as_ptr().cast_mut().cast();
        self.vector.iov_len = send.packet.len();
        self.header.msg_namelen = write_socket_address(&mut self.address, send.remote);
        self.header.msg_name = ptr::from_mut(&mut self.address).cast();
        self.header.msg_iov = &raw mut self.vector;
        self.header.msg_iovlen = 1;
        self.header.msg_control = self.control.as_mut_ptr().cast();
        self.header.msg_controllen = size_of::<Control>() as _;
        // SAFETY: `msg_control` and its length are those of `control`, just set.
        let used = unsafe { write_local_address(&mut self.header, send.local) };
        self.header.msg_controllen = used as _;
        if used == 0 {
            self.header.msg_control = ptr::null_mut();
        }
        // Without waiting: the request is over when the call that submits it returns, so that datagrams leave in order.
        opcode::SendMsg::new(fd, &raw const self.header)
            .flags(libc::MSG_DONTWAIT as u32)
            .build()
    }
}
