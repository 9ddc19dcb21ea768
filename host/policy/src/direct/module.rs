//! The core modules of a component: what they have to be for it to run directly.

use std::collections::HashMap;

use wasmparser::{
    ConstExpr, ElementItems, ElementKind, ExternalKind, FunctionBody, Operator, Parser, Payload,
    TypeRef,
};

/// The module with the policy in it. Whatever it does, it imports functions and nothing else.
pub(super) struct Main {
    pub(super) imports: Vec<Imported>,
}

impl Main {
    pub(super) fn read(bytes: &[u8]) -> Option<Main> {
        let mut imports = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            if let Payload::ImportSection(section) = payload.ok()? {
                for import in section.into_imports() {
                    let import = import.ok()?;
                    match import.ty {
                        TypeRef::Func(_) => {
                            imports.push((import.module.to_owned(), import.name.to_owned()));
                        }
                        _ => return None,
                    }
                }
            }
        }
        Some(Main { imports })
    }
}

/// A module whose functions hand their parameters to a function in a table, each to another.
pub(super) struct Shim {
    /// The place in the table behind each exported function.
    pub(super) slots: HashMap<String, u32>,
    /// The name under which the table is exported.
    pub(super) table: String,
}

impl Shim {
    pub(super) fn read(bytes: &[u8]) -> Option<Shim> {
        let (mut functions, mut slots, mut types) = (Vec::new(), Vec::new(), Vec::new());
        let (mut parameters, mut table) = (Vec::new(), None);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.ok()? {
                Payload::Version { .. } | Payload::End(_) | Payload::CustomSection(_) => {}
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        parameters.push(ty.ok()?.params().len());
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        types.push(ty.ok()?);
                    }
                }
                Payload::TableSection(section) if section.count() == 1 => {}
                Payload::CodeSectionStart { .. } => {}
                Payload::CodeSectionEntry(body) => {
                    let ty = *types.get(slots.len())?;
                    slots.push(slot(&body, ty, *parameters.get(ty as usize)?)?);
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.ok()?;
                        match export.kind {
                            ExternalKind::Func => functions.push((export.name, export.index)),
                            ExternalKind::Table => table = Some(export.name.to_owned()),
                            _ => return None,
                        }
                    }
                }
                _ => return None,
            }
        }
        let slots = functions
            .into_iter()
            .map(|(name, index)| Some((name.to_owned(), *slots.get(index as usize)?)))
            .collect::<Option<_>>()?;
        Some(Shim {
            slots,
            table: table?,
        })
    }
}

/// Where a function looks that does nothing but call through the table with its own parameters.
fn slot(body: &FunctionBody<'_>, ty: u32, parameters: usize) -> Option<u32> {
    if body.get_locals_reader().ok()?.get_count() != 0 {
        return None;
    }
    let mut operators = body.get_operators_reader().ok()?;
    for parameter in 0..u32::try_from(parameters).ok()? {
        match operators.read().ok()? {
            Operator::LocalGet { local_index } if local_index == parameter => {}
            _ => return None,
        }
    }
    let Operator::I32Const { value } = operators.read().ok()? else {
        return None;
    };
    match operators.read().ok()? {
        Operator::CallIndirect {
            type_index,
            table_index: 0,
        } if type_index == ty => {}
        _ => return None,
    }
    match operators.read().ok()? {
        Operator::End if operators.eof() => u32::try_from(value).ok(),
        _ => None,
    }
}

/// A module that puts functions into a table, and may call one more.
pub(super) struct Fixup {
    /// The imported functions, in the order of the table.
    pub(super) slots: Vec<Imported>,
    /// The imported table.
    pub(super) table: Option<Imported>,
    /// The imported function that is called.
    pub(super) start: Option<Imported>,
}

/// Module and name of an import.
pub(super) type Imported = (String, String);

impl Fixup {
    pub(super) fn read(bytes: &[u8]) -> Option<Fixup> {
        let (mut functions, mut slots) = (Vec::new(), None);
        let (mut table, mut start) = (None, None);
        for payload in Parser::new(0).parse_all(bytes) {
            match payload.ok()? {
                Payload::Version { .. }
                | Payload::End(_)
                | Payload::CustomSection(_)
                | Payload::TypeSection(_) => {}
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.ok()?;
                        let name = (import.module.to_owned(), import.name.to_owned());
                        match import.ty {
                            TypeRef::Func(_) => functions.push(name),
                            TypeRef::Table(_) if table.is_none() => table = Some(name),
                            _ => return None,
                        }
                    }
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        let element = element.ok()?;
                        if slots
                            .replace(filled(element.kind, element.items)?)
                            .is_some()
                        {
                            return None;
                        }
                    }
                }
                Payload::StartSection { func, .. } => start = Some(func),
                _ => return None,
            }
        }
        let name = |index: u32| functions.get(index as usize).cloned();
        // Without either it would be any other module that imports functions.
        if table.is_none() && start.is_none() {
            return None;
        }
        Some(Fixup {
            slots: slots
                .unwrap_or_default()
                .into_iter()
                .map(name)
                .collect::<Option<_>>()?,
            table,
            start: match start {
                Some(index) => Some(name(index)?),
                None => None,
            },
        })
    }
}

/// The functions that fill the table from its beginning.
fn filled(kind: ElementKind<'_>, items: ElementItems<'_>) -> Option<Vec<u32>> {
    match kind {
        ElementKind::Active {
            table_index: None | Some(0),
            offset_expr,
        } if is_zero(&offset_expr) => {}
        _ => return None,
    }
    match items {
        ElementItems::Functions(functions) => functions.into_iter().collect::<Result<_, _>>().ok(),
        ElementItems::Expressions(..) => None,
    }
}

fn is_zero(offset: &ConstExpr<'_>) -> bool {
    let mut operators = offset.get_operators_reader();
    matches!(operators.read(), Ok(Operator::I32Const { value: 0 }))
        && matches!(operators.read(), Ok(Operator::End))
}
