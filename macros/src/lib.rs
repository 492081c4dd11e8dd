//! The attributes `cached` and `derived` of the crate `coeval`, which exports them with its feature
//! `macros`. Use them from there.

mod cached;
mod derived;
mod function;
mod key;
mod options;
mod outer;
mod reborrow;
#[cfg(test)]
mod tests;

use options::Options;
use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{AttrStyle, ItemFn, Result};

/// Makes a function look up what it has returned for the same key before, and run only if there is
/// nothing.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static READS: AtomicU32 = AtomicU32::new(0);
///
/// #[coeval::cached(ttl = "10m", max_capacity = 1000)]
/// fn name(id: u64) -> String {
///     READS.fetch_add(1, Ordering::Relaxed);
///     format!("user {id}")
/// }
///
/// assert_eq!((name(7), name(7)), ("user 7".to_string(), "user 7".to_string()));
/// assert_eq!(READS.load(Ordering::Relaxed), 1);
/// NAME.invalidate(&7); // the cache of the function
/// name(7);
/// assert_eq!(READS.load(Ordering::Relaxed), 2);
/// ```
///
/// The values are in a `static` cache beside the function, with the function's visibility and its
/// name in upper case. A call is a load of that cache (`coeval::Cache::get_with`): of the callers
/// that want the same key, one runs the function, and the others wait for it. A value whose key is
/// written or invalidated while the function runs goes to its caller and is not cached.
///
/// The function may be `async` (with coeval's feature `async`). If it returns a `Result`, only `Ok`
/// is cached. An error goes to the caller that ran the function, and the callers that waited run it
/// themselves. A type alias that is not called `Result` is not recognized: its values are cached
/// whole.
///
/// ```
/// #[coeval::cached]
/// fn parsed(text: &str) -> Result<u32, std::num::ParseIntError> {
///     text.parse()
/// }
///
/// assert_eq!(parsed("7"), Ok(7));
/// assert!(parsed("seven").is_err());
/// assert_eq!((PARSED.get("7"), PARSED.get("seven")), (Some(7), None));
/// ```
///
/// # Options
/// Code stands with or without quotes: `key = "id"` is `key = id`. A text is `("text")` there.
///
/// | option | meaning |
/// |---|---|
/// | `key` | an expression that makes the key of the arguments; without it, all arguments are the key, and borrowed ones are made owned |
/// | `key_type` | the type of the key, where it is not evident (it is for arguments, for tuples of these, for `format!(..)` and `.to_string()`) |
/// | `ttl`, `idle` (or `time_to_live`, `time_to_idle`), `refresh_after` | a number of seconds, a text such as `"500ms"`, `"30s"`, `"10m"`, `"2h"`, `"1d"`, or an expression for a `Duration` |
/// | `tags` | a list: `tags = ["users", "user:{id}"]`; texts with braces are formatted. Tags may use the arguments, and count from the beginning of the load |
/// | `max_capacity` | the bound, in entries |
/// | `name` | the name of the cache: of the `static`, and `Cache::name` |
/// | `builder` | an expression for the settings, for all else (`related`, a weigher, a listener) |
/// | `cache` | a cache of your own, in place of the `static`. `key` makes its keys, and `ttl`, `idle` and `tags` apply to each value |
/// | `crate` | the path of coeval, if it is not `::coeval` |
///
/// ```
/// use coeval::Cache;
///
/// struct Page {
///     site: u32,
///     path: String,
/// }
///
/// #[coeval::cached(
///     key = "(page.site, page.path.clone())",
///     key_type = "(u32, String)",
///     tags = ["pages", format!("site:{}", page.site)],
/// )]
/// fn rendered(page: &Page) -> String {
///     format!("<h1>{}</h1>", page.path)
/// }
/// # fn main() {}
/// ```
///
/// # Panics
/// A call panics if the function does, or if it needs its own value for the same key. It may call
/// itself with other arguments.
///
/// # What does not work
/// Functions with `self`, generic functions, `const` and `unsafe` functions, and functions that
/// return what they borrow do not compile, and the message says so:
///
/// ```compile_fail
/// #[coeval::cached]
/// fn first<T: Clone>(all: &[T]) -> T { // a memoized function is not generic
///     all[0].clone()
/// }
/// ```
///
/// ```compile_fail
/// #[coeval::cached(time = 60)] // `cached` has no option `time`
/// fn name(id: u64) -> String {
///     id.to_string()
/// }
/// ```
///
/// The `static` is made at the first call, by a `LazyLock`. Threads that call the function for the
/// first time at the same time wait for that. This is outside of the engine, and nothing waits
/// there later. A cache of your own (`cache = ..`) need not be a `static` of that kind.
#[proc_macro_attribute]
pub fn cached(options: TokenStream, function: TokenStream) -> TokenStream {
    expand(options.into(), function.into(), Options::of_cached, cached::expand).into()
}

/// Makes a function derive a value of a cache, once, from what it reads through its scope. When
/// what it read changes, the value ends in the same commit.
///
/// The first argument is the `Scope` through which the function reads. Callers pass a cache there,
/// or the scope of the derived function from which they call:
///
/// ```
/// use coeval::{Cache, Scope};
///
/// #[derive(Clone, Debug, PartialEq, Eq, Hash)]
/// enum Key {
///     Rate(u32),
///     Forward(u32),
///     Price(u32),
/// }
///
/// #[coeval::derived(key = Key::Forward(number))]
/// fn forward(scope: &mut Scope<Key, u64>, number: u32) -> u64 {
///     scope.get(&Key::Rate(number)).unwrap_or(0) / 100
/// }
///
/// #[coeval::derived(key = Key::Price(number))]
/// fn price(scope: &mut Scope<Key, u64>, number: u32) -> u64 {
///     forward(scope, number) + forward(scope, number + 1)
/// }
///
/// let book: Cache<Key, u64> = Cache::new();
/// book.batch().insert(Key::Rate(7), 1000).insert(Key::Rate(8), 500).commit();
/// assert_eq!(price(&book, 7), 15);
/// assert_eq!(book.get(&Key::Forward(8)), Some(5), "it is set by the same commit");
/// book.insert(Key::Rate(8), 700);
/// assert_eq!((book.get(&Key::Price(7)), book.get(&Key::Forward(7))), (None, Some(10)));
/// assert_eq!(price(&book, 7), 17);
/// ```
///
/// Such a call is `coeval::Cache::derive`, or `derive` of the scope: see there for what is
/// promised. A function may be `async` (with coeval's feature `async`). What it returns is the value
/// of the cache's type; a `Result` there is a value as any other, and ends with its inputs.
///
/// | option | meaning |
/// |---|---|
/// | `key` | an expression that makes the key of the arguments after the scope, with or without quotes (a text is `key = ("text")`); without it, these arguments are the key |
/// | `crate` | the path of coeval, if it is not `::coeval` |
///
/// Within the function, `scope` is lent to the calls to which it is passed, as if its type were
/// named there: it can be passed to several. A function without the attribute that passes its scope
/// on more than once writes `&mut *scope`.
///
/// ```compile_fail
/// #[coeval::derived] // the first argument is `scope: &mut Scope<Key, Value>`
/// fn area(width: u32, height: u32) -> u32 {
///     width * height
/// }
/// ```
///
/// # Panics
/// Panics as `derive` does.
#[proc_macro_attribute]
pub fn derived(options: TokenStream, function: TokenStream) -> TokenStream {
    expand(options.into(), function.into(), Options::of_derived, derived::expand).into()
}

/// Expands an attribute. After an error the function stands as it was written, so that its callers
/// cause no further messages.
fn expand(
    options: Tokens,
    function: Tokens,
    read: impl FnOnce(ParseStream<'_>) -> Result<Options>,
    expand: impl FnOnce(Options, &ItemFn) -> Result<Tokens>,
) -> Tokens {
    let parsed = syn::parse2::<ItemFn>(function.clone());
    let expanded = parsed.and_then(|mut parsed| {
        // Those that stand within the function are written before it.
        parsed.attrs.iter_mut().for_each(|attribute| attribute.style = AttrStyle::Outer);
        expand(read.parse2(options)?, &parsed)
    });
    expanded.unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote!(#error #function)
    })
}
