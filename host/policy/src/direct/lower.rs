//! Results for a core module, written as the canonical ABI lays them out.
//!
//! A value is written in two steps. Its fixed part goes where the guest said at once ([`Stored::put`]). What it holds beyond that, texts
//! and lists, needs room that the guest's own allocator makes; the host can't call that allocator, so the harness does: it is told how
//! many bytes are wanted, calls it, and says where they are ([`Lowering::deliver`]), until nothing is wanted any more.

use wasmtime::{Result, bail};

use super::arena::Arena;
use super::raw::Number;
use crate::host::{Binding, HostError, HttpResponse, LookupResult, Verification};
use crate::imports::{MessageFacts, MessageSource, MessageSummary};
use crate::state::{Scratch, Text};

/// Parameters of `event-route` beyond its case.
pub(super) const EVENT_FIELDS: usize = 5;

/// What still waits for room in the guest's memory.
#[derive(Default)]
pub(crate) struct Lowering {
    /// The next one last.
    waiting: Vec<(Part, Reference)>,
    /// `event-route` takes its parameters flat.
    pub(super) event: [i32; 1 + EVENT_FIELDS],
}

/// A part of a value with memory of its own.
pub(super) enum Part {
    Text(Text),
    Bytes(Vec<u8>),
    Texts(Vec<Text>),
    OptionalTexts(Vec<Option<Text>>),
    Pairs(Vec<(String, String)>),
}

/// Where pointer and length of a part go.
#[derive(Clone, Copy)]
pub(super) enum Reference {
    Memory(u32),
    /// A parameter of `event-route` and the one after it.
    Event(usize),
}

impl Lowering {
    /// Writes the fixed part of a result.
    #[inline]
    pub(super) fn store<T: Stored>(
        &mut self,
        memory: &mut [u8],
        result: i32,
        value: T,
    ) -> Result<()> {
        let at = result as u32;
        if !at.is_multiple_of(T::ALIGN) {
            bail!("pointer not aligned");
        }
        let Some(area) = memory
            .get_mut(at as usize..)
            .and_then(|rest| rest.get_mut(..T::SIZE))
        else {
            bail!("pointer out of bounds");
        };
        self.in_order(|lowering| value.put(area, at, lowering));
        Ok(())
    }

    /// What is wanted from the guest's allocator next: 0, or the alignment in the upper half and the size in the lower one.
    #[inline]
    pub(super) fn wanted(&self) -> i64 {
        match self.waiting.last() {
            Some((part, _)) => i64::from(part.align()) << 32 | i64::from(part.size()),
            None => 0,
        }
    }

    /// Writes what waits to where the guest has it, until something finds no room there.
    #[inline]
    pub(super) fn deliver_to(
        &mut self,
        arena: Arena,
        memory: &mut [u8],
        scratch: &Scratch,
    ) -> Result<()> {
        while let Some((part, _)) = self.waiting.last() {
            let at = match part.size() {
                // Nobody gives back what has no bytes.
                0 => part.align(),
                size => match arena.take(memory, size) {
                    Some(at) => at,
                    None => return Ok(()),
                },
            };
            self.deliver(memory, at as i32, scratch)?;
        }
        Ok(())
    }

    /// The room that was wanted is at `pointer`: writes the part.
    pub(super) fn deliver(
        &mut self,
        memory: &mut [u8],
        pointer: i32,
        scratch: &Scratch,
    ) -> Result<()> {
        let Some((part, reference)) = self.waiting.pop() else {
            bail!("nothing waits for memory");
        };
        let at = pointer as u32;
        let count = part.count();
        if let Part::Text(text) = part {
            room(memory, at, count)?.copy_from_slice(text.as_bytes());
            scratch.give_back(text);
        } else {
            if !at.is_multiple_of(part.align()) {
                bail!("realloc return: result not aligned");
            }
            let room = room(memory, at, part.size())?;
            self.fill(part, room, at);
        }
        self.refer(memory, reference, at, count);
        Ok(())
    }

    #[inline]
    fn refer(&mut self, memory: &mut [u8], reference: Reference, at: u32, count: u32) {
        match reference {
            Reference::Memory(place) => {
                if let Some(area) = memory.get_mut(place as usize..) {
                    set(area, 0, at.to_le_bytes());
                    set(area, 4, count.to_le_bytes());
                }
            }
            Reference::Event(place) => {
                for (field, value) in self.event.iter_mut().skip(place).zip([at, count]) {
                    *field = value as i32;
                }
            }
        }
    }

    /// Writes a part; the elements of a list are next.
    fn fill(&mut self, part: Part, room: &mut [u8], at: u32) {
        match part {
            Part::Text(text) => room.copy_from_slice(text.as_bytes()),
            Part::Bytes(bytes) => room.copy_from_slice(&bytes),
            Part::Texts(list) => self.fill_list(list, room, at),
            Part::OptionalTexts(list) => self.fill_list(list, room, at),
            Part::Pairs(list) => self.fill_list(list, room, at),
        }
    }

    fn fill_list<T: Stored>(&mut self, list: Vec<T>, room: &mut [u8], at: u32) {
        self.in_order(|lowering| {
            let mut place = at;
            for (element, area) in list.into_iter().zip(room.chunks_exact_mut(T::SIZE)) {
                element.put(area, place, lowering);
                place = place.wrapping_add(T::SIZE as u32);
            }
        });
    }

    #[inline]
    pub(super) fn wait(&mut self, part: Part, reference: Reference) {
        self.waiting.push((part, reference));
    }

    /// Has what `put` makes wait delivered in the order of its waiting, and before what waits already.
    #[inline]
    pub(super) fn in_order(&mut self, put: impl FnOnce(&mut Lowering)) {
        let before = self.waiting.len();
        put(self);
        if let Some(new @ [_, _, ..]) = self.waiting.get_mut(before..) {
            new.reverse();
        }
    }
}

/// What the guest's allocator made room for.
#[inline]
fn room(memory: &mut [u8], at: u32, size: u32) -> Result<&mut [u8]> {
    let rest = memory.get_mut(at as usize..);
    match rest.and_then(|rest| rest.get_mut(..size as usize)) {
        Some(room) => Ok(room),
        None => bail!("realloc return: beyond end of memory"),
    }
}

impl Part {
    #[inline]
    fn count(&self) -> u32 {
        let count = match self {
            Part::Text(text) => text.len(),
            Part::Bytes(bytes) => bytes.len(),
            Part::Texts(list) => list.len(),
            Part::OptionalTexts(list) => list.len(),
            Part::Pairs(list) => list.len(),
        };
        // What would not fit into a guest's memory anyhow is refused when it is delivered.
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    #[inline]
    fn size(&self) -> u32 {
        let element = match self {
            Part::Text(_) | Part::Bytes(_) => 1,
            Part::Texts(_) => <Text as Stored>::SIZE,
            Part::OptionalTexts(_) => <Option<Text> as Stored>::SIZE,
            Part::Pairs(_) => <(String, String) as Stored>::SIZE,
        };
        self.count().saturating_mul(element as u32)
    }

    #[inline]
    fn align(&self) -> u32 {
        match self {
            Part::Text(_) | Part::Bytes(_) => 1,
            Part::Texts(_) | Part::OptionalTexts(_) | Part::Pairs(_) => 4,
        }
    }
}

/// A result that is a number.
pub(crate) trait Flat {
    /// Its type in WebAssembly.
    type Number: Number;
    /// The name of that type.
    const NAME: &'static str;
    /// The number.
    fn number(self) -> Self::Number;
}

macro_rules! flat {
    ($($type:ty, $number:ty, $name:literal, |$value:ident| $convert:expr;)*) => {$(
        impl Flat for $type {
            type Number = $number;
            const NAME: &'static str = $name;

            #[inline]
            fn number(self) -> $number {
                let $value = self;
                $convert
            }
        }
    )*};
}

flat! {
    bool, i32, "i32", |value| i32::from(value);
    u32, i32, "i32", |value| value as i32;
    u64, i64, "i64", |value| value as i64;
    Verification, i32, "i32", |value| value as i32;
    MessageFacts, i32, "i32", |value| { let [bits] = value.as_array(); bits as i32 };
}

/// A value in the guest's memory.
pub(crate) trait Stored: Sized {
    /// The bytes of its fixed part, a multiple of the alignment.
    const SIZE: usize;
    /// A divisor of its address.
    const ALIGN: u32;

    /// Writes the fixed part to `area`, which is as long as that and at the address `at`; what needs more room waits.
    fn put(self, area: &mut [u8], at: u32, lowering: &mut Lowering);

    /// The whole of it, when that is one byte, as most answers are that say nothing but that something was done.
    #[inline(always)]
    fn byte(&self) -> Option<u8> {
        None
    }
}

/// Writes some bytes; places are constants below the size of the area.
#[inline]
fn set<const N: usize>(area: &mut [u8], place: usize, bytes: [u8; N]) {
    if let Some(target) = area
        .get_mut(place..)
        .and_then(|rest| rest.first_chunk_mut())
    {
        *target = bytes;
    }
}

/// Writes a field.
#[inline]
fn field<T: Stored>(value: T, area: &mut [u8], at: u32, place: usize, lowering: &mut Lowering) {
    if let Some(part) = area
        .get_mut(place..)
        .and_then(|rest| rest.get_mut(..T::SIZE))
    {
        value.put(part, at.wrapping_add(place as u32), lowering);
    }
}

macro_rules! stored {
    ($($type:ty, $size:literal, $align:literal, |$value:ident, $area:ident, $at:ident, $lowering:ident| $put:expr;)*) => {$(
        impl Stored for $type {
            const SIZE: usize = $size;
            const ALIGN: u32 = $align;

            #[inline]
            fn put(self, $area: &mut [u8], $at: u32, $lowering: &mut Lowering) {
                let $value = self;
                $put
            }
        }
    )*};
}

stored! {
    (), 0, 1, |_value, _area, _at, _lowering| {};
    u16, 2, 2, |value, area, _at, _lowering| set(area, 0, value.to_le_bytes());
    u32, 4, 4, |value, area, _at, _lowering| set(area, 0, value.to_le_bytes());
    bool, 1, 1, |value, area, _at, _lowering| set(area, 0, [u8::from(value)]);
    i64, 8, 8, |value, area, _at, _lowering| set(area, 0, value.to_le_bytes());
    Text, 8, 4, |value, _area, at, lowering| lowering.wait(Part::Text(value), Reference::Memory(at));
    Vec<u8>, 8, 4, |value, _area, at, lowering| lowering.wait(Part::Bytes(value), Reference::Memory(at));
    Vec<Text>, 8, 4, |value, _area, at, lowering| lowering.wait(Part::Texts(value), Reference::Memory(at));
    Vec<Option<Text>>, 8, 4, |value, _area, at, lowering| {
        lowering.wait(Part::OptionalTexts(value), Reference::Memory(at))
    };
    Vec<(String, String)>, 8, 4, |value, _area, at, lowering| {
        lowering.wait(Part::Pairs(value), Reference::Memory(at))
    };
    (String, String), 16, 4, |value, area, at, lowering| {
        field(value.0, area, at, 0, lowering);
        field(value.1, area, at, 8, lowering);
    };
    HostError, 12, 4, |value, area, at, lowering| {
        set(area, 0, [value.kind as u8]);
        field(value.message, area, at, 4, lowering);
    };
    HttpResponse, 20, 4, |value, area, at, lowering| {
        field(value.status, area, at, 0, lowering);
        field(value.headers, area, at, 4, lowering);
        field(value.body, area, at, 12, lowering);
    };
    LookupResult, 8, 4, |value, area, at, lowering| {
        field(value.lookup, area, at, 0, lowering);
        field(value.count, area, at, 4, lowering);
    };
    Binding, 44, 4, |value, area, at, lowering| {
        field(value.uri, area, at, 0, lowering);
        field(value.q, area, at, 8, lowering);
        field(value.expires_secs, area, at, 12, lowering);
        field(value.received, area, at, 16, lowering);
        field(value.user_agent, area, at, 24, lowering);
        field(value.instance, area, at, 32, lowering);
    };
    MessageSource, 24, 4, |value, area, at, lowering| {
        set(area, 0, [value.transport as u8]);
        field(value.address, area, at, 4, lowering);
        field(value.port, area, at, 12, lowering);
        field(value.local, area, at, 16, lowering);
    };
    MessageSummary, 52, 4, |value, area, at, lowering| {
        field(value.method, area, at, 0, lowering);
        field(value.request_uri, area, at, 8, lowering);
        field(value.from_uri, area, at, 16, lowering);
        field(value.to_uri, area, at, 24, lowering);
        field(value.call_id, area, at, 32, lowering);
        field(value.source, area, at, 40, lowering);
        set(area, 48, [u8::from(value.in_dialog)]);
    };
}

/// A byte that says whether there is a value, and the value at its next address.
impl<T: Stored> Stored for Option<T> {
    const SIZE: usize = T::ALIGN as usize + T::SIZE;
    const ALIGN: u32 = T::ALIGN;

    #[inline]
    fn put(self, area: &mut [u8], at: u32, lowering: &mut Lowering) {
        set(area, 0, [u8::from(self.is_some())]);
        if let Some(value) = self {
            field(value, area, at, T::ALIGN as usize, lowering);
        }
    }
}

/// A byte that says whether it is an error, and what it is at the next multiple of the larger alignment.
impl<T: Stored> Stored for std::result::Result<T, HostError> {
    const SIZE: usize = {
        let align = Self::ALIGN as usize;
        let larger = if T::SIZE > HostError::SIZE {
            T::SIZE
        } else {
            HostError::SIZE
        };
        (align + larger).next_multiple_of(align)
    };
    const ALIGN: u32 = if T::ALIGN > HostError::ALIGN {
        T::ALIGN
    } else {
        HostError::ALIGN
    };

    #[inline(always)]
    fn byte(&self) -> Option<u8> {
        (T::SIZE == 0 && self.is_ok()).then_some(0)
    }

    #[inline]
    fn put(self, area: &mut [u8], at: u32, lowering: &mut Lowering) {
        set(area, 0, [u8::from(self.is_err())]);
        match self {
            Ok(value) => field(value, area, at, Self::ALIGN as usize, lowering),
            Err(error) => field(error, area, at, Self::ALIGN as usize, lowering),
        }
    }
}
