//! The key of a call: its value and, for a cache that the attribute makes, its type.

use crate::function::{Argument, borrow_in};
use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Result, Type, TypeReference, parse_quote};

/// A key.
pub struct Key {
    pub value: TokenStream,
    /// None if it is not evident.
    pub ty: Option<Type>,
    /// The argument that is a borrowed form of the key, if that is all it is made of.
    pub borrowed: Option<Ident>,
}

/// Returns the key that consists of all arguments.
pub fn of_arguments(arguments: &[Argument]) -> Result<Key> {
    match arguments {
        [argument] => of_argument(argument),
        _ => {
            let keys = arguments.iter().map(of_argument).collect::<Result<Vec<_>>>()?;
            let (values, types) =
                (keys.iter().map(|key| &key.value), keys.iter().map(|key| &key.ty));
            Ok(Key {
                value: quote!((#(#values,)*)),
                ty: Some(parse_quote!((#(#types,)*))),
                borrowed: None,
            })
        }
    }
}

fn of_argument(Argument { name, ty }: &Argument) -> Result<Key> {
    let (kept, is_borrowed) = match ty {
        Type::Reference(TypeReference { mutability: Some(token), .. }) => {
            let message =
                "a value that is lent to be changed is no key: name the key by `key = ..`";
            return Err(Error::new(token.span(), message));
        }
        Type::Reference(TypeReference { elem, .. }) => (&**elem, true),
        _ => (ty, false),
    };
    if let Some(span) = borrow_in(kept) {
        let message = "the cache keeps the key, so it can borrow nothing: name the key by \
                       `key = ..` and `key_type = ..`";
        return Err(Error::new(span, message));
    }
    Ok(if is_borrowed {
        Key {
            value: quote!(::std::borrow::ToOwned::to_owned(#name)),
            ty: Some(parse_quote!(<#kept as ::std::borrow::ToOwned>::Owned)),
            borrowed: Some(name.clone()),
        }
    } else {
        Key {
            value: quote!(::core::clone::Clone::clone(&#name)),
            ty: Some(kept.clone()),
            borrowed: None,
        }
    })
}

/// Returns the key that an expression makes.
pub fn of_expression(expression: &Expr, arguments: &[Argument]) -> Result<Key> {
    let named = |name: &Ident| arguments.iter().find(|argument| argument.name == *name);
    match expression {
        Expr::Path(path) => {
            if let Some(argument) = path.path.get_ident().and_then(named) {
                return of_argument(argument);
            }
        }
        Expr::Tuple(tuple) => {
            let keys = tuple.elems.iter().map(|part| of_expression(part, arguments));
            let keys = keys.collect::<Result<Vec<_>>>()?;
            let values = keys.iter().map(|key| &key.value);
            let types: Option<Vec<_>> = keys.iter().map(|key| key.ty.as_ref()).collect();
            return Ok(Key {
                value: quote!((#(#values,)*)),
                ty: types.map(|types| parse_quote!((#(#types,)*))),
                borrowed: None,
            });
        }
        Expr::Paren(inner) => return of_expression(&inner.expr, arguments),
        _ => {}
    }
    let ty = is_text(expression).then(|| parse_quote!(::std::string::String));
    Ok(Key { value: quote!(#expression), ty, borrowed: None })
}

/// Returns whether an expression plainly makes a `String`.
fn is_text(expression: &Expr) -> bool {
    match expression {
        Expr::Macro(call) => call.mac.path.is_ident("format"),
        Expr::MethodCall(call) => call.method == "to_string" && call.args.is_empty(),
        _ => false,
    }
}
