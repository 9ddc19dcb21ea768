//! Which components can run directly: the shape that `wit-component` gives to a core module.
//!
//! That is one core module with everything in it, which imports functions of the host and nothing else; beside it perhaps a pair of
//! modules that break a circle: a *shim* whose functions call through a table, and a *fix-up* that fills the table once the main module's
//! memory is there. Everything is followed to its end here, so that a component that looks alike but is wired in another way is none.

use std::collections::HashMap;
use std::ops::Range;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentTypeRef, ExternalKind, Instance, Parser, Payload,
};

use super::module::{Fixup, Imported, Main, Shim};
use crate::host::Hook;
use crate::world::{PACKAGE, VERSION};

/// How the main module of a component is tied to the outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Where its bytes are in the component.
    pub(super) module: Range<usize>,
    /// How many core modules the component has.
    pub(super) modules: u32,
    /// The functions of the host behind its imports, in their order.
    pub(super) imports: Vec<HostFunction>,
    pub(super) memory: Option<String>,
    pub(super) realloc: Option<String>,
    /// Runs once after everything is wired.
    pub(super) initialize: Option<String>,
    pub(super) init: Option<Lifted>,
    pub(super) hooks: [Option<Lifted>; 5],
}

/// A function of an interface that the component imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostFunction {
    pub(super) interface: String,
    pub(super) name: String,
}

/// A function of the main module that the component exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lifted {
    pub(super) function: String,
    pub(super) post_return: Option<String>,
}

impl Shape {
    /// The shape of these bytes, when they are a component of a known one. Whether they are valid is not asked.
    pub(crate) fn of(bytes: &[u8]) -> Option<Shape> {
        Wiring::read(bytes)?.shape(bytes)
    }
}

/// The index spaces of a component.
#[derive(Default)]
struct Wiring<'a> {
    modules: Vec<Range<usize>>,
    components: Vec<Range<usize>>,
    instances: Vec<OuterInstance<'a>>,
    functions: Vec<OuterFunction<'a>>,
    core_instances: Vec<Instance<'a>>,
    core_functions: Vec<CoreFunction<'a>>,
    core_memories: Vec<Export<'a>>,
    core_tables: Vec<Export<'a>>,
    exports: Vec<(&'a str, u32)>,
}

#[derive(Clone)]
enum OuterInstance<'a> {
    Import(&'a str),
    /// Of a component inside, with its arguments.
    Inner(u32, HashMap<&'a str, u32>),
}

#[derive(Clone)]
enum OuterFunction<'a> {
    Import {
        interface: &'a str,
        name: &'a str,
    },
    Lifted {
        function: u32,
        options: Box<[CanonicalOption]>,
    },
}

enum CoreFunction<'a> {
    Export(Export<'a>),
    Lowered {
        function: u32,
        options: Box<[CanonicalOption]>,
    },
}

/// What stands behind an import of a core module.
enum Found<'a> {
    /// A core function of the component, by its index.
    Function(u32),
    Export(Export<'a>),
}

/// What a core instance exports.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Export<'a> {
    instance: u32,
    name: &'a str,
}

impl<'a> Wiring<'a> {
    fn read(bytes: &'a [u8]) -> Option<Wiring<'a>> {
        let mut wiring = Wiring::default();
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.ok()?;
            match &payload {
                Payload::End(_) if depth > 0 => depth -= 1,
                Payload::ModuleSection {
                    unchecked_range, ..
                }
                | Payload::ComponentSection {
                    unchecked_range, ..
                } => {
                    if depth == 0 {
                        let range = range(unchecked_range)?;
                        match payload {
                            Payload::ModuleSection { .. } => wiring.modules.push(range),
                            _ => wiring.components.push(range),
                        }
                    }
                    depth += 1;
                }
                _ if depth > 0 => {}
                _ => wiring.section(payload)?,
            }
        }
        Some(wiring)
    }

    fn section(&mut self, payload: Payload<'a>) -> Option<()> {
        match payload {
            Payload::Version { .. }
            | Payload::End(_)
            | Payload::CustomSection(_)
            | Payload::CoreTypeSection(_)
            | Payload::ComponentTypeSection(_) => {}
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    let import = import.ok()?;
                    match import.ty {
                        ComponentTypeRef::Instance(_) => {
                            self.instances.push(OuterInstance::Import(import.name.name))
                        }
                        _ => return None,
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    self.alias(alias.ok()?)?;
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions {
                    self.canonical(function.ok()?)?;
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    self.core_instances.push(instance.ok()?);
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    self.inner(instance.ok()?)?;
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export.ok()?;
                    if export.kind != ComponentExternalKind::Instance {
                        return None;
                    }
                    self.exports.push((export.name.name, export.index));
                    // An export is an instance of its own.
                    let exported = self.instances.get(export.index as usize)?.clone();
                    self.instances.push(exported);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn alias(&mut self, alias: ComponentAlias<'a>) -> Option<()> {
        match alias {
            ComponentAlias::InstanceExport {
                kind,
                instance_index,
                name,
            } => match (kind, self.instances.get(instance_index as usize)?) {
                (ComponentExternalKind::Type, _) => {}
                (ComponentExternalKind::Func, OuterInstance::Import(interface)) => {
                    self.functions
                        .push(OuterFunction::Import { interface, name });
                }
                _ => return None,
            },
            ComponentAlias::CoreInstanceExport {
                kind,
                instance_index: instance,
                name,
            } => {
                let export = Export { instance, name };
                match kind {
                    ExternalKind::Func => self.core_functions.push(CoreFunction::Export(export)),
                    ExternalKind::Memory => self.core_memories.push(export),
                    ExternalKind::Table => self.core_tables.push(export),
                    _ => return None,
                }
            }
            ComponentAlias::Outer { .. } => return None,
        }
        Some(())
    }

    fn canonical(&mut self, function: CanonicalFunction) -> Option<()> {
        match function {
            CanonicalFunction::Lift {
                core_func_index,
                options,
                ..
            } => self.functions.push(OuterFunction::Lifted {
                function: core_func_index,
                options,
            }),
            CanonicalFunction::Lower {
                func_index,
                options,
            } => self.core_functions.push(CoreFunction::Lowered {
                function: func_index,
                options,
            }),
            _ => return None,
        }
        Some(())
    }

    fn inner(&mut self, instance: ComponentInstance<'a>) -> Option<()> {
        let ComponentInstance::Instantiate {
            component_index,
            args,
        } = instance
        else {
            return None;
        };
        let mut functions = HashMap::new();
        for argument in args {
            match argument.kind {
                ComponentExternalKind::Func => {
                    functions.insert(argument.name, argument.index);
                }
                ComponentExternalKind::Type => {}
                _ => return None,
            }
        }
        self.instances
            .push(OuterInstance::Inner(component_index, functions));
        Some(())
    }

    fn shape(&self, bytes: &[u8]) -> Option<Shape> {
        let parts = Parts::find(self, bytes)?;
        let mut shape = Shape {
            module: self.modules.get(parts.main_module as usize)?.clone(),
            modules: u32::try_from(self.modules.len()).ok()?,
            imports: Vec::new(),
            memory: None,
            realloc: None,
            initialize: None,
            init: None,
            hooks: [const { None }; 5],
        };
        for import in &parts.main.imports {
            let function = match self.imported(&parts.main_arguments, import)? {
                Found::Function(function) => self.lowered(&parts, function, &mut shape)?,
                Found::Export(export) => self.through_shim(&parts, export, &mut shape)?,
            };
            shape.imports.push(function);
        }
        if let Some(start) = parts.fixup.as_ref().and_then(|fixup| fixup.start.as_ref()) {
            let export = match self.imported(&parts.fixup_arguments, start)? {
                Found::Function(function) => self.export(function)?,
                Found::Export(export) => export,
            };
            shape.initialize = Some(parts.of_main(export)?);
        }
        self.add_exports(&parts, bytes, &mut shape)?;
        Some(shape)
    }

    /// What a core module gets for an import, by the arguments of its instance.
    fn imported<'b>(
        &self,
        arguments: &HashMap<&str, u32>,
        (module, name): &'b Imported,
    ) -> Option<Found<'b>> {
        let instance = *arguments.get(module.as_str())?;
        match self.core_instances.get(instance as usize)? {
            Instance::FromExports(exports) => exports
                .iter()
                .find(|export| export.name == name && export.kind == ExternalKind::Func)
                .map(|export| Found::Function(export.index)),
            Instance::Instantiate { .. } => Some(Found::Export(Export { instance, name })),
        }
    }

    fn lowered(&self, parts: &Parts<'_>, function: u32, shape: &mut Shape) -> Option<HostFunction> {
        match self.core_functions.get(function as usize)? {
            CoreFunction::Export(export) => self.through_shim(parts, *export, shape),
            CoreFunction::Lowered { function, options } => {
                let post_return = self.options(parts, options, shape)?;
                match self.functions.get(*function as usize)? {
                    OuterFunction::Import { interface, name } if post_return.is_none() => {
                        Some(HostFunction {
                            interface: (*interface).to_owned(),
                            name: (*name).to_owned(),
                        })
                    }
                    _ => None,
                }
            }
        }
    }

    /// What the fix-up put into the table where the shim's function of this name looks.
    fn through_shim(
        &self,
        parts: &Parts<'_>,
        export: Export<'_>,
        shape: &mut Shape,
    ) -> Option<HostFunction> {
        if Some(export.instance) != parts.shim_instance {
            return None;
        }
        let slot = *parts.shim.as_ref()?.slots.get(export.name)?;
        let import = parts.fixup.as_ref()?.slots.get(slot as usize)?;
        let Found::Function(function) = self.imported(&parts.fixup_arguments, import)? else {
            return None;
        };
        match self.core_functions.get(function as usize)? {
            CoreFunction::Lowered { .. } => self.lowered(parts, function, shape),
            CoreFunction::Export(_) => None,
        }
    }

    fn export(&self, function: u32) -> Option<Export<'a>> {
        match self.core_functions.get(function as usize)? {
            CoreFunction::Export(export) => Some(*export),
            CoreFunction::Lowered { .. } => None,
        }
    }

    /// Notes memory and allocator, of which there is one each, and returns what runs after a result was read.
    fn options(
        &self,
        parts: &Parts<'_>,
        options: &[CanonicalOption],
        shape: &mut Shape,
    ) -> Option<Option<String>> {
        let mut post_return = None;
        for option in options {
            match *option {
                CanonicalOption::UTF8 => {}
                CanonicalOption::Memory(index) => {
                    let memory = *self.core_memories.get(index as usize)?;
                    agree(&mut shape.memory, parts.of_main(memory)?)?;
                }
                CanonicalOption::Realloc(index) => {
                    agree(&mut shape.realloc, parts.of_main(self.export(index)?)?)?;
                }
                CanonicalOption::PostReturn(index) => {
                    post_return = Some(parts.of_main(self.export(index)?)?);
                }
                _ => return None,
            }
        }
        Some(post_return)
    }

    fn add_exports(&self, parts: &Parts<'_>, bytes: &[u8], shape: &mut Shape) -> Option<()> {
        for (name, instance) in &self.exports {
            let Some(name) = name
                .strip_prefix(PACKAGE)
                .and_then(|rest| rest.strip_suffix(VERSION))
            else {
                continue;
            };
            let hook = Hook::ALL.into_iter().find(|hook| hook.name() == name);
            if hook.is_none() && name != "init" {
                continue;
            }
            let lifted = self.lifted(parts, bytes, *instance, name, shape)?;
            match hook {
                Some(hook) => *shape.hooks.get_mut(hook.index())? = Some(lifted),
                None => shape.init = Some(lifted),
            }
        }
        shape.hooks.iter().any(Option::is_some).then_some(())
    }

    /// The function of the main module behind a function of an exported interface, which is a component inside that hands it on.
    fn lifted(
        &self,
        parts: &Parts<'_>,
        bytes: &[u8],
        instance: u32,
        name: &str,
        shape: &mut Shape,
    ) -> Option<Lifted> {
        let OuterInstance::Inner(component, arguments) = self.instances.get(instance as usize)?
        else {
            return None;
        };
        let inner = bytes.get(self.components.get(*component as usize)?.clone())?;
        let function = *arguments.get(handed_on(inner, name)?)?;
        let OuterFunction::Lifted { function, options } = self.functions.get(function as usize)?
        else {
            return None;
        };
        let post_return = self.options(parts, options, shape)?;
        // `event-route` returns nothing, after which nothing would have to be freed.
        if post_return.is_some() && name == Hook::EventRoute.name() {
            return None;
        }
        Some(Lifted {
            function: parts.of_main(self.export(*function)?)?,
            post_return,
        })
    }
}

/// The import that a component exports under this name; it does nothing else.
fn handed_on<'a>(component: &'a [u8], name: &str) -> Option<&'a str> {
    let mut functions = Vec::new();
    let mut found = None;
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            Payload::Version { .. }
            | Payload::End(_)
            | Payload::CustomSection(_)
            | Payload::ComponentTypeSection(_)
            | Payload::CoreTypeSection(_) => {}
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    let import = import.ok()?;
                    match import.ty {
                        ComponentTypeRef::Func(_) => functions.push(import.name.name),
                        ComponentTypeRef::Type(_) => {}
                        _ => return None,
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export.ok()?;
                    match export.kind {
                        ComponentExternalKind::Func => {
                            let function = *functions.get(export.index as usize)?;
                            functions.push(function);
                            if export.name.name == name {
                                found = Some(function);
                            }
                        }
                        ComponentExternalKind::Type => {}
                        _ => return None,
                    }
                }
            }
            _ => return None,
        }
    }
    found
}

/// The three core modules, and how they are instantiated.
struct Parts<'a> {
    main: Main,
    main_module: u32,
    main_instance: u32,
    main_arguments: HashMap<&'a str, u32>,
    shim: Option<Shim>,
    shim_instance: Option<u32>,
    fixup: Option<Fixup>,
    fixup_arguments: HashMap<&'a str, u32>,
}

impl<'a> Parts<'a> {
    /// Which module is which: the shim has no imports, the fix-up imports what the shim's table is to hold, and what is left is main.
    fn find(wiring: &Wiring<'a>, bytes: &[u8]) -> Option<Parts<'a>> {
        let (mut main, mut shim, mut fixup) = (None, None, None);
        for (index, instance) in wiring.core_instances.iter().enumerate() {
            let Instance::Instantiate { module_index, args } = instance else {
                continue;
            };
            let index = u32::try_from(index).ok()?;
            let module = bytes.get(wiring.modules.get(*module_index as usize)?.clone())?;
            let arguments: HashMap<&str, u32> =
                args.iter().map(|arg| (arg.name, arg.index)).collect();
            if let Some(found) = Shim::read(module) {
                if shim.replace((found, index)).is_some() {
                    return None;
                }
            } else if let Some(found) = Fixup::read(module) {
                if fixup.replace((found, arguments)).is_some() {
                    return None;
                }
            } else {
                let found = (Main::read(module)?, *module_index, index, arguments);
                if main.replace(found).is_some() {
                    return None;
                }
            }
        }
        let (main, main_module, main_instance, main_arguments) = main?;
        let (shim, shim_instance) = shim.unzip();
        let (fixup, fixup_arguments) = fixup.unzip();
        let parts = Parts {
            main,
            main_module,
            main_instance,
            main_arguments,
            shim,
            shim_instance,
            fixup,
            fixup_arguments: fixup_arguments.unwrap_or_default(),
        };
        parts.has_one_table(wiring)?;
        Some(parts)
    }

    /// The table that the fix-up fills is the shim's.
    fn has_one_table(&self, wiring: &Wiring<'_>) -> Option<()> {
        let Some(table) = self.fixup.as_ref().and_then(|fixup| fixup.table.as_ref()) else {
            return self.shim.is_none().then_some(());
        };
        let (module, name) = table;
        let instance = *self.fixup_arguments.get(module.as_str())?;
        let table = match wiring.core_instances.get(instance as usize)? {
            Instance::FromExports(exports) => {
                let table = exports
                    .iter()
                    .find(|export| export.name == name && export.kind == ExternalKind::Table)?;
                *wiring.core_tables.get(table.index as usize)?
            }
            Instance::Instantiate { .. } => Export { instance, name },
        };
        let is_shims = Some(table.instance) == self.shim_instance
            && table.name == self.shim.as_ref()?.table.as_str();
        is_shims.then_some(())
    }

    /// The name of an export of the main module.
    fn of_main(&self, export: Export<'_>) -> Option<String> {
        (export.instance == self.main_instance).then(|| export.name.to_owned())
    }
}

/// Sets what is the same everywhere.
fn agree(known: &mut Option<String>, name: String) -> Option<()> {
    match known {
        Some(known) if *known != name => None,
        _ => {
            *known = Some(name);
            Some(())
        }
    }
}

fn range(range: &Range<u64>) -> Option<Range<usize>> {
    Some(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}
