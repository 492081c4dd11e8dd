//! `#[derived]`: what a function returns depends on what it read through its scope.

use crate::function::{self, Argument};
use crate::key;
use crate::options::Options;
use crate::{outer, reborrow};
use proc_macro2::TokenStream;
use quote::quote;
use syn::parse_quote;
use syn::spanned::Spanned;
use syn::{
    Error, FnArg, GenericArgument, Ident, ItemFn, PathArguments, Result, Type, TypeReference,
};

pub fn expand(options: Options, function: &ItemFn) -> Result<TokenStream> {
    let arguments = function::arguments(function, "derived")?;
    let Some((scope, others)) = arguments.split_first() else {
        return Err(no_scope(function.sig.paren_token.span.join()));
    };
    let types = scope_types(&scope.ty)?;
    let key = match &options.key {
        Some(expression) => key::of_expression(expression, others)?,
        None if others.is_empty() => {
            let message = "without further arguments, the key must be named: `key = ..`";
            return Err(Error::new(function.sig.paren_token.span.join(), message));
        }
        None => key::of_arguments(others)?,
    };
    let krate = &options.krate;
    let call = call(krate, function, &scope.name, others, &key.value);
    let first: Type = parse_quote!(impl #krate::Deriver<#(#types),*>);
    let mut written = function.clone();
    name_lifetime(&mut written);
    reborrow::arguments(&mut written.block, &scope.name);
    Ok(outer::function(&written, &arguments, Some(first), &call))
}

fn call(
    krate: &syn::Path,
    function: &ItemFn,
    scope: &Ident,
    others: &[Argument],
    key: &TokenStream,
) -> TokenStream {
    let body = outer::body_name();
    let names = others.iter().map(|argument| &argument.name);
    let run = quote!(#body(#scope, #(#names),*));
    if function.sig.asyncness.is_some() {
        let compute = quote!(async move |#scope: &mut _| #run.await);
        quote!(#krate::Deriver::derive_async(#scope, #key, #compute).await)
    } else {
        quote!(#krate::Deriver::derive(#scope, #key, move |#scope: &mut _| #run))
    }
}

/// Writes the lifetime of a scope, without which an async function does not compile.
fn name_lifetime(function: &mut ItemFn) {
    let Some(FnArg::Typed(scope)) = function.sig.inputs.first_mut() else { return };
    let Type::Reference(reference) = &mut *scope.ty else { return };
    let Type::Path(path) = &mut *reference.elem else { return };
    let last = path.path.segments.last_mut().map(|last| &mut last.arguments);
    let Some(PathArguments::AngleBracketed(arguments)) = last else { return };
    if !matches!(arguments.args.first(), Some(GenericArgument::Lifetime(_))) {
        arguments.args.insert(0, parse_quote!('_));
    }
}

/// Returns the types of a `&mut Scope<..>`: of the key, of the value, and others that are written.
fn scope_types(ty: &Type) -> Result<Vec<Type>> {
    let Type::Reference(TypeReference { mutability: Some(_), elem, .. }) = ty else {
        return Err(no_scope(ty.span()));
    };
    let Type::Path(path) = &**elem else { return Err(no_scope(ty.span())) };
    let last = path.path.segments.last().expect("a path has a segment");
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return Err(no_scope(ty.span()));
    };
    let types: Vec<Type> = arguments
        .args
        .iter()
        .filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty.clone()),
            _ => None,
        })
        .collect();
    if last.ident != "Scope" || types.len() < 2 { Err(no_scope(ty.span())) } else { Ok(types) }
}

fn no_scope(span: proc_macro2::Span) -> Error {
    let message = "the first argument of a derived function is `scope: &mut Scope<Key, Value>`, \
                   through which it reads";
    Error::new(span, message)
}
