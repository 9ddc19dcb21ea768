//! Batched socket calls: `recvmmsg` and `sendmmsg` with the local address of each datagram.
//!
//! Beside `ring` this is the one module of the router with `unsafe` code: neither the standard library nor tokio offers these calls, and
//! they save a system call per datagram. What makes it sound:
//! - every pointer handed to the kernel points into a heap allocation owned by the batch itself (boxed slices that never grow) or, while
//!   sending, into slices that are borrowed until the call returns;
//! - lengths are those of the allocations, and the kernel writes no more than it was told;
//! - the kernel's answers are only read after it said how many there are, with lengths cut to the allocation.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

/// Datagrams per system call.
pub(super) const BATCH: usize = 32;
/// No UDP datagram is longer.
const DATAGRAM_BYTES: usize = 65_536;
/// Room for one `in6_pktinfo` with its header, as `u64` for the alignment that `cmsghdr` needs.
const CONTROL_WORDS: usize = 8;

pub(super) type Control = [u64; CONTROL_WORDS];

/// Asks the kernel to tell the local address of each datagram.
pub(super) fn ask_for_local_address(socket: &impl AsRawFd, ipv6: bool) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (level, option) = match ipv6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
    };
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `on` lives over the call and `length` is its size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&on).cast(),
            length,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A datagram in a [`ReceiveBatch`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    /// What it carries.
    pub(super) bytes: &'a [u8],
    /// Where it came from.
    pub(super) remote: SocketAddr,
    /// The local address it came to.
    pub(super) local: Option<IpAddr>,
}

/// Buffers for one `recvmmsg`, made once and used again.
pub(super) struct ReceiveBatch {
    bytes: Box<[u8]>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    received: usize,
}

impl ReceiveBatch {
    pub(super) fn new() -> ReceiveBatch {
        // SAFETY: all four are plain C structs for which all bits zero is a valid value.
        let (address, vector, header) = unsafe { (zeroed(), zeroed(), zeroed()) };
        ReceiveBatch {
            bytes: vec![0; BATCH * DATAGRAM_BYTES].into_boxed_slice(),
            addresses: vec![address; BATCH].into_boxed_slice(),
            controls: vec![[0; CONTROL_WORDS]; BATCH].into_boxed_slice(),
            vectors: vec![vector; BATCH].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
            received: BATCH,
        }
    }

    /// Receives what is there, up to [`BATCH`] datagrams, without waiting.
    pub(super) fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        self.prepare();
        // SAFETY: `prepare` has pointed the first BATCH headers into our own allocations, which live as long as `self`.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            self.received = 0;
            return Err(io::Error::last_os_error());
        };
        self.received = count;
        Ok(count)
    }

    /// The datagrams of the last `receive`, in order. One that was cut or has no usable address is left out.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let parts = self
            .bytes
            .chunks_exact(DATAGRAM_BYTES)
            .zip(&self.addresses)
            .zip(&self.headers);
        parts
            .take(self.received)
            .filter_map(|((bytes, address), header)| {
                if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                    return None;
                }
                let remote = socket_address(address)?;
                // SAFETY: the kernel filled this header and its control buffer, which is ours and alive.
                let local = unsafe { local_address(&header.msg_hdr) };
                Some(Datagram {
                    bytes: bytes.get(..header.msg_len as usize)?,
                    remote,
                    local,
                })
            })
    }

    /// Points the headers that the last call used at their buffers again: the kernel overwrites the lengths.
    fn prepare(&mut self) {
        let buffers = self
            .bytes
            .chunks_exact_mut(DATAGRAM_BYTES)
            .zip(&mut self.addresses)
            .zip(&mut self.controls);
        let headers = self.vectors.iter_mut().zip(&mut self.headers);
        for (((bytes, address), control), (vector, header)) in
            buffers.zip(headers).take(self.received)
        {
            vector.iov_base = bytes.as_mut_ptr().cast();
            vector.iov_len = bytes.len();
            header.msg_hdr.msg_name = ptr::from_mut(address).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
            header.msg_hdr.msg_flags = 0;
        }
    }
}

/// One datagram to send.
#[derive(Clone, Copy)]
pub(super) struct ToSend<'a> {
    /// What it carries.
    pub(super) bytes: &'a [u8],
    /// Where to.
    pub(super) remote: SocketAddr,
    /// The local address to send from, on a socket bound to a wildcard.
    pub(super) local: Option<IpAddr>,
}

/// Buffers for one `sendmmsg`, made once and used again.
pub(super) struct SendBatch {
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl SendBatch {
    pub(super) fn new() -> SendBatch {
        // SAFETY: all three are plain C structs for which all bits zero is a valid value.
        let (address, vector, header) = unsafe { (zeroed(), zeroed(), zeroed()) };
        SendBatch {
            addresses: vec![address; BATCH].into_boxed_slice(),
            controls: vec![[0; CONTROL_WORDS]; BATCH].into_boxed_slice(),
            vectors: vec![vector; BATCH].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
        }
    }

    /// Sends the first datagrams, at most [`BATCH`], and returns how many the kernel took. An error is that of the first one.
    pub(super) fn send<'a>(
        &mut self,
        socket: RawFd,
        datagrams: impl Iterator<Item = ToSend<'a>>,
    ) -> io::Result<usize> {
        let buffers = self.addresses.iter_mut().zip(&mut self.controls);
        let headers = self.vectors.iter_mut().zip(&mut self.headers);
        let mut count = 0;
        for (datagram, ((address, control), (vector, header))) in
            datagrams.zip(buffers.zip(headers))
        {
            vector.iov_base = datagram.bytes.as_ptr().cast_mut().cast();
            vector.iov_len = datagram.bytes.len();
            header.msg_hdr.msg_namelen = write_socket_address(address, datagram.remote);
            header.msg_hdr.msg_name = ptr::from_mut(address).cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
            // SAFETY: `msg_control` and its length are those of `control`, just set.
            let used = unsafe { write_local_address(&mut header.msg_hdr, datagram.local) };
            header.msg_hdr.msg_controllen = used as _;
            if used == 0 {
                header.msg_hdr.msg_control = ptr::null_mut();
            }
            header.msg_hdr.msg_flags = 0;
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` headers point into our allocations and into the datagrams' slices, borrowed until here. The kernel
        // only reads through `iov_base`, although C's type is not const.
        let sent = unsafe {
            libc::sendmmsg(
                socket,
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// The local address in the control data of a received header.
///
/// # Safety
/// `header` must have control data that the kernel filled, aligned as [`Control`], and it must be alive.
unsafe fn local_address(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the macros walk the control buffer within `msg_controllen`; the data of the two types is read unaligned and has the size
    // that the kernel documents for them.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while let Some(entry) = control.as_ref() {
            match (entry.cmsg_level, entry.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let data: libc::in_pktinfo =
                        ptr::read_unaligned(libc::CMSG_DATA(control).cast());
                    return Some(IpAddr::V4(Ipv4Addr::from(u32::from_be(
                        data.ipi_spec_dst.s_addr,
                    ))));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let data: libc::in6_pktinfo =
                        ptr::read_unaligned(libc::CMSG_DATA(control).cast());
                    return Some(IpAddr::V6(Ipv6Addr::from(data.ipi6_addr.s6_addr)));
                }
                _ => control = libc::CMSG_NXTHDR(header, control),
            }
        }
        None
    }
}

/// The local address in control data that the kernel wrote.
pub(super) fn local_address_in(control: &[u8]) -> Option<IpAddr> {
    if control.is_empty() || !control.as_ptr().cast::<Control>().is_aligned() {
        return None;
    }
    // SAFETY: all bits zero is a valid value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_control = control.as_ptr().cast_mut().cast();
    header.msg_controllen = control.len() as _;
    // SAFETY: the control data is that of the slice, which the kernel filled and which is only read.
    unsafe { local_address(&header) }
}

/// Writes the local address to send from into the control buffer and returns the bytes used.
///
/// # Safety
/// `header` must have a control buffer of the size of [`Control`], aligned as it is.
pub(super) unsafe fn write_local_address(
    header: &mut libc::msghdr,
    local: Option<IpAddr>,
) -> usize {
    // SAFETY: `Control` has room for the larger of the two with its header, so that CMSG_FIRSTHDR is not null and CMSG_DATA is inside.
    unsafe {
        let control = libc::CMSG_FIRSTHDR(header);
        let Some(entry) = control.as_mut() else {
            return 0;
        };
        match local {
            None => 0,
            Some(IpAddr::V4(address)) => {
                let mut data: libc::in_pktinfo = zeroed();
                data.ipi_spec_dst.s_addr = u32::from(address).to_be();
                entry.cmsg_level = libc::IPPROTO_IP;
                entry.cmsg_type = libc::IP_PKTINFO;
                entry.cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as libc::c_uint) as _;
                ptr::write_unaligned(libc::CMSG_DATA(control).cast(), data);
                libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as libc::c_uint) as usize
            }
            Some(IpAddr::V6(address)) => {
                let mut data: libc::in6_pktinfo = zeroed();
                data.ipi6_addr.s6_addr = address.octets();
                entry.cmsg_level = libc::IPPROTO_IPV6;
                entry.cmsg_type = libc::IPV6_PKTINFO;
                entry.cmsg_len =
                    libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as libc::c_uint) as _;
                ptr::write_unaligned(libc::CMSG_DATA(control).cast(), data);
                libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as libc::c_uint) as usize
            }
        }
    }
}

/// The address in its C form; `None` when it is not one of IPv4 or IPv6.
pub(super) fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let source = ptr::from_ref(storage);
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: `sockaddr_storage` is larger than `sockaddr_in` and the family says that it holds one.
            let address: libc::sockaddr_in = unsafe { ptr::read(source.cast()) };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for `sockaddr_in6`.
            let address: libc::sockaddr_in6 = unsafe { ptr::read(source.cast()) };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Some(
                SocketAddrV6::new(
                    ip,
                    u16::from_be(address.sin6_port),
                    0,
                    address.sin6_scope_id,
                )
                .into(),
            )
        }
        _ => None,
    }
}

/// Writes the C form of an address and returns its length.
pub(super) fn write_socket_address(
    storage: &mut libc::sockaddr_storage,
    address: SocketAddr,
) -> libc::socklen_t {
    let target = ptr::from_mut(storage);
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: all bits zero is a valid `sockaddr_in`.
            let mut value: libc::sockaddr_in = unsafe { MaybeUninit::zeroed().assume_init() };
            value.sin_family = libc::AF_INET as libc::sa_family_t;
            value.sin_port = address.port().to_be();
            value.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            // SAFETY: `sockaddr_storage` is larger and as strictly aligned.
            unsafe { ptr::write(target.cast(), value) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: all bits zero is a valid `sockaddr_in6`.
            let mut value: libc::sockaddr_in6 = unsafe { MaybeUninit::zeroed().assume_init() };
            value.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            value.sin6_port = address.port().to_be();
            value.sin6_addr.s6_addr = address.ip().octets();
            value.sin6_scope_id = address.scope_id();
            // SAFETY: `sockaddr_storage` is larger and as strictly aligned.
            unsafe { ptr::write(target.cast(), value) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair(address: &str) -> (UdpSocket, UdpSocket) {
        let (a, b) = (
            UdpSocket::bind(address).unwrap(),
            UdpSocket::bind(address).unwrap(),
        );
        for socket in [&a, &b] {
            ask_for_local_address(socket, socket.local_addr().unwrap().is_ipv6()).unwrap();
        }
        (a, b)
    }

    fn send_and_receive(address: &str) {
        let (sender, receiver) = pair(address);
        let remote = receiver.local_addr().unwrap();
        let texts: Vec<String> = (0..BATCH).map(|n| format!("datagram {n}")).collect();
        let datagrams = texts.iter().map(|text| ToSend {
            bytes: text.as_bytes(),
            remote,
            local: None,
        });
        assert_eq!(
            SendBatch::new()
                .send(sender.as_raw_fd(), datagrams)
                .unwrap(),
            BATCH
        );
        let mut batch = ReceiveBatch::new();
        for _ in 0..2 {
            assert_eq!(batch.receive(receiver.as_raw_fd()).unwrap(), BATCH);
            let received: Vec<_> = batch
                .datagrams()
                .map(|datagram| (datagram.bytes.to_vec(), datagram.remote, datagram.local))
                .collect();
            let expected: Vec<_> = texts
                .iter()
                .map(|text| {
                    (
                        text.clone().into_bytes(),
                        sender.local_addr().unwrap(),
                        Some(remote.ip()),
                    )
                })
                .collect();
            assert_eq!(received, expected);
            let again = texts.iter().map(|text| ToSend {
                bytes: text.as_bytes(),
                remote,
                local: None,
            });
            SendBatch::new().send(sender.as_raw_fd(), again).unwrap();
        }
    }

    #[test]
    fn a_batch_arrives_in_order_with_its_addresses() {
        send_and_receive("127.0.0.1:0");
        send_and_receive("[::1]:0");
    }

    #[test]
    fn an_empty_socket_would_block() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut batch = ReceiveBatch::new();
        assert_eq!(
            batch.receive(socket.as_raw_fd()).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert_eq!(batch.datagrams().count(), 0);
    }

    #[test]
    fn a_datagram_leaves_from_the_local_address_asked_for() {
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let local: IpAddr = "127.0.0.7".parse().unwrap();
        let datagram = ToSend {
            bytes: b"x",
            remote: receiver.local_addr().unwrap(),
            local: Some(local),
        };
        assert_eq!(
            SendBatch::new()
                .send(sender.as_raw_fd(), std::iter::once(datagram))
                .unwrap(),
            1
        );
        let (_, from) = receiver.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(
            from,
            SocketAddr::new(local, sender.local_addr().unwrap().port())
        );
    }

    #[test]
    fn an_unreachable_address_is_the_error_of_the_first() {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let datagram = ToSend {
            bytes: b"x",
            remote: "192.0.2.1:9".parse().unwrap(),
            local: None,
        };
        assert!(
            SendBatch::new()
                .send(sender.as_raw_fd(), std::iter::once(datagram))
                .is_err()
        );
    }
}
