//! The imports of policies, one module per interface of the WIT package.
//!
//! Each module has a table of its functions ([`table`]), which are linked for components and for core modules alike. A text that the
//! guest gets is written once into a reused buffer and from there into the guest.

mod auth;
mod counters;
mod environment;
mod http;
mod keyvalue;
mod location;
mod log;
mod message;
mod reply;
mod settings;
mod table;
mod targets;
mod timers;
mod transaction;
pub(crate) mod wasi_http;
pub(crate) mod wasi_keyvalue;

use wasmtime::{Engine, StoreContextMut, bail};

pub(crate) use message::{MessageFacts, MessageSummary, facts};
pub(crate) use table::{ResultKind, Signature};
pub(crate) use transaction::{Hooks, MessageSource};

use crate::host::{Host, HostError};
use crate::state::State;
use crate::world::{PACKAGE, VERSION};
use table::Interface;

/// Bytes that a guest may hand over in one call, as they lie in the host: as much as the largest message, and some more. While they are
/// copied the worker does nothing else, and a short list can name the same long text again and again.
pub(crate) const MAX_CALL_BYTES: usize = 20 << 20;
/// Texts of one list.
const MAX_TEXTS: usize = 256;

/// Whether a list may have so many texts.
pub(crate) fn check_texts(count: usize) -> wasmtime::Result<()> {
    if count > MAX_TEXTS {
        bail!("a list of {count} texts: the host takes {MAX_TEXTS} at most");
    }
    Ok(())
}

/// The store of a call to the host.
pub(crate) type Call<'a, H> = StoreContextMut<'a, State<H>>;

/// A `result<_, error>` of WIT.
type Answer<T> = Result<T, HostError>;

/// Everything that the host provides, for both ways to run a policy.
pub(crate) struct Imports<H: Host> {
    /// For components.
    pub(crate) component: wasmtime::component::Linker<State<H>>,
    /// For core modules, behind the harness that makes room in the guest's memory.
    pub(crate) direct: wasmtime::Linker<State<H>>,
    /// What is in `direct`.
    pub(crate) signatures: Vec<Signature>,
}

impl<H: Host> Imports<H> {
    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Imports<H>> {
        let mut imports = Imports {
            component: wasmtime::component::Linker::new(engine),
            direct: wasmtime::Linker::new(engine),
            signatures: Vec::new(),
        };
        imports.add("types", |_| Ok(()))?;
        imports.add("message", message::add)?;
        imports.add("transaction", transaction::add)?;
        imports.add("targets", targets::add)?;
        imports.add("reply", reply::add)?;
        imports.add("location", location::add)?;
        imports.add("auth", auth::add)?;
        imports.add("settings", settings::add)?;
        imports.add("log", log::add)?;
        imports.add("clock", environment::clock::add)?;
        imports.add("random", environment::random::add)?;
        imports.add("counters", counters::add)?;
        imports.add("timers", timers::add)?;
        imports.add("http", http::add)?;
        imports.add("keyvalue", keyvalue::add)?;
        wasi_keyvalue::add(&mut imports.component)?;
        wasi_http::add(&mut imports.component)?;
        Ok(imports)
    }

    fn add(
        &mut self,
        name: &str,
        add: impl FnOnce(&mut Interface<'_, H>) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<()> {
        let name = format!("{PACKAGE}{name}{VERSION}");
        add(&mut Interface {
            component: self.component.instance(&name)?,
            direct: &mut self.direct,
            signatures: &mut self.signatures,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use wit_parser::abi::{AbiVariant, WasmType};
    use wit_parser::{Resolve, SizeAlign};

    use super::*;
    use crate::support::TestHost;

    /// Interface and name, parameters, and how the result comes back.
    type Functions = BTreeMap<(String, String), (Vec<&'static str>, ResultKind)>;

    fn provided() -> Functions {
        let imports = Imports::<TestHost>::new(&Engine::default()).unwrap();
        imports
            .signatures
            .into_iter()
            .map(|signature| {
                let name = (signature.interface, signature.name.to_owned());
                (name, (signature.parameters, signature.result))
            })
            .collect()
    }

    fn declared() -> Functions {
        let mut resolve = Resolve::default();
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit"));
        let (package, _) = resolve.push_dir(folder).unwrap();
        let mut layout = SizeAlign::default();
        layout.fill(&resolve);
        let imports = ["imports", "granted"].map(|name| {
            let world = resolve.select_world(&[package], Some(name)).unwrap();
            &resolve.worlds[world].imports
        });
        let mut functions = Functions::new();
        for (key, _) in imports.into_iter().flatten() {
            let wit_parser::WorldKey::Interface(id) = key else {
                unreachable!("a world imports interfaces")
            };
            let interface = resolve.id_of(*id).unwrap();
            for (name, function) in &resolve.interfaces[*id].functions {
                let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
                let result = match (&function.result, signature.retptr) {
                    (Some(ty), true) => ResultKind::Stored {
                        size: layout.size(ty).size_wasm32(),
                        align: layout.align(ty).align_wasm32() as u32,
                    },
                    (Some(_), false) => ResultKind::Flat(named(signature.results[0])),
                    (None, _) => ResultKind::Nothing,
                };
                let parameters = signature.params.iter().map(|ty| named(*ty)).collect();
                functions.insert((interface.clone(), name.clone()), (parameters, result));
            }
        }
        functions
    }

    fn named(ty: WasmType) -> &'static str {
        match ty {
            WasmType::I64 => "i64",
            _ => "i32",
        }
    }

    #[test]
    fn every_function_of_the_wit_package_is_provided_as_it_is_declared() {
        assert_eq!(provided(), declared());
    }
}
