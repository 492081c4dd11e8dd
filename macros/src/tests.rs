//! What is refused, with which message, and where that points.

use super::{Options, cached, derived, expand};
use quote::ToTokens;
use syn::spanned::Spanned;

/// Returns the message, and the piece of the source that it points to.
fn refused(attribute: &str, options: &str, function: &str) -> (String, String) {
    let (options, parsed) = (options.to_string(), syn::parse_str(function).unwrap());
    let expanded = match attribute {
        "cached" => syn::parse::Parser::parse_str(Options::of_cached, &options)
            .and_then(|options| cached::expand(options, &parsed)),
        _ => syn::parse::Parser::parse_str(Options::of_derived, &options)
            .and_then(|options| derived::expand(options, &parsed)),
    };
    let error = expanded.expect_err("it is refused");
    let (message, span) = (error.to_string(), error.span());
    let text = span.source_text().unwrap_or_default();
    (message, text)
}

#[track_caller]
fn assert_refused(attribute: &str, options: &str, function: &str, message: &str, at: &str) {
    let (found, place) = refused(attribute, options, function);
    assert!(found.contains(message), "{found}");
    assert_eq!(place, at, "{found}");
}

#[test]
fn options_are_checked_where_they_stand() {
    let function = "fn name(id: u64) -> String { id.to_string() }";
    let refuse = |options, message, at| assert_refused("cached", options, function, message, at);
    refuse("time = 60", "`cached` has no option `time`, only `key`, `key_type`, `ttl`", "time");
    refuse("ttl = 60, ttl = 61", "`ttl` is written twice", "ttl");
    refuse("ttl = 60, time_to_live = 61", "`time_to_live` is written twice", "time_to_live");
    refuse("ttl = \"ten\"", "this is no time", "\"ten\"");
    refuse("ttl = \"10 weeks\"", "this is no time", "\"10 weeks\"");
    refuse("tags = \"users\"", "tags are a list", "\"users\"");
    refuse("cache = C, max_capacity = 1", "is a matter of the cache", "max_capacity");
    refuse("key = id % 2", "the type of this key is not evident", "id % 2");
    refuse("key = (id, id % 2)", "the type of this key is not evident", "(id, id % 2)");
    let scope = "fn name(scope: &mut Scope<u64, u64>, id: u64) -> u64 { id }";
    let message = "`derived` has no option `ttl`, only `key`, `crate`; what a derived value";
    assert_refused("derived", "ttl = 60", scope, message, "ttl");
}

#[test]
fn functions_that_cannot_be_memoized_are_refused_where_they_say_so() {
    let refuse = |function, message, at| assert_refused("cached", "", function, message, at);
    refuse("fn f(&self) -> u64 { 1 }", "has no `self`", "&self");
    refuse("fn f<T: Copy>(x: T) -> u64 { 1 }", "is not generic", "T: Copy");
    refuse("fn f<const N: usize>() -> u64 { 1 }", "is not generic", "const N: usize");
    refuse("const fn f() -> u64 { 1 }", "cannot be `const`", "const");
    refuse("unsafe fn f() -> u64 { 1 }", "cannot be `unsafe`", "unsafe");
    refuse("extern \"C\" fn f() -> u64 { 1 }", "no ABI", "extern \"C\"");
    refuse("fn f(x: &str) -> &str { x }", "returns a value of its own", "&");
    refuse("fn f<'a>(x: &'a str) -> Cow<'a, str> { x }", "returns a value of its own", "'a");
    refuse("fn f() -> impl Clone { 1 }", "names its type", "impl");
    refuse("fn f(x: &mut u64) -> u64 { 1 }", "lent to be changed", "mut");
    refuse("fn f(x: &[&str]) -> u64 { 1 }", "it can borrow nothing", "&");
}

#[test]
fn derived_functions_need_a_scope_and_a_key() {
    let refuse = |function, at| assert_refused("derived", "", function, "first argument of a", at);
    refuse("fn f() -> u64 { 1 }", "()");
    refuse("fn f(x: u64) -> u64 { x }", "u64");
    refuse("fn f(scope: &Scope<u64, u64>) -> u64 { 1 }", "&Scope<u64, u64>");
    refuse("fn f(scope: &mut Scope) -> u64 { 1 }", "&mut Scope");
    refuse("fn f(scope: &mut Reads<u64, u64>) -> u64 { 1 }", "&mut Reads<u64, u64>");
    let no_key = "fn f(scope: &mut Scope<u64, u64>) -> u64 { 1 }";
    let message = "the key must be named";
    assert_refused("derived", "", no_key, message, "(scope: &mut Scope<u64, u64>)");
}

#[test]
fn a_refused_function_stays_as_it_was() {
    let function: proc_macro2::TokenStream = "fn f(&self) -> u64 { 1 }".parse().unwrap();
    let options = proc_macro2::TokenStream::new();
    let expanded = expand(options, function.clone(), Options::of_cached, cached::expand);
    let file: syn::File = syn::parse2(expanded).unwrap();
    assert_eq!(file.items.len(), 2, "a `compile_error!`, and the function");
    assert_eq!(file.items[1].to_token_stream().to_string(), function.to_string());
    assert!(file.items[0].span().source_text().is_some());
}
