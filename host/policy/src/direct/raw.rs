//! The host's functions for core modules, linked without wasmtime's conversions.
//!
//! `Linker::func_wrap` checks at each call what can't be otherwise for numbers: that results belong to the store, that nothing is a
//! reference to collect. Of what a hook costs that was a twentieth. Numbers alone cross here, in one place of memory each, so that this
//! module reads and writes them itself.
#![allow(
    unsafe_code,
    reason = "wasmtime gives the values of a call uninitialised, as there may be none"
)]

use std::mem::MaybeUninit;

use wasmtime::{Caller, FuncType, Linker, Result, ValRaw, ValType, bail};

use super::harness;
use crate::host::Host;
use crate::state::{Interrupt, State};

/// A number as it crosses.
pub(crate) trait Number: Sized {
    /// Its type in WebAssembly.
    const TYPE: ValType;
    /// Out of its place.
    fn of(raw: ValRaw) -> Self;
    /// Into its place.
    fn raw(self) -> ValRaw;
}

impl Number for i32 {
    const TYPE: ValType = ValType::I32;

    #[inline]
    fn of(raw: ValRaw) -> i32 {
        raw.get_i32()
    }

    #[inline]
    fn raw(self) -> ValRaw {
        ValRaw::i32(self)
    }
}

impl Number for i64 {
    const TYPE: ValType = ValType::I64;

    #[inline]
    fn of(raw: ValRaw) -> i64 {
        raw.get_i64()
    }

    #[inline]
    fn raw(self) -> ValRaw {
        ValRaw::i64(self)
    }
}

/// The numbers of a call, or of its result.
pub(crate) trait Numbers: Sized {
    /// Their types.
    fn types() -> Vec<ValType>;

    /// Reads as many values as there are types; `None` when there are fewer.
    ///
    /// # Safety
    /// So many values are initialised.
    unsafe fn load(values: &[MaybeUninit<ValRaw>]) -> Option<Self>;

    /// Writes them to the first of these places; `None` when there are too few.
    fn store(self, values: &mut [MaybeUninit<ValRaw>]) -> Option<()>;
}

macro_rules! numbers {
    ($($value:ident: $type:ident),*) => {
        impl<$($type: Number),*> Numbers for ($($type,)*) {
            fn types() -> Vec<ValType> {
                vec![$($type::TYPE),*]
            }

            #[inline]
            unsafe fn load(values: &[MaybeUninit<ValRaw>]) -> Option<Self> {
                let [$($value,)* ..] = values else { return None };
                // SAFETY: the caller's promise; a value of wasmtime may be copied.
                Some(($($type::of(unsafe { $value.assume_init() }),)*))
            }

            #[inline]
            fn store(self, values: &mut [MaybeUninit<ValRaw>]) -> Option<()> {
                #[allow(non_snake_case, reason = "a number is named as its type")]
                let ($($type,)*) = self;
                let [$($value,)* ..] = values else { return None };
                $($value.write($type.raw());)*
                Some(())
            }
        }
    };
}

/// Nothing at all.
impl Numbers for () {
    fn types() -> Vec<ValType> {
        Vec::new()
    }

    unsafe fn load(_values: &[MaybeUninit<ValRaw>]) -> Option<()> {
        Some(())
    }

    fn store(self, _values: &mut [MaybeUninit<ValRaw>]) -> Option<()> {
        Some(())
    }
}

numbers!(a: A);
numbers!(a: A, b: B);
numbers!(a: A, b: B, c: C);
numbers!(a: A, b: B, c: C, d: D);
numbers!(a: A, b: B, c: C, d: D, e: E);
numbers!(a: A, b: B, c: C, d: D, e: E, f: F);
numbers!(a: A, b: B, c: C, d: D, e: E, f: F, g: G, h: H, i: I, j: J, k: K, l: L);

/// Links a function that takes and returns numbers.
pub(crate) fn link<H: Host, P: Numbers, R: Numbers>(
    linker: &mut Linker<State<H>>,
    module: &str,
    name: &str,
    function: impl Fn(Caller<'_, State<H>>, P) -> Result<R> + Send + Sync + 'static,
) -> Result<()> {
    let ty = FuncType::new(linker.engine(), P::types(), R::types());
    let call = move |caller: Caller<'_, State<H>>, values: &mut [MaybeUninit<ValRaw>]| {
        // SAFETY: wasmtime calls this with the parameters of the type that is given below, which is made of the same `P`.
        let Some(parameters) = (unsafe { P::load(values) }) else {
            bail!("a function of the host was called with too few parameters");
        };
        match function(caller, parameters)?.store(values) {
            Some(()) => Ok(()),
            None => bail!("a function of the host was called without room for its results"),
        }
    };
    // SAFETY: `call` reads parameters of the types `P` and writes results of the types `R`, as the type says.
    unsafe { linker.func_new_unchecked(module, name, ty, call)? };
    Ok(())
}

/// Links a function whose result is written to the guest's memory and that returns what is wanted from the guest's allocator for it: as it is,
/// for the harness, and for hooks that are called [straight](super::Straight), which begin again on a fiber when something is wanted.
pub(crate) fn link_stored<H: Host, P: Numbers>(
    linker: &mut Linker<State<H>>,
    module: &str,
    name: &str,
    function: impl Fn(Caller<'_, State<H>>, P) -> Result<(i64,)> + Copy + Send + Sync + 'static,
) -> Result<()> {
    link(linker, module, name, function)?;
    let straight =
        move |caller: Caller<'_, State<H>>, parameters| match function(caller, parameters)? {
            (0,) => Ok(()),
            _ => Err(Interrupt::Room.into()),
        };
    link(linker, &harness::straight_name(module), name, straight)
}
