//! The component that is compiled for a policy that runs directly.
//!
//! It is the policy's own component with two changes. The main module is exported as well, so that wasmtime hands it out compiled. And
//! where the component uses it stands one of the same type that does nothing, so that the policy's code is compiled once. All that the
//! component declares to the outside is as it was, and is checked as that of any other.

use wasmparser::{Parser, Payload, TypeRef, ValType};

use super::shape::Shape;

/// The name under which the main module is exported.
pub(crate) const EXPORT: &str = "main-module";

/// Sections of a component, and of a core module.
const CORE_MODULE: u8 = 1;
const EXPORTS: u8 = 11;
const CODE: u8 = 10;
const DATA: u8 = 11;
const DATA_COUNT: u8 = 12;
const START: u8 = 8;
const CUSTOM: u8 = 0;

/// The component to compile. Whether the bytes are valid is not asked; `None` when they can't be read.
pub(crate) fn component(bytes: &[u8], shape: &Shape) -> Option<Vec<u8>> {
    let main = bytes.get(shape.module.clone())?;
    let mut rewritten = Vec::with_capacity(bytes.len() + 4096);
    let mut done = 0;
    for payload in Parser::new(0).parse_all(bytes) {
        let Payload::ModuleSection {
            unchecked_range, ..
        } = payload.ok()?
        else {
            continue;
        };
        if usize::try_from(unchecked_range.start) != Ok(shape.module.start) {
            continue;
        }
        // The section's head, its id and its length, is right before the module.
        let head = shape
            .module
            .start
            .checked_sub(1 + length_of_leb(main.len()))?;
        rewritten.extend_from_slice(bytes.get(done..head)?);
        section(&mut rewritten, CORE_MODULE, &stub(main)?);
        done = shape.module.end;
    }
    rewritten.extend_from_slice(bytes.get(done..)?);
    section(&mut rewritten, CORE_MODULE, main);
    section(&mut rewritten, EXPORTS, &export(shape.modules));
    Some(rewritten)
}

/// One export of a core module.
fn export(module: u32) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    leb(&mut bytes, EXPORT.len());
    bytes.extend_from_slice(EXPORT.as_bytes());
    bytes.extend_from_slice(&[0, 0x11]);
    leb(&mut bytes, module as usize);
    bytes.push(0);
    bytes
}

/// A module of the same type whose functions return zeros.
fn stub(main: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = main.get(..8)?.to_vec();
    let (mut results, mut functions) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(main) {
        let payload = payload.ok()?;
        match &payload {
            Payload::TypeSection(section) => {
                for ty in section.clone().into_iter_err_on_gc_types() {
                    results.push(ty.ok()?.results().to_vec());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    if !matches!(import.ok()?.ty, TypeRef::Func(_)) {
                        return None;
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section.clone() {
                    functions.push(ty.ok()?);
                }
            }
            Payload::CodeSectionStart { .. } => {
                let mut code = Vec::new();
                leb(&mut code, functions.len());
                for ty in &functions {
                    let body = body(results.get(*ty as usize)?);
                    leb(&mut code, body.len());
                    code.extend_from_slice(&body);
                }
                section(&mut bytes, CODE, &code);
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section()
            && ![CUSTOM, START, CODE, DATA, DATA_COUNT].contains(&id)
        {
            let (start, end) = (
                usize::try_from(range.start).ok()?,
                usize::try_from(range.end).ok()?,
            );
            section(&mut bytes, id, main.get(start..end)?);
        }
    }
    Some(bytes)
}

fn body(results: &[ValType]) -> Vec<u8> {
    let mut body = vec![0];
    for result in results {
        match result {
            ValType::I32 => body.extend_from_slice(&[0x41, 0]),
            ValType::I64 => body.extend_from_slice(&[0x42, 0]),
            ValType::F32 => body.extend_from_slice(&[0x43, 0, 0, 0, 0]),
            ValType::F64 => body.extend_from_slice(&[0x44, 0, 0, 0, 0, 0, 0, 0, 0]),
            // `unreachable` stands for what else there may be.
            _ => body.push(0),
        }
    }
    body.push(0x0b);
    body
}

fn section(into: &mut Vec<u8>, id: u8, content: &[u8]) {
    into.push(id);
    leb(into, content.len());
    into.extend_from_slice(content);
}

/// Unsigned LEB128.
fn leb(into: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn length_of_leb(value: usize) -> usize {
    let mut bytes = Vec::new();
    leb(&mut bytes, value);
    bytes.len()
}
