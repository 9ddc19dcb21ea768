//! What the functions of the router take and what hooks return, for languages whose bindings do not check it.
//!
//! Their glue traps on a value of another type, without a word and where no handler of the policy gets hold of it. So the build puts checks
//! before the calls and behind the hooks.

use wit_parser::{Interface, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldItem, WorldKey};

use crate::manifest::Manifest;
use crate::{BuildError, component, wit_files};

/// A type, as far as a check needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Text,
    Truth,
    /// A whole number: at least, and below.
    Whole(i128, i128),
    Bytes,
    Optional(Box<Shape>),
    List(Box<Shape>),
    Tuple(Vec<Shape>),
    Record(Named, Vec<(String, Shape)>),
    /// One of these names.
    Enumeration(Named, Vec<String>),
    /// Any of these names.
    Flags(Named, Vec<String>),
    /// One of these names, some with a value.
    Variant(Named, Vec<(String, Option<Shape>)>),
}

/// The name of a type and the interface that defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) interface: String,
    pub(crate) name: String,
}

/// A function that a policy may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) parameters: Vec<(String, Shape)>,
}

/// The functions of an interface.
pub(crate) type Functions = (String, Vec<Function>);

/// The interfaces that a policy of this manifest imports from our package, with their functions.
pub(crate) fn imports(manifest: &Manifest) -> Result<Vec<Functions>, BuildError> {
    let (resolve, world) = component::world(manifest)?;
    let interfaces = interfaces(
        &resolve,
        resolve.worlds.get(world).map(|world| &world.imports),
    );
    let functions = interfaces.map(|(interface, name)| {
        let functions = interface.functions.values();
        let functions =
            functions.filter(|function| !wit_files::leaves_out(&function.name, manifest));
        let functions = functions.map(|function| {
            let parameters = function.params.iter();
            let parameters = parameters
                .map(|parameter| Some((parameter.name.clone(), shape(&resolve, &parameter.ty)?)));
            Some(Function {
                name: function.name.clone(),
                parameters: parameters.collect::<Option<_>>()?,
            })
        });
        Some((name, functions.collect::<Option<_>>()?))
    });
    functions.collect::<Option<_>>().ok_or_else(unknown)
}

/// The hooks of a manifest that return something, each with what.
pub(crate) fn verdicts(manifest: &Manifest) -> Result<Vec<(String, Shape)>, BuildError> {
    let (resolve, world) = component::world(manifest)?;
    let interfaces = interfaces(
        &resolve,
        resolve.worlds.get(world).map(|world| &world.exports),
    );
    let results = interfaces.filter_map(|(interface, name)| {
        let result = interface.functions.get(&name)?.result?;
        // What `init` returns is an error, or nothing.
        (name != "init").then_some((name, result))
    });
    results
        .map(|(name, result)| Some((name, shape(&resolve, &result)?)))
        .collect::<Option<_>>()
        .ok_or_else(unknown)
}

/// The interfaces of our package among the items of a world, each with its name.
fn interfaces<'a>(
    resolve: &'a Resolve,
    items: Option<&'a wit_parser::IndexMap<WorldKey, WorldItem>>,
) -> impl Iterator<Item = (&'a Interface, String)> {
    let interfaces = items.into_iter().flat_map(|items| items.values());
    interfaces.filter_map(|item| {
        let WorldItem::Interface { id, .. } = item else {
            return None;
        };
        let interface = resolve.interfaces.get(*id)?;
        let package = resolve.packages.get(interface.package?)?;
        let is_ours = package.name.namespace == "patchbay" && package.name.name == "policy";
        is_ours.then_some((interface, interface.name.clone()?))
    })
}

fn unknown() -> BuildError {
    BuildError::Component {
        problem: "the interfaces have a type that no check knows".to_owned(),
    }
}

/// `None`: no interface of ours has such a type.
fn shape(resolve: &Resolve, of: &Type) -> Option<Shape> {
    let bits = |bits: u32| Shape::Whole(0, 1 << bits);
    let signed = |bits: u32| Shape::Whole(-(1 << (bits - 1)), 1 << (bits - 1));
    match of {
        Type::Bool => Some(Shape::Truth),
        Type::U8 => Some(bits(8)),
        Type::U16 => Some(bits(16)),
        Type::U32 => Some(bits(32)),
        Type::U64 => Some(bits(64)),
        Type::S8 => Some(signed(8)),
        Type::S16 => Some(signed(16)),
        Type::S32 => Some(signed(32)),
        Type::S64 => Some(signed(64)),
        Type::String => Some(Shape::Text),
        Type::Id(id) => defined(resolve, *id),
        Type::F32 | Type::F64 | Type::Char | Type::ErrorContext => None,
    }
}

fn defined(resolve: &Resolve, id: TypeId) -> Option<Shape> {
    let definition = resolve.types.get(id)?;
    let named = || {
        let TypeOwner::Interface(owner) = definition.owner else {
            return None;
        };
        Some(Named {
            interface: resolve.interfaces.get(owner)?.name.clone()?,
            name: definition.name.clone()?,
        })
    };
    Some(match &definition.kind {
        TypeDefKind::Type(other) => shape(resolve, other)?,
        TypeDefKind::List(Type::U8) => Shape::Bytes,
        TypeDefKind::List(element) => Shape::List(Box::new(shape(resolve, element)?)),
        TypeDefKind::Option(value) => Shape::Optional(Box::new(shape(resolve, value)?)),
        TypeDefKind::Tuple(tuple) => {
            let parts = tuple.types.iter().map(|part| shape(resolve, part));
            Shape::Tuple(parts.collect::<Option<_>>()?)
        }
        TypeDefKind::Record(record) => {
            let fields = record.fields.iter();
            let fields = fields.map(|field| Some((field.name.clone(), shape(resolve, &field.ty)?)));
            Shape::Record(named()?, fields.collect::<Option<_>>()?)
        }
        TypeDefKind::Enum(cases) => {
            let names = cases.cases.iter().map(|case| case.name.clone());
            Shape::Enumeration(named()?, names.collect())
        }
        TypeDefKind::Flags(flags) => {
            let names = flags.flags.iter().map(|flag| flag.name.clone());
            Shape::Flags(named()?, names.collect())
        }
        TypeDefKind::Variant(variant) => {
            let cases = variant.cases.iter().map(|case| {
                let value = match &case.ty {
                    Some(value) => Some(shape(resolve, value)?),
                    None => None,
                };
                Some((case.name.clone(), value))
            });
            Shape::Variant(named()?, cases.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> Manifest {
        let mut manifest = Manifest::of_hooks(&["init", "request-route", "event-route"]);
        manifest.imports = ["http", "keyvalue", "location"].map(str::to_owned).to_vec();
        manifest
    }

    #[test]
    fn every_function_of_the_world_has_a_shape() {
        let shapes = imports(&everything()).unwrap();
        for (interface, function) in component::functions().unwrap() {
            let (_, functions) = shapes.iter().find(|(name, _)| *name == interface).unwrap();
            assert!(
                functions.iter().any(|known| known.name == function),
                "{function}"
            );
        }
    }

    #[test]
    fn numbers_of_64_bits_are_parameters_and_nothing_inside() {
        let is_long = |shape: &Shape| matches!(shape, Shape::Whole(_, above) if *above > 1 << 32);
        for (_, functions) in imports(&everything()).unwrap() {
            let parameters = functions
                .into_iter()
                .flat_map(|function| function.parameters);
            for (name, shape) in parameters {
                let Shape::Record(_, fields) = shape else {
                    continue;
                };
                assert!(!fields.iter().any(|(_, field)| is_long(field)), "{name}");
            }
        }
    }

    #[test]
    fn the_verdict_of_request_route_is_known_and_events_have_none() {
        let verdicts = verdicts(&everything()).unwrap();
        let [(hook, Shape::Variant(named, cases))] = verdicts.as_slice() else {
            panic!("{verdicts:?}");
        };
        assert_eq!(
            (hook.as_str(), named.name.as_str()),
            ("request-route", "request-verdict")
        );
        assert!(matches!(&cases[1], (name, Some(Shape::Record(..))) if name == "reply"));
    }
}
