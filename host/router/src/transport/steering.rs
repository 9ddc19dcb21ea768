//! Has the kernel give a datagram to the worker that it belongs to.
//!
//! Of the sockets that share an address the kernel takes one by the addresses and ports of a datagram, which say nothing of whose call it
//! is: with more workers most messages would have to be handed over, and each time a worker would have to be woken. But what comes back
//! to the router has its worker written in it ([`affinity`]): a response in our branch, a request inside a dialog in our Route. A small
//! filter (classic BPF, for which no privilege is needed) reads it there and names the socket.
//!
//! The filter is a guess and decides nothing. It knows the usual spelling alone, and where it finds nothing the kernel takes a socket as it
//! would without a filter. A worker looks at each message itself, and hands over what is not its own.
#![allow(
    unsafe_code,
    reason = "neither the standard library nor socket2 attaches such a filter"
)]

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K,
    BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM, BPF_OR, BPF_RET, BPF_ST, BPF_SUB, BPF_W,
    sock_filter, sock_fprog,
};
use patchbay_core::affinity;

/// Names no socket: the kernel chooses.
const NONE: u32 = u32::MAX;
/// What is looked for in a datagram is looked for between these places: in a response behind the status line, in a request behind the
/// first line.
const IN_RESPONSE: (u32, u32) = (24, 136);
const IN_REQUEST: (u32, u32) = (24, 312);
/// How much of the datagram must follow a place that is looked at.
const REACH: u32 = 32;
/// The length is compared once for so many bytes.
const STRETCH: u32 = 64;
/// How the methods begin whose requests are inside of dialogs. Others are worth no search: they rarely are, or never.
const IN_DIALOGS: [&[u8; 4]; 7] = [
    b"ACK ", b"BYE ", b"PRAC", b"UPDA", b"INFO", b"NOTI", b"REFE",
];
/// What the C library has no name for: `BPF_RET` of the accumulator, and moving it to the index register and back.
const RET_A: u32 = BPF_RET | 0x10;
const TAX: u32 = 0x07;
const TXA: u32 = 0x87;

/// Attaches the filter to all sockets that share the address of this one. They have to be bound in the order of their workers.
pub(super) fn attach(socket: &UdpSocket) -> io::Result<()> {
    let mut filter = filter();
    let program = sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the program names a list that is as long as it says and lives until the call is over; the kernel copies it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            size_of::<sock_fprog>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The whole filter. Its bytes are those of the datagram.
fn filter() -> Vec<sock_filter> {
    let mut code = Code::default();
    code.need(IN_RESPONSE.0);
    code.load(BPF_W | BPF_ABS, 0);
    let response = code.jump_if(word(b"SIP/"));
    let requests = IN_DIALOGS.map(|method| code.jump_if(word(method)));
    code.end();
    for request in requests {
        code.land(request);
    }
    code.find(affinity::IN_ROUTE, IN_REQUEST);
    code.land(response);
    code.find(affinity::IN_BRANCH, IN_RESPONSE);
    code.0
}

#[derive(Default)]
struct Code(Vec<sock_filter>);

/// A jump whose target comes later.
struct Jump(usize);

impl Code {
    fn put(&mut self, code: u32, jt: u8, jf: u8, k: u32) {
        self.0.push(sock_filter {
            // No code has more than eight bits.
            code: code as u16,
            jt,
            jf,
            k,
        });
    }

    fn load(&mut self, way: u32, place: u32) {
        self.put(BPF_LD | way, 0, 0, place);
    }

    /// Nothing was found.
    fn end(&mut self) {
        self.put(BPF_RET | BPF_K, 0, 0, NONE);
    }

    /// Goes on when the accumulator is that number.
    fn expect(&mut self, number: u32) {
        self.put(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, number);
        self.end();
    }

    /// Goes on when the datagram is that long.
    fn need(&mut self, length: u32) {
        self.load(BPF_W | BPF_LEN, 0);
        self.put(BPF_JMP | BPF_JGE | BPF_K, 1, 0, length);
        self.end();
    }

    fn jump(&mut self) -> Jump {
        self.put(BPF_JMP | BPF_JA, 0, 0, 0);
        Jump(self.0.len() - 1)
    }

    /// Jumps when the accumulator is that number. Conditional jumps reach no more than 255 instructions, others reach any.
    fn jump_if(&mut self, number: u32) -> Jump {
        self.put(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number);
        self.jump()
    }

    fn land(&mut self, Jump(from): Jump) {
        let target = self.0.len();
        if let Some(jump) = self.0.get_mut(from) {
            // A filter has 4096 instructions at most.
            jump.k = (target - from - 1) as u32;
        }
    }

    /// Ends with the number of the worker that is written behind `mark`.
    ///
    /// Four bytes are looked at at a time: wherever the mark begins, one of its first four words is at one of these places.
    fn find(&mut self, mark: &[u8], (first, last): (u32, u32)) {
        let words = || mark.windows(4).take(4).map(number).zip(0u8..);
        let mut found = Vec::new();
        for place in (first..last).step_by(4) {
            if (place - first).is_multiple_of(STRETCH) {
                self.need((place + STRETCH).min(last) + REACH);
            }
            self.load(BPF_W | BPF_ABS, place);
            for (word, shift) in words() {
                let otherwise = if shift == 3 { 2 } else { 0 };
                self.put(BPF_JMP | BPF_JEQ | BPF_K, 3 - shift, otherwise, word);
            }
            self.put(BPF_LDX | BPF_IMM, 0, 0, place);
            found.push(self.jump());
        }
        self.end();
        for jump in found {
            self.land(jump);
        }
        self.back_to_beginning(words());
        self.verify(mark);
        self.worker(mark.len() as u32);
    }

    /// One of the words is at the index register: has that be where the first one is.
    fn back_to_beginning(&mut self, words: impl Iterator<Item = (u32, u8)>) {
        self.load(BPF_W | BPF_IND, 0);
        let mut there = Vec::new();
        for (word, shift) in words {
            self.put(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, word);
            self.put(TXA, 0, 0, 0);
            self.put(BPF_ALU | BPF_SUB | BPF_K, 0, 0, u32::from(shift));
            self.put(TAX, 0, 0, 0);
            there.push(self.jump());
        }
        for jump in there {
            self.land(jump);
        }
    }

    /// Compares the whole mark with what is at the index register.
    fn verify(&mut self, mark: &[u8]) {
        let (words, rest) = mark.as_chunks::<4>();
        for (bytes, place) in words.iter().zip((0..).step_by(4)) {
            self.load(BPF_W | BPF_IND, place);
            self.expect(word(bytes));
        }
        for (byte, place) in rest.iter().zip((words.len() * 4) as u32..) {
            self.load(BPF_B | BPF_IND, place);
            self.expect(u32::from(*byte));
        }
    }

    /// Reads the worker: two characters of zeros, one whose value is half of it, one of which the highest bit is the other half.
    fn worker(&mut self, place: u32) {
        const LAST_DIGIT: u32 = b'9' as u32;
        self.load(BPF_H | BPF_IND, place);
        self.expect(u32::from(u16::from_be_bytes(*b"00")));
        self.load(BPF_B | BPF_IND, place + 2);
        self.put(BPF_JMP | BPF_JGE | BPF_K, 0, 2, LAST_DIGIT + 1);
        self.put(BPF_ALU | BPF_SUB | BPF_K, 0, 0, u32::from(b'a') - 10);
        self.put(BPF_JMP | BPF_JA, 0, 0, 1);
        self.put(BPF_ALU | BPF_SUB | BPF_K, 0, 0, u32::from(b'0'));
        self.put(BPF_ALU | BPF_LSH | BPF_K, 0, 0, 1);
        self.put(BPF_ST, 0, 0, 0);
        self.load(BPF_B | BPF_IND, place + 3);
        // From here on the value is 16 or more.
        self.put(BPF_JMP | BPF_JGE | BPF_K, 0, 3, u32::from(b'g'));
        self.load(BPF_W | BPF_MEM, 0);
        self.put(BPF_ALU | BPF_OR | BPF_K, 0, 0, 1);
        self.put(RET_A, 0, 0, 0);
        self.load(BPF_W | BPF_MEM, 0);
        self.put(RET_A, 0, 0, 0);
    }
}

/// The same of a slice of four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, word)
}

/// Four bytes as a filter loads them.
fn word(bytes: &[u8; 4]) -> u32 {
    u32::from_be_bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WORKERS: usize = 40;

    fn sockets() -> Vec<UdpSocket> {
        let mut address = "127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap();
        let sockets = (0..WORKERS).map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None);
            let socket = socket.unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind(&address.into()).unwrap();
            let socket = UdpSocket::from(socket);
            socket.set_nonblocking(true).unwrap();
            address = socket.local_addr().unwrap();
            socket
        });
        let sockets: Vec<UdpSocket> = sockets.collect();
        attach(&sockets[0]).unwrap();
        sockets
    }

    /// Which socket gets what one sender sends.
    fn taken(sockets: &[UdpSocket], sender: &UdpSocket, datagram: &[u8]) -> usize {
        let address = sockets[0].local_addr().unwrap();
        sender.send_to(datagram, address).unwrap();
        let mut buffer = [0; 2048];
        for _ in 0..1000 {
            let found = sockets
                .iter()
                .position(|socket| socket.recv(&mut buffer).is_ok());
            if let Some(worker) = found {
                assert!(buffer.starts_with(datagram));
                return worker;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the datagram is lost");
    }

    fn response(padding: usize, worker: u16) -> String {
        let start = "SIP/2.0 180 Ringing\r\n";
        let via = "Via: SIP/2.0/UDP proxy.example.com";
        let branch = affinity::example_branch(worker);
        let rest = "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKother\r\nCall-ID: 1\r\n\r\n";
        format!(
            "{start}{via}{};branch={branch}\r\n{rest}",
            "x".repeat(padding)
        )
    }

    fn request(padding: usize, method: &str, worker: u16) -> String {
        let user = affinity::example_route_user(worker);
        format!(
            "{method} sip:a@192.0.2.1 SIP/2.0\r\nX: {}\r\nRoute: <sip:{user}@192.0.2.9;lr>\r\n\
             Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKother\r\nCall-ID: 1\r\n\r\n",
            "x".repeat(padding)
        )
    }

    #[test]
    fn what_names_its_worker_comes_to_it_wherever_it_does() {
        let sockets = sockets();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for worker in 0..WORKERS {
            let number = worker as u16;
            for padding in [0, 1, 2, 3, 36 + worker] {
                let response = response(padding, number);
                assert_eq!(taken(&sockets, &sender, response.as_bytes()), worker);
                for method in ["ACK", "BYE", "NOTIFY"] {
                    let request = request(2 * padding + worker, method, number);
                    assert_eq!(taken(&sockets, &sender, request.as_bytes()), worker);
                }
            }
        }
    }

    #[test]
    fn anything_else_comes_to_whom_the_kernel_chooses() {
        let sockets = sockets();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let chosen = taken(&sockets, &sender, b"\r\n\r\n");
        let other = ((chosen + 1) % WORKERS) as u16;
        let far = response(150, other);
        let too_many = response(0, WORKERS as u16);
        let not_ours = response(0, other).replace("z9hG4bKpb", "z9hG4bKxx");
        let cut = &request(0, "BYE", other)[..60];
        let beginning = request(0, "INVITE", other);
        let odd = request(0, "BYE", other).replace("Route: <", "Route:<");
        for datagram in [
            &far, &too_many, &not_ours, cut, &beginning, &odd, "", "ACK ",
        ] {
            let taken = taken(&sockets, &sender, datagram.as_bytes());
            assert_eq!(taken, chosen, "{datagram}");
        }
    }

    /// Before Linux 6.8 a filter may take 20 KiB (`net.core.optmem_max`) in the kernel's own form, which has about twice as many instructions
    /// of eight bytes.
    #[test]
    fn older_kernels_take_it() {
        assert!(filter().len() <= 870, "{}", filter().len());
    }
}
