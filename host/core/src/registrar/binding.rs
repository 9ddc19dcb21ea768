//! One contact of an address-of-record, packed into a single block of bytes.
//!
//! A router holds a million of these, so a binding is one shared allocation: a fixed head of numbers and the ends of the
//! sections, then the sections. The same bytes are the record of the store. All numbers are little-endian.
//!
//! | at | what |
//! | --- | --- |
//! | 0 | format version |
//! | 1 | flags |
//! | 2 | transport of the flow |
//! | 4 | listener of the flow, u16 |
//! | 6 | q in thousandths, u16 |
//! | 8 | expires, Unix seconds, u64 |
//! | 16 | updated, Unix seconds, u64 |
//! | 24 | CSeq, u32 |
//! | 28 | reg-id, u32 |
//! | 32 | connection: owner u16, slot u32, generation u32 |
//! | 42 | start and end of the URI, then of the instance, in the block, u16 each |
//! | 50 | ends of the sections contact, Call-ID, User-Agent, Path, addresses, u16 each |
//! | 60 | the sections |

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::refresh::Stamp;
use crate::door::{Flow, FlowId, ListenerId, Transport};
use crate::local::write_number;
use crate::time::UnixTime;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 60;
const HAS_FLOW: u8 = 1;
const HAS_CONNECTION: u8 = 2;
const HAS_REG_ID: u8 = 4;

const AT_FLAGS: usize = 1;
const AT_TRANSPORT: usize = 2;
const AT_LISTENER: usize = 4;
const AT_Q: usize = 6;
const AT_EXPIRES: usize = 8;
const AT_UPDATED: usize = 16;
const AT_CSEQ: usize = 24;
const AT_REG_ID: usize = 28;
const AT_CONNECTION: usize = 32;
const AT_URI: usize = 42;
const AT_INSTANCE: usize = 46;
const AT_ENDS: usize = 50;

/// A block while it is made: it takes memory when its length is known.
type Block = SmallVec<[u8; 512]>;

/// The sections, in their order.
#[derive(Clone, Copy)]
enum Section {
    Contact,
    CallId,
    UserAgent,
    Path,
    Addresses,
}

/// One binding of an address-of-record to a contact (RFC 3261 §10.1). A clone shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct ContactBinding {
    block: Arc<[u8]>,
}

/// What a binding is made of.
#[derive(Clone, Debug)]
pub struct BindingParts<'a> {
    /// The display name as it came, with its quotes; empty: none.
    pub display: &'a [u8],
    /// The contact's URI.
    pub uri: &'a [u8],
    /// All contact parameters but `expires`, each as `;name=value`.
    pub parameters: &'a [u8],
    /// `+sip.instance` without its quotes.
    pub instance: Option<&'a [u8]>,
    /// `reg-id`, when it counts (RFC 5626 §6).
    pub reg_id: Option<u32>,
    /// Thousandths.
    pub q: u16,
    /// When it ends.
    pub expires: UnixTime,
    /// When it was made or refreshed.
    pub updated: UnixTime,
    /// The Call-ID of the registration; empty: not made by a REGISTER.
    pub call_id: &'a [u8],
    /// The CSeq number of the registration.
    pub cseq: u32,
    /// The User-Agent of the registration; empty: none.
    pub user_agent: &'a [u8],
    /// RFC 3327: the Path values in order.
    pub path: &'a [Vec<u8>],
    /// The way the registration came.
    pub flow: Option<Flow>,
}

impl ContactBinding {
    /// Packs a binding; `None` when it takes more than 64 KiB.
    pub fn new(parts: &BindingParts<'_>) -> Option<ContactBinding> {
        let mut block = Block::from_elem(0, HEAD_BYTES);
        write_head(&mut block, parts);
        let uri = write_contact_section(&mut block, parts);
        let instance = instance_range(&block, parts.instance);
        put_range(&mut block, AT_URI, uri)?;
        put_range(&mut block, AT_INSTANCE, instance)?;
        put_end(&mut block, Section::Contact)?;
        block.extend_from_slice(parts.call_id);
        put_end(&mut block, Section::CallId)?;
        block.extend_from_slice(parts.user_agent);
        put_end(&mut block, Section::UserAgent)?;
        for value in parts.path {
            block.extend_from_slice(&u16::try_from(value.len()).ok()?.to_le_bytes());
            block.extend_from_slice(value);
        }
        put_end(&mut block, Section::Path)?;
        if let Some(flow) = &parts.flow {
            write_address(&mut block, flow.local);
            write_address(&mut block, flow.remote);
        }
        put_end(&mut block, Section::Addresses)?;
        Some(ContactBinding {
            block: block.as_slice().into(),
        })
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8] {
        &self.block
    }

    /// Reads stored bytes; `None` when they are of another version or damaged.
    pub fn from_bytes(bytes: &[u8]) -> Option<ContactBinding> {
        if bytes.len() < HEAD_BYTES || bytes.first() != Some(&VERSION) {
            return None;
        }
        let binding = ContactBinding {
            block: bytes.into(),
        };
        binding.is_sound().then_some(binding)
    }

    /// The binding on another listener, or without a flow: connections and listeners don't outlive the process.
    pub fn with_listener(&self, listener: Option<ListenerId>) -> ContactBinding {
        let kept = self.byte(AT_FLAGS) & !HAS_CONNECTION;
        let (flags, listener) = match listener {
            Some(listener) => (kept, listener.0),
            None => (kept & !HAS_FLOW, 0),
        };
        if flags == self.byte(AT_FLAGS) && listener == self.u16_at(AT_LISTENER) {
            return self.clone();
        }
        let mut block = self.block.to_vec();
        put(&mut block, AT_FLAGS, &[flags]);
        put(&mut block, AT_LISTENER, &listener.to_le_bytes());
        ContactBinding {
            block: block.into(),
        }
    }

    /// Whether it is made of these parts, but for the times and the CSeq.
    pub(super) fn says(&self, parts: &BindingParts<'_>) -> bool {
        let instance = parts.instance.filter(|instance| !instance.is_empty());
        // The addresses of a flow that is gone are still here.
        let is_same_flow = self.flow() == parts.flow
            && (parts.flow.is_some() || self.section(Section::Addresses).is_empty());
        self.uri() == parts.uri
            && self.parameters() == parts.parameters
            && self.display() == parts.display
            && self.call_id() == parts.call_id
            && self.user_agent() == parts.user_agent
            && (self.q(), self.reg_id(), self.instance()) == (parts.q, parts.reg_id, instance)
            && self.path().eq(parts.path.iter().map(Vec::as_slice))
            && is_same_flow
    }

    /// The times and the CSeq.
    pub(super) fn stamp(&self) -> Stamp {
        Stamp {
            expires: self.expires(),
            updated: self.updated(),
            cseq: self.cseq(),
        }
    }

    /// Overwrites the times and the CSeq; `false`: nothing was done, because somebody shares the bytes.
    pub(super) fn set_stamp(&mut self, stamp: Stamp) -> bool {
        let Some(block) = Arc::get_mut(&mut self.block) else {
            return false;
        };
        put_stamp(block, stamp);
        true
    }

    /// The same with other times and another CSeq.
    pub(super) fn with_stamp(&self, stamp: Stamp) -> ContactBinding {
        let mut block = self.block.to_vec();
        put_stamp(&mut block, stamp);
        ContactBinding {
            block: block.into(),
        }
    }

    /// The contact's URI.
    pub fn uri(&self) -> &[u8] {
        self.slice(self.range(AT_URI))
    }

    /// The contact as registered, `"name" <uri>;parameters`, without `expires`.
    pub fn contact(&self) -> &[u8] {
        self.section(Section::Contact)
    }

    /// The contact parameters as registered, without `expires`.
    pub fn parameters(&self) -> &[u8] {
        let end = self.section_range(Section::Contact).end;
        self.slice(self.range(AT_URI).end.saturating_add(1)..end)
    }

    /// The display name as it came, with its quotes; empty: none.
    fn display(&self) -> &[u8] {
        // Between the two are a space and `<`.
        let end = self.range(AT_URI).start.saturating_sub(2);
        self.slice(HEAD_BYTES..end.max(HEAD_BYTES))
    }

    /// `+sip.instance` without its quotes.
    pub fn instance(&self) -> Option<&[u8]> {
        Some(self.slice(self.range(AT_INSTANCE))).filter(|instance| !instance.is_empty())
    }

    /// `reg-id` (RFC 5626 §4.2).
    pub fn reg_id(&self) -> Option<u32> {
        (self.byte(AT_FLAGS) & HAS_REG_ID != 0).then(|| u32::from_le_bytes(self.array(AT_REG_ID)))
    }

    /// Thousandths.
    pub fn q(&self) -> u16 {
        self.u16_at(AT_Q)
    }

    /// When it ends.
    pub fn expires(&self) -> UnixTime {
        UnixTime(u64::from_le_bytes(self.array(AT_EXPIRES)))
    }

    /// When it was made or refreshed.
    pub fn updated(&self) -> UnixTime {
        UnixTime(u64::from_le_bytes(self.array(AT_UPDATED)))
    }

    /// Whether it still holds.
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.expires() > now
    }

    /// Seconds left.
    pub fn remaining_secs(&self, now: UnixTime) -> u32 {
        u32::try_from(self.expires().0.saturating_sub(now.0)).unwrap_or(u32::MAX)
    }

    /// The Call-ID of the registration; empty: not made by a REGISTER.
    pub fn call_id(&self) -> &[u8] {
        self.section(Section::CallId)
    }

    /// The CSeq number of the registration.
    pub fn cseq(&self) -> u32 {
        u32::from_le_bytes(self.array(AT_CSEQ))
    }

    /// The User-Agent of the registration; empty: none.
    pub fn user_agent(&self) -> &[u8] {
        self.section(Section::UserAgent)
    }

    /// RFC 3327 §5.3: the Path values, in order.
    pub fn path(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.section(Section::Path);
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (value, after) =
                after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            rest = after;
            Some(value)
        })
    }

    /// The way the registration came; `None` when that was a connection of an earlier process.
    pub fn flow(&self) -> Option<Flow> {
        if self.byte(AT_FLAGS) & HAS_FLOW == 0 {
            return None;
        }
        let (local, remote) = self.addresses()?;
        Some(Flow {
            listener: ListenerId(self.u16_at(AT_LISTENER)),
            transport: transport_from(self.byte(AT_TRANSPORT))?,
            local,
            remote,
            connection: self.connection(),
        })
    }

    /// The address the registration came from, even when the flow is gone.
    pub fn received(&self) -> Option<(Transport, SocketAddr)> {
        Some((
            transport_from(self.byte(AT_TRANSPORT))?,
            self.addresses()?.1,
        ))
    }

    fn connection(&self) -> Option<FlowId> {
        (self.byte(AT_FLAGS) & HAS_CONNECTION != 0).then(|| FlowId {
            owner: self.u16_at(AT_CONNECTION),
            slot: u32::from_le_bytes(self.array(AT_CONNECTION + 2)),
            generation: u32::from_le_bytes(self.array(AT_CONNECTION + 6)),
        })
    }

    fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        let mut bytes = self.section(Section::Addresses);
        Some((read_address(&mut bytes)?, read_address(&mut bytes)?))
    }

    /// Whether every range lies inside the block and in order.
    fn is_sound(&self) -> bool {
        let sections = [
            Section::Contact,
            Section::CallId,
            Section::UserAgent,
            Section::Path,
            Section::Addresses,
        ];
        let ordered = sections
            .iter()
            .all(|&section| self.block.get(self.section_range(section)).is_some());
        let contact = self.section_range(Section::Contact);
        let inside = |range: Range<usize>| range.start <= range.end && range.end <= contact.end;
        let flow = self.byte(AT_FLAGS) & HAS_FLOW == 0 || self.flow().is_some();
        ordered
            && self.section_range(Section::Addresses).end == self.block.len()
            && inside(self.range(AT_URI))
            && inside(self.range(AT_INSTANCE))
            && flow
    }

    fn section(&self, section: Section) -> &[u8] {
        self.slice(self.section_range(section))
    }

    #[inline]
    fn section_range(&self, section: Section) -> Range<usize> {
        let at = AT_ENDS + 2 * section as usize;
        let start = if section as usize == 0 {
            HEAD_BYTES
        } else {
            usize::from(self.u16_at(at - 2))
        };
        start..usize::from(self.u16_at(at))
    }

    #[inline]
    fn range(&self, at: usize) -> Range<usize> {
        usize::from(self.u16_at(at))..usize::from(self.u16_at(at + 2))
    }

    #[inline]
    fn slice(&self, range: Range<usize>) -> &[u8] {
        self.block.get(range).unwrap_or_default()
    }

    #[inline]
    fn byte(&self, at: usize) -> u8 {
        self.block.get(at).copied().unwrap_or_default()
    }

    #[inline]
    fn u16_at(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    #[inline]
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.block
            .get(at..)
            .and_then(|bytes| bytes.first_chunk().copied())
            .unwrap_or([0; N])
    }
}

impl fmt::Debug for ContactBinding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ContactBinding")
            .field("contact", &String::from_utf8_lossy(self.contact()))
            .field("q", &self.q())
            .field("expires", &self.expires())
            .field("call_id", &String::from_utf8_lossy(self.call_id()))
            .field("cseq", &self.cseq())
            .field("flow", &self.flow())
            .finish_non_exhaustive()
    }
}

/// RFC 3261 §10.3 step 8: the Contact value for the 200, with the seconds that are left.
pub fn write_contact(out: &mut Vec<u8>, binding: &ContactBinding, now: UnixTime) {
    out.extend_from_slice(binding.contact());
    out.extend_from_slice(b";expires=");
    write_number(out, binding.remaining_secs(now).into());
}

fn write_head(block: &mut [u8], parts: &BindingParts<'_>) {
    let connection = parts.flow.and_then(|flow| flow.connection);
    let flags = [
        (parts.flow.is_some(), HAS_FLOW),
        (connection.is_some(), HAS_CONNECTION),
        (parts.reg_id.is_some(), HAS_REG_ID),
    ]
    .iter()
    .fold(
        0,
        |flags, (present, flag)| if *present { flags | flag } else { flags },
    );
    put(block, 0, &[VERSION, flags]);
    if let Some(flow) = parts.flow {
        put(block, AT_TRANSPORT, &[transport_byte(flow.transport)]);
        put(block, AT_LISTENER, &flow.listener.0.to_le_bytes());
    }
    put(block, AT_Q, &parts.q.to_le_bytes());
    let stamp = Stamp {
        expires: parts.expires,
        updated: parts.updated,
        cseq: parts.cseq,
    };
    put_stamp(block, stamp);
    put(
        block,
        AT_REG_ID,
        &parts.reg_id.unwrap_or_default().to_le_bytes(),
    );
    if let Some(connection) = connection {
        put(block, AT_CONNECTION, &connection.owner.to_le_bytes());
        put(block, AT_CONNECTION + 2, &connection.slot.to_le_bytes());
        put(
            block,
            AT_CONNECTION + 6,
            &connection.generation.to_le_bytes(),
        );
    }
}

fn put_stamp(block: &mut [u8], stamp: Stamp) {
    put(block, AT_EXPIRES, &stamp.expires.0.to_le_bytes());
    put(block, AT_UPDATED, &stamp.updated.0.to_le_bytes());
    put(block, AT_CSEQ, &stamp.cseq.to_le_bytes());
}

/// Writes `"name" <uri>;parameters` and says where the URI is.
fn write_contact_section(block: &mut Block, parts: &BindingParts<'_>) -> Range<usize> {
    if !parts.display.is_empty() {
        block.extend_from_slice(parts.display);
        block.push(b' ');
    }
    block.push(b'<');
    let start = block.len();
    block.extend_from_slice(parts.uri);
    let end = block.len();
    block.push(b'>');
    block.extend_from_slice(parts.parameters);
    start..end
}

/// Where the instance is inside the contact that was just written.
fn instance_range(block: &[u8], instance: Option<&[u8]>) -> Range<usize> {
    let Some(instance) = instance.filter(|instance| !instance.is_empty()) else {
        return 0..0;
    };
    let found = block
        .get(HEAD_BYTES..)
        .unwrap_or_default()
        .windows(instance.len())
        .rposition(|window| window == instance);
    found.map_or(0..0, |at| HEAD_BYTES + at..HEAD_BYTES + at + instance.len())
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = block.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

fn put_range(block: &mut [u8], at: usize, range: Range<usize>) -> Option<()> {
    put(block, at, &u16::try_from(range.start).ok()?.to_le_bytes());
    put(block, at + 2, &u16::try_from(range.end).ok()?.to_le_bytes());
    Some(())
}

fn put_end(block: &mut [u8], section: Section) -> Option<()> {
    let end = u16::try_from(block.len()).ok()?;
    put(block, AT_ENDS + 2 * section as usize, &end.to_le_bytes());
    Some(())
}

fn transport_byte(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Ws => 3,
        Transport::Wss => 4,
    }
}

fn transport_from(byte: u8) -> Option<Transport> {
    [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Ws,
        Transport::Wss,
    ]
    .get(usize::from(byte))
    .copied()
}

fn write_address(block: &mut Block, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            block.push(4);
            block.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            block.push(6);
            block.extend_from_slice(&ip.octets());
            let scope = if let SocketAddr::V6(address) = address {
                address.scope_id()
            } else {
                0
            };
            block.extend_from_slice(&scope.to_le_bytes());
        }
    }
    block.extend_from_slice(&address.port().to_le_bytes());
}

fn read_address(bytes: &mut &[u8]) -> Option<SocketAddr> {
    let family = take::<1>(bytes)?;
    if family == [4] {
        let ip = Ipv4Addr::from(take::<4>(bytes)?);
        return Some(SocketAddr::new(ip.into(), u16::from_le_bytes(take(bytes)?)));
    }
    let ip = Ipv6Addr::from(take::<16>(bytes)?);
    let scope = u32::from_le_bytes(take(bytes)?);
    let port = u16::from_le_bytes(take(bytes)?);
    Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(transport: Transport, remote: &str) -> Flow {
        Flow {
            listener: ListenerId(3),
            transport,
            local: "[2001:db8::1]:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection: Some(FlowId {
                owner: 1,
                slot: 70_000,
                generation: 9,
            }),
        }
    }

    fn parts<'a>(path: &'a [Vec<u8>], flow: Option<Flow>) -> BindingParts<'a> {
        BindingParts {
            display: b"\"Alice\"",
            uri: b"sip:alice@192.0.2.4:5060;transport=tcp",
            parameters: b";q=0.7;+sip.instance=\"<urn:uuid:1>\";reg-id=2;x",
            instance: Some(b"<urn:uuid:1>"),
            reg_id: Some(2),
            q: 700,
            expires: UnixTime(2_000),
            updated: UnixTime(1_000),
            call_id: b"abc@192.0.2.4",
            cseq: 77,
            user_agent: b"phone/1",
            path,
            flow,
        }
    }

    #[test]
    fn every_part_comes_back() {
        let path = vec![
            b"<sip:p1.example.com;lr>".to_vec(),
            b"<sip:p2.example.com;lr>".to_vec(),
        ];
        let flow = flow(Transport::Tcp, "192.0.2.4:40000");
        let binding = ContactBinding::new(&parts(&path, Some(flow))).unwrap();
        assert_eq!(binding.uri(), b"sip:alice@192.0.2.4:5060;transport=tcp");
        assert_eq!(
            binding.parameters(),
            b";q=0.7;+sip.instance=\"<urn:uuid:1>\";reg-id=2;x"
        );
        assert_eq!(binding.instance(), Some(&b"<urn:uuid:1>"[..]));
        assert_eq!(
            (binding.reg_id(), binding.q(), binding.cseq()),
            (Some(2), 700, 77)
        );
        assert_eq!(
            (binding.expires(), binding.updated()),
            (UnixTime(2_000), UnixTime(1_000))
        );
        assert_eq!(
            (binding.call_id(), binding.user_agent()),
            (&b"abc@192.0.2.4"[..], &b"phone/1"[..])
        );
        assert_eq!(binding.path().map(<[u8]>::to_vec).collect::<Vec<_>>(), path);
        assert_eq!(binding.flow(), Some(flow));
        assert_eq!(
            binding.received(),
            Some((Transport::Tcp, "192.0.2.4:40000".parse().unwrap()))
        );
    }

    #[test]
    fn stored_bytes_read_back_equal() {
        let binding =
            ContactBinding::new(&parts(&[], Some(flow(Transport::Udp, "[fe80::1%5]:5060"))))
                .unwrap();
        assert_eq!(
            ContactBinding::from_bytes(binding.as_bytes()),
            Some(binding)
        );
    }

    #[test]
    fn another_listener_drops_the_connection() {
        let binding =
            ContactBinding::new(&parts(&[], Some(flow(Transport::Udp, "192.0.2.4:1")))).unwrap();
        let moved = binding.with_listener(Some(ListenerId(8))).flow().unwrap();
        assert_eq!((moved.listener, moved.connection), (ListenerId(8), None));
        let gone = binding.with_listener(None);
        assert_eq!(gone.flow(), None);
        assert_eq!(gone.received().map(|(_, address)| address.port()), Some(1));
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let binding = ContactBinding::new(&parts(
            &[b"<sip:p>".to_vec()],
            Some(flow(Transport::Udp, "192.0.2.4:1")),
        ))
        .unwrap();
        let bytes = binding.as_bytes();
        for length in 0..bytes.len() {
            assert_eq!(
                ContactBinding::from_bytes(&bytes[..length]),
                None,
                "cut at {length}"
            );
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0xff;
            if let Some(read) = ContactBinding::from_bytes(&damaged) {
                let _ = (
                    format!("{read:?}"),
                    read.path().count(),
                    read.parameters().len(),
                );
            }
        }
    }

    #[test]
    fn contact_is_written_with_the_seconds_left() {
        let mut out = Vec::new();
        let binding = ContactBinding::new(&BindingParts {
            parameters: b";q=0.7;x",
            ..parts(&[], None)
        })
        .unwrap();
        write_contact(&mut out, &binding, UnixTime(1_400));
        assert_eq!(
            out,
            b"\"Alice\" <sip:alice@192.0.2.4:5060;transport=tcp>;q=0.7;x;expires=600"
        );
    }

    #[test]
    fn more_than_64_kib_is_refused() {
        let long = vec![b'a'; 65_536];
        assert!(
            ContactBinding::new(&BindingParts {
                uri: &long,
                ..parts(&[], None)
            })
            .is_none()
        );
    }

    #[test]
    fn usual_binding_takes_under_300_bytes() {
        let binding =
            ContactBinding::new(&parts(&[], Some(flow(Transport::Udp, "192.0.2.4:1")))).unwrap();
        assert!(binding.as_bytes().len() + size_of::<ContactBinding>() + 16 < 300);
    }
}
