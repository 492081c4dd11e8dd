//! `#[cached]`: what a function returned is looked up before the function runs.

use crate::function::{self, Argument};
use crate::key::{self, Key};
use crate::options::Options;
use crate::outer;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, Ident, ItemFn, Result, Type};

pub fn expand(options: Options, function: &ItemFn) -> Result<TokenStream> {
    let arguments = function::arguments(function, "cached")?;
    let output = function::output(&function.sig);
    let success = function::success(&output);
    let key = match &options.key {
        Some(expression) => key::of_expression(expression, &arguments)?,
        None => key::of_arguments(&arguments)?,
    };
    let (cache, item) = match &options.cache {
        Some(cache) => (quote!(#cache), None),
        None => {
            let name = static_name(&options, function);
            let item = static_cache(&options, &name, function, &key, success.unwrap_or(&output))?;
            (quote!(#name), Some(item))
        }
    };
    let call = call(&options, function, &arguments, &key, success.is_some(), &cache);
    let outer = outer::function(function, &arguments, None, &call);
    Ok(quote! { #item #outer })
}

fn static_name(options: &Options, function: &ItemFn) -> Ident {
    let name = &function.sig.ident;
    let of_function = || Ident::new(&name.unraw().to_string().to_uppercase(), name.span());
    options.name.clone().unwrap_or_else(of_function)
}

/// The cache of a function.
fn static_cache(
    options: &Options,
    name: &Ident,
    function: &ItemFn,
    key: &Key,
    value: &Type,
) -> Result<TokenStream> {
    let Some(key_type) = options.key_type.as_ref().or(key.ty.as_ref()) else {
        let span = options.key.as_ref().map_or_else(Span::call_site, Spanned::span);
        let message = "the type of this key is not evident: name it by `key_type = ..`";
        return Err(Error::new(span, message));
    };
    let (krate, visibility) = (&options.krate, &function.vis);
    let builder = match &options.builder {
        Some(builder) => quote!(#builder),
        None => quote!(#krate::Cache::builder()),
    };
    let settings = [
        ("max_capacity", &options.max_capacity),
        ("time_to_live", &options.time_to_live),
        ("time_to_idle", &options.time_to_idle),
        ("refresh_after", &options.refresh_after),
    ];
    let settings = settings.into_iter().filter_map(|(setting, value)| {
        let (setting, value) = (format_ident!("{setting}"), value.as_ref()?);
        Some(quote!(.#setting(#value)))
    });
    let text = name.to_string();
    let doc = format!("What [`{}`] has returned. Made at its first call.", function.sig.ident);
    Ok(quote! {
        #[doc = #doc]
        #visibility static #name: ::std::sync::LazyLock<#krate::Cache<#key_type, #value>> =
            ::std::sync::LazyLock::new(|| #builder.name(#text)#(#settings)*.build());
    })
}

/// The look-up, with the function as its loader.
fn call(
    options: &Options,
    function: &ItemFn,
    arguments: &[Argument],
    key: &Key,
    is_result: bool,
    cache: &TokenStream,
) -> TokenStream {
    let krate = &options.krate;
    let body = outer::body_name();
    let names = arguments.iter().map(|argument| &argument.name);
    let run = quote!(#body(#(#names),*));
    let is_async = function.sig.asyncness.is_some();
    let wait = is_async.then(|| quote!(.await));
    let load = match terms(options) {
        Some(terms) => {
            let tags = options.tags.iter();
            let run = if is_result {
                quote!(#run #wait)
            } else {
                quote!(::core::result::Result::<_, ::core::convert::Infallible>::Ok(#run #wait))
            };
            // Without tags of its own, a value keeps those of the value that it replaces.
            let tags =
                (!options.tags.is_empty()).then(|| quote!(.tags([#(#krate::Tag::new(#tags)),*])));
            // A name that no argument has.
            let name = Ident::new("terms", Span::mixed_site());
            quote!({
                let #name = #krate::Loaded::new(())#terms #tags;
                #run.map(move |value| #name.map(|()| value))
            })
        }
        None => run.clone(),
    };
    let has_terms = terms(options).is_some();
    let loader = match (is_async, has_terms) {
        (true, true) => quote!(async move #load),
        (true, false) => load,
        (false, _) => quote!(move || #load),
    };
    let by_reference = key.borrowed.as_ref().filter(|_| !is_async && !has_terms);
    let mut method = match (has_terms, is_result) {
        (true, _) => "load_with_terms",
        (false, true) => "load",
        (false, false) => "get_with",
    }
    .to_string();
    method.push_str(if is_async { "_async" } else { "" });
    method.push_str(if by_reference.is_some() { "_ref" } else { "" });
    let (method, value) = (format_ident!("{method}"), &key.value);
    let key = by_reference.map_or_else(|| quote!(#value), |name| quote!(#name));
    let cycle = format!("`{}` needs its own value to compute it", function.sig.ident);
    let loaded = quote!(#cache.#method(#key, #loader)#wait);
    match (is_result, has_terms) {
        (false, false) => loaded,
        (false, true) => quote! {
            match #loaded {
                ::core::result::Result::Ok(value) => value,
                ::core::result::Result::Err(#krate::LoadError::Failed(error)) => match error {},
                ::core::result::Result::Err(_) => ::core::panic!(#cycle),
            }
        },
        (true, _) => quote! {
            match #loaded {
                ::core::result::Result::Ok(value) => ::core::result::Result::Ok(value),
                ::core::result::Result::Err(#krate::LoadError::Failed(error)) => {
                    ::core::result::Result::Err(error)
                }
                ::core::result::Result::Err(_) => ::core::panic!(#cycle),
            }
        },
    }
}

/// The terms of each value, if there are any: tags, and the times in a cache of the user's own.
fn terms(options: &Options) -> Option<TokenStream> {
    let is_own = options.cache.is_some();
    let ttl = options.time_to_live.as_ref().filter(|_| is_own).map(|time| quote!(.ttl(#time)));
    let idle = options.time_to_idle.as_ref().filter(|_| is_own).map(|time| quote!(.idle(#time)));
    let has_terms = ttl.is_some() || idle.is_some() || !options.tags.is_empty();
    has_terms.then(|| quote!(#ttl #idle))
}
