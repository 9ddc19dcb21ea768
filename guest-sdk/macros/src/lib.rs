//! The attribute macro of `patchbay-sdk`.

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote};
use syn::{Error, ImplItem, ItemImpl, Type, parse_macro_input};

/// The hooks of the trait `Policy`.
const HOOKS: [&str; 6] = [
    "init",
    "request_route",
    "branch_route",
    "onreply_route",
    "failure_route",
    "event_route",
];

/// Exports the hooks written in an `impl Policy for ...` from the component.
///
/// Put it once in a crate on the implementation. Hooks that are not written in it are not exported, so the router never calls
/// them. When the crate is compiled for the machine itself, as for tests, it exports nothing.
///
/// ```text
/// #[derive(Default)]
/// struct Routing;
///
/// #[patchbay_sdk::policy]
/// impl Policy for Routing {
///     fn request_route(&self, request: &mut Request) -> Result<Verdict> {
///         Ok(relay(location::lookup(request.uri())?))
///     }
/// }
/// ```
#[proc_macro_attribute]
pub fn policy(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let implementation = parse_macro_input!(item as ItemImpl);
    let arguments = Tokens::from(arguments);
    let export = if arguments.is_empty() {
        export(&implementation)
    } else {
        Err(Error::new_spanned(arguments, "takes no arguments"))
    };
    let export = export.unwrap_or_else(|error| error.into_compile_error());
    quote! { #implementation #export }.into()
}

/// The code that exports the written hooks.
fn export(implementation: &ItemImpl) -> Result<Tokens, Error> {
    check_trait(implementation)?;
    if !implementation.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &implementation.generics,
            "a policy can't be generic",
        ));
    }
    let policy: &Type = &implementation.self_ty;
    let hooks = written_hooks(implementation);
    if hooks.is_empty() {
        return Err(Error::new_spanned(
            policy,
            "a policy without any hook does nothing: write at least request_route",
        ));
    }
    let exports = hooks.iter().map(|hook| {
        let bindings = format_ident!("{hook}");
        let export = format_ident!("__export_{hook}");
        quote! { ::patchbay_sdk::bindings::#bindings::#export!(Exported); }
    });
    Ok(quote! {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the exported functions of a component")]
        const _: () = {
            ::std::thread_local! {
                static POLICY: ::core::cell::OnceCell<#policy> = const { ::core::cell::OnceCell::new() };
            }

            impl ::patchbay_sdk::export::Instance for #policy {
                fn with<T>(with: impl ::core::ops::FnOnce(&Self) -> T) -> T {
                    POLICY.with(|policy| with(policy.get_or_init(::patchbay_sdk::export::new)))
                }

                fn keep(policy: Self) {
                    // An instance is initialised once, before its first hook; a second object would change nothing.
                    let _: ::core::result::Result<(), Self> = POLICY.with(|kept| kept.set(policy));
                }
            }

            type Exported = ::patchbay_sdk::export::Exported<#policy>;
            #(#exports)*
        };
    })
}

fn check_trait(implementation: &ItemImpl) -> Result<(), Error> {
    let last = implementation
        .trait_
        .as_ref()
        .and_then(|(_, path, _)| path.segments.last());
    match last {
        Some(name) if name.ident == "Policy" => Ok(()),
        _ => Err(Error::new_spanned(
            &implementation.self_ty,
            "goes on an `impl Policy for ...`",
        )),
    }
}

/// The hooks that the implementation has.
fn written_hooks(implementation: &ItemImpl) -> Vec<&'static str> {
    let functions = implementation.items.iter().filter_map(|item| match item {
        ImplItem::Fn(function) => Some(&function.sig.ident),
        _ => None,
    });
    functions
        .filter_map(|name| HOOKS.into_iter().find(|hook| name == hook))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported(source: &str) -> Result<String, Error> {
        export(&syn::parse_str(source).unwrap()).map(|tokens| tokens.to_string())
    }

    #[test]
    fn only_written_hooks_are_exported() {
        let tokens =
            exported("impl Policy for X { fn request_route(&self) {} fn init(&mut self) {} }")
                .unwrap();
        assert!(
            tokens.contains("__export_request_route") && tokens.contains("__export_init"),
            "{tokens}"
        );
        assert!(!tokens.contains("__export_failure_route"), "{tokens}");
    }

    #[test]
    fn another_trait_and_an_empty_policy_are_errors() {
        exported("impl Clone for X { fn request_route(&self) {} }").unwrap_err();
        exported("impl X { fn request_route(&self) {} }").unwrap_err();
        exported("impl Policy for X {}").unwrap_err();
    }
}
