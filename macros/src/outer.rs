//! The function that callers see, around the one that was written.

use crate::function::Argument;
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{FnArg, Ident, ItemFn, Pat, Type};

/// The name of the function that was written, within the one that callers see.
///
/// The written function sees this name, because items have no hygiene. So nothing else may be
/// called so.
pub fn body_name() -> Ident {
    Ident::new("__coeval_body", Span::mixed_site())
}

/// Returns the function that callers see: it has the written signature, perhaps with another type
/// of its first argument, and makes `call`, which may call the written function by `body_name`.
pub fn function(
    function: &ItemFn,
    arguments: &[Argument],
    first: Option<Type>,
    call: &TokenStream,
) -> TokenStream {
    let mut inner = function.clone();
    inner.sig.ident = body_name();
    inner.vis = syn::Visibility::Inherited;
    inner.attrs.retain(|attribute| {
        ["allow", "expect", "cfg", "warn", "deny"]
            .iter()
            .any(|kept| attribute.path().is_ident(kept))
    });
    let mut outer = function.clone();
    for (input, argument) in outer.sig.inputs.iter_mut().zip(arguments) {
        if let FnArg::Typed(input) = input {
            let name = &argument.name;
            *input.pat = Pat::Verbatim(quote!(#name));
        }
    }
    if let (Some(FnArg::Typed(input)), Some(first)) = (outer.sig.inputs.first_mut(), first) {
        *input.ty = first;
    }
    let (attributes, visibility, signature) = (&outer.attrs, &outer.vis, &outer.sig);
    quote! {
        #(#attributes)*
        #visibility #signature {
            #inner
            #call
        }
    }
}
