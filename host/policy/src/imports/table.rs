//! One table of functions per interface, linked twice: for components, and for core modules that run directly.
//!
//! A row names the function in WIT, the Rust function that carries it out, its arguments by kind, and how its result comes back:
//!
//! ```text
//! "name" => function(argument: kind, …);                    nothing comes back
//! "name" => function(argument: kind, …) -> flat Type;       a number
//! "name" => function(argument: kind, …) -> stored Type;     anything else, written where the guest says
//! "name" => function(argument: kind, …) -> lent Type;       bytes of the message or of a setting, which are copied into the guest alone
//! "name" acts => …                                          what can't be undone when the hook begins again
//! ```
//!
//! The function gets the state of the store before its arguments. Kinds are `text`, `texts`, `bytes`, `word`, `long` and `signed` (numbers
//! of 32 and 64 bits), `truth`, `level`, `hooks` and `target`.

use wasmtime::component;

use crate::host::Host;
use crate::state::State;

/// Where an interface puts its functions.
pub(crate) struct Interface<'a, H: Host> {
    pub(super) name: String,
    pub(super) component: component::LinkerInstance<'a, State<H>>,
    pub(super) direct: &'a mut wasmtime::Linker<State<H>>,
    pub(super) signatures: &'a mut Vec<Signature>,
}

/// A function as a core module imports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// `patchbay:policy/…@…`.
    pub(crate) interface: String,
    pub(crate) name: &'static str,
    /// The types of its parameters, as WebAssembly names them; with a stored result, the last one says where.
    pub(crate) parameters: Vec<&'static str>,
    pub(crate) result: ResultKind,
    /// Whether the guest may wait in it for an answer from outside.
    pub(crate) waits: bool,
}

/// How a result comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResultKind {
    Nothing,
    /// As a number of this type.
    Flat(&'static str),
    /// In the guest's memory, in so many bytes at an address that can be divided by so much.
    Stored {
        size: usize,
        align: u32,
    },
}

macro_rules! interface {
    ($($name:literal $($acts:ident)? => $function:ident($($argument:ident: $kind:ident),*) $(-> $way:ident $result:ty)?;)*) => {
        pub(in crate::imports) fn add<H: $crate::host::Host>(
            interface: &mut $crate::imports::table::Interface<'_, H>,
        ) -> wasmtime::Result<()> {
            $(
                $crate::imports::table::in_component!(
                    interface, $name, $function, ($($argument: $kind),*), $($way $result)?
                );
                $crate::imports::table::directly!(
                    interface, ($name $($acts)?), $function, ($($way $result)?), {}, [], $($argument: $kind,)*
                );
            )*
            Ok(())
        }
    };
}

/// Links a function for components: wasmtime lifts and lowers. Texts are copied aside, as the guest's memory can't be borrowed beside
/// the state.
macro_rules! in_component {
    ($interface:ident, $name:literal, $function:ident, ($($argument:ident: $kind:ident),*),) => {
        $interface.component.func_wrap(
            $name,
            |mut call: $crate::imports::Call<'_, H>,
             ($($argument,)*): ($($crate::imports::table::lifted!($kind),)*)| {
                $($crate::imports::table::copied!(call, $argument, $kind);)*
                $function(call.data_mut(), $($crate::imports::table::lent!($argument, $kind)),*);
                Ok(())
            },
        )?;
    };
    ($interface:ident, $name:literal, $function:ident, ($($argument:ident: $kind:ident),*), lent $result:ty) => {
        $interface.component.func_wrap(
            $name,
            |mut call: $crate::imports::Call<'_, H>,
             ($($argument,)*): ($($crate::imports::table::lifted!($kind),)*)|
             -> wasmtime::Result<(<$result as $crate::direct::Lent>::Owned,)> {
                $($crate::imports::table::copied!(call, $argument, $kind);)*
                let state = call.data_mut();
                let value: $result = $function(state, $($crate::imports::table::lent!($argument, $kind)),*);
                Ok(($crate::direct::Lent::owned(value, &state.scratch),))
            },
        )?;
    };
    ($interface:ident, $name:literal, $function:ident, ($($argument:ident: $kind:ident),*), $way:ident $result:ty) => {
        $interface.component.func_wrap(
            $name,
            |mut call: $crate::imports::Call<'_, H>,
             ($($argument,)*): ($($crate::imports::table::lifted!($kind),)*)|
             -> wasmtime::Result<($result,)> {
                $($crate::imports::table::copied!(call, $argument, $kind);)*
                Ok(($function(call.data_mut(), $($crate::imports::table::lent!($argument, $kind)),*),))
            },
        )?;
    };
}

/// What wasmtime lifts an argument to.
macro_rules! lifted {
    (text) => { wasmtime::component::WasmStr };
    (texts) => { Vec<wasmtime::component::WasmStr> };
    (bytes) => { Vec<u8> };
    (word) => { u32 };
    (long) => { u64 };
    (signed) => { i64 };
    (truth) => { bool };
    (level) => { $crate::host::Level };
    (hooks) => { $crate::imports::transaction::Hooks };
    (target) => { $crate::host::Target };
}

macro_rules! copied {
    ($call:ident, $argument:ident, text) => {
        let $argument = $argument.to_str(&$call)?.into_owned();
    };
    ($call:ident, $argument:ident, texts) => {
        $crate::imports::check_texts($argument.len())?;
        let $argument = $argument
            .iter()
            .map(|text| Ok(text.to_str(&$call)?.into_owned()))
            .collect::<wasmtime::Result<Vec<String>>>()?;
    };
    ($call:ident, $argument:ident, $kind:ident) => {};
}

macro_rules! lent {
    ($argument:ident, text) => {
        $argument.as_str()
    };
    ($argument:ident, texts) => {
        $argument.iter().map(String::as_str)
    };
    ($argument:ident, bytes) => {
        $argument.as_slice()
    };
    ($argument:ident, $kind:ident) => {
        $argument
    };
}

/// Links a function for core modules: the parameters of WebAssembly are gathered kind by kind, then the closure is made.
macro_rules! directly {
    ($i:ident, $n:tt, $f:ident, $r:tt, {$($flat:tt)*}, [$($read:tt)*], $argument:ident: text, $($rest:tt)*) => {
        $crate::imports::table::directly!(
            $i, $n, $f, $r, {$($flat)* pointer: i32, length: i32,}, [$($read)* $argument = text(pointer, length);], $($rest)*
        );
    };
    ($i:ident, $n:tt, $f:ident, $r:tt, {$($flat:tt)*}, [$($read:tt)*], $argument:ident: texts, $($rest:tt)*) => {
        $crate::imports::table::directly!(
            $i, $n, $f, $r, {$($flat)* pointer: i32, length: i32,}, [$($read)* $argument = texts(pointer, length);], $($rest)*
        );
    };
    ($i:ident, $n:tt, $f:ident, $r:tt, {$($flat:tt)*}, [$($read:tt)*], $argument:ident: bytes, $($rest:tt)*) => {
        $crate::imports::table::directly!(
            $i, $n, $f, $r, {$($flat)* pointer: i32, length: i32,}, [$($read)* $argument = bytes(pointer, length);], $($rest)*
        );
    };
    ($i:ident, $n:tt, $f:ident, $r:tt, {$($flat:tt)*}, [$($read:tt)*], $argument:ident: long, $($rest:tt)*) => {
        $crate::imports::table::directly!(
            $i, $n, $f, $r, {$($flat)* number: i64,}, [$($read)* $argument = long(number);], $($rest)*
        );
    };
    ($i:ident, $n:tt, $f:ident, $r:tt, {$($flat:tt)*}, [$($read:tt)*], $argument:ident: signed, $($rest:tt)*) => {
        $crate::imports::table::directly!(
            $i, $n, $f, $r, {$($flat)* number: i64,}, [$($read)* $argument = signed(number);], $($rest)*
        );
    };
    ($i:ident, $n:tt, $f:ident, $r:tt, {$($flat:tt)*}, [$($read:tt)*], $argument:ident: target, $($rest:tt)*) => {
        $crate::imports::table::directly!(
            $i, $n, $f, $r,
            {$($flat)* uri: i32, uri_length: i32, q: i32, next_hop_is: i32, next_hop: i32, next_hop_length: i32,
                listener_is: i32, listener: i32, listener_length: i32, no_answer_is: i32, no_answer: i32,},
            [$($read)* $argument = target([uri, uri_length, q, next_hop_is, next_hop, next_hop_length,
                listener_is, listener, listener_length, no_answer_is, no_answer]);],
            $($rest)*
        );
    };
    // What is one number.
    ($i:ident, $n:tt, $f:ident, $r:tt, {$($flat:tt)*}, [$($read:tt)*], $argument:ident: $kind:ident, $($rest:tt)*) => {
        $crate::imports::table::directly!(
            $i, $n, $f, $r, {$($flat)* number: i32,}, [$($read)* $argument = $kind(number);], $($rest)*
        );
    };
    ($i:ident, ($n:literal $($acts:ident)?), $f:ident, (), {$($p:ident: $t:ident,)*}, [$($argument:ident = $kind:ident($($q:expr),*);)*],) => {
        $crate::direct::link(
            $i.direct,
            &$i.name,
            $n,
            |mut caller: wasmtime::Caller<'_, $crate::state::State<H>>, ($($p,)*): ($($t,)*)| -> wasmtime::Result<()> {
                let (_memory, state) = $crate::imports::table::entered!(caller $($acts)?)?;
                $(let $argument = $crate::direct::read::$kind(_memory, $($q),*)?;)*
                $f(state, $($argument),*);
                Ok(())
            },
        )?;
        $crate::imports::table::signed!($i, $n, [$($t)*], $crate::imports::table::ResultKind::Nothing);
    };
    ($i:ident, ($n:literal $($acts:ident)?), $f:ident, (flat $result:ty), {$($p:ident: $t:ident,)*}, [$($argument:ident = $kind:ident($($q:expr),*);)*],) => {
        $crate::direct::link(
            $i.direct,
            &$i.name,
            $n,
            |mut caller: wasmtime::Caller<'_, $crate::state::State<H>>, ($($p,)*): ($($t,)*)|
             -> wasmtime::Result<(<$result as $crate::direct::Flat>::Number,)> {
                let (_memory, state) = $crate::imports::table::entered!(caller $($acts)?)?;
                $(let $argument = $crate::direct::read::$kind(_memory, $($q),*)?;)*
                Ok(($crate::direct::Flat::number($f(state, $($argument),*)),))
            },
        )?;
        $crate::imports::table::signed!(
            $i, $n, [$($t)*],
            $crate::imports::table::ResultKind::Flat(<$result as $crate::direct::Flat>::NAME)
        );
    };
    ($i:ident, ($n:literal $($acts:ident)?), $f:ident, (lent $result:ty), {$($p:ident: $t:ident,)*}, [$($argument:ident = $kind:ident($($q:expr),*);)*],) => {
        $crate::direct::link_stored(
            $i.direct,
            &$i.name,
            $n,
            |mut caller: wasmtime::Caller<'_, $crate::state::State<H>>, ($($p,)* result,): ($($t,)* i32,)| -> wasmtime::Result<(i64,)> {
                let (memory, state) = $crate::imports::table::entered!(caller $($acts)?)?;
                $(let $argument = $crate::direct::read::$kind(memory, $($q),*)?;)*
                let value: $result = $f(state, $($argument),*);
                if let Some(arena) = state.direct.arena
                    && $crate::direct::Lent::write(value, memory, result, arena)
                {
                    return Ok((0,));
                }
                let value = $crate::direct::Lent::owned(value, &state.scratch);
                Ok((state.direct.store(memory, result, value, &state.scratch)?,))
            },
        )?;
        $crate::imports::table::signed!(
            $i, $n, [$($t)* i32],
            $crate::imports::table::ResultKind::Stored {
                size: <<$result as $crate::direct::Lent>::Owned as $crate::direct::Stored>::SIZE,
                align: <<$result as $crate::direct::Lent>::Owned as $crate::direct::Stored>::ALIGN,
            }
        );
    };
    ($i:ident, ($n:literal $($acts:ident)?), $f:ident, (stored $result:ty), {$($p:ident: $t:ident,)*}, [$($argument:ident = $kind:ident($($q:expr),*);)*],) => {
        $crate::direct::link_stored(
            $i.direct,
            &$i.name,
            $n,
            |mut caller: wasmtime::Caller<'_, $crate::state::State<H>>, ($($p,)* result,): ($($t,)* i32,)| -> wasmtime::Result<(i64,)> {
                let (memory, state) = $crate::imports::table::entered!(caller $($acts)?)?;
                $(let $argument = $crate::direct::read::$kind(memory, $($q),*)?;)*
                let value: $result = $f(state, $($argument),*);
                Ok((state.direct.store(memory, result, value, &state.scratch)?,))
            },
        )?;
        $crate::imports::table::signed!(
            $i, $n, [$($t)* i32],
            $crate::imports::table::ResultKind::Stored {
                size: <$result as $crate::direct::Stored>::SIZE,
                align: <$result as $crate::direct::Stored>::ALIGN,
            }
        );
    };
}

/// How a function begins.
macro_rules! entered {
    ($caller:ident) => {
        $crate::direct::enter(&mut $caller)
    };
    ($caller:ident acts) => {
        $crate::direct::enter_to_act(&mut $caller)
    };
}

macro_rules! signed {
    ($i:ident, $n:literal, [$($t:ident)*], $result:expr) => {
        $i.signatures.push($crate::imports::table::Signature {
            interface: $i.name.clone(),
            name: $n,
            parameters: vec![$(stringify!($t)),*],
            result: $result,
            waits: false,
        });
    };
}

pub(super) use {copied, directly, entered, in_component, interface, lent, lifted, signed};
