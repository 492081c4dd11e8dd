//! What is written in the parentheses of an attribute.

use proc_macro2::Span;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Path, Result, Token, Type, parse_quote};

/// The options of `cached`, or of `derived`, which has fewer.
pub struct Options {
    pub krate: Path,
    pub key: Option<Expr>,
    pub key_type: Option<Type>,
    pub cache: Option<Expr>,
    pub builder: Option<Expr>,
    pub name: Option<Ident>,
    pub max_capacity: Option<Expr>,
    pub time_to_live: Option<Expr>,
    pub time_to_idle: Option<Expr>,
    pub refresh_after: Option<Expr>,
    pub tags: Vec<Expr>,
    /// The names that were written, with their places.
    written: Vec<Ident>,
}

/// The options of each attribute, as messages list them.
const CACHED: &[&str] = &[
    "key",
    "key_type",
    "ttl",
    "idle",
    "refresh_after",
    "tags",
    "max_capacity",
    "name",
    "builder",
    "cache",
    "crate",
];
const DERIVED: &[&str] = &["key", "crate"];

/// Other names of options: those of the builder.
const ALIASES: &[(&str, &str)] = &[("time_to_live", "ttl"), ("time_to_idle", "idle")];

/// The options that a cache of one's own has already decided.
const OF_THE_CACHE: &[&str] = &["name", "builder", "max_capacity", "refresh_after", "key_type"];

impl Options {
    fn new() -> Self {
        Self {
            krate: parse_quote!(::coeval),
            key: None,
            key_type: None,
            cache: None,
            builder: None,
            name: None,
            max_capacity: None,
            time_to_live: None,
            time_to_idle: None,
            refresh_after: None,
            tags: Vec::new(),
            written: Vec::new(),
        }
    }

    pub fn of_cached(input: ParseStream<'_>) -> Result<Self> {
        let options = Self::parse(input, "cached", CACHED)?;
        if options.cache.is_some() {
            let unfit =
                options.written.iter().find(|name| OF_THE_CACHE.iter().any(|it| name == it));
            if let Some(name) = unfit {
                let message = format!("`{name}` is a matter of the cache that `cache` names");
                return Err(Error::new(name.span(), message));
            }
        }
        Ok(options)
    }

    pub fn of_derived(input: ParseStream<'_>) -> Result<Self> {
        Self::parse(input, "derived", DERIVED)
    }

    fn parse(input: ParseStream<'_>, attribute: &str, names: &[&str]) -> Result<Self> {
        let mut options = Self::new();
        while !input.is_empty() {
            let name = Ident::parse_any(input)?;
            let written = name.to_string();
            let alias = ALIASES.iter().find(|(alias, _)| written == *alias);
            let canonical = alias.map_or(written.as_str(), |(_, name)| name);
            if !names.contains(&canonical) {
                return Err(Error::new(name.span(), unknown(attribute, &written, names)));
            }
            if options.written.iter().any(|earlier| earlier == canonical) {
                return Err(Error::new(name.span(), format!("`{written}` is written twice")));
            }
            input.parse::<Token![=]>()?;
            options.read(canonical, input)?;
            options.written.push(Ident::new(canonical.trim_start_matches("r#"), name.span()));
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }

    fn read(&mut self, name: &str, input: ParseStream<'_>) -> Result<()> {
        match name {
            "key" => self.key = Some(parsed(input)?),
            "key_type" => self.key_type = Some(parsed(input)?),
            "cache" => self.cache = Some(parsed(input)?),
            "builder" => self.builder = Some(parsed(input)?),
            "name" => self.name = Some(parsed(input)?),
            "crate" => self.krate = parsed(input)?,
            "max_capacity" => self.max_capacity = Some(parsed(input)?),
            "ttl" => self.time_to_live = Some(duration(input)?),
            "idle" => self.time_to_idle = Some(duration(input)?),
            "refresh_after" => self.refresh_after = Some(duration(input)?),
            _ => self.tags = tags(input)?,
        }
        Ok(())
    }
}

fn unknown(attribute: &str, name: &str, names: &[&str]) -> String {
    let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let reason = if attribute == "derived" && CACHED.contains(&name) {
        "; what a derived value is kept for follows from its inputs and its cache"
    } else {
        ""
    };
    format!("`{attribute}` has no option `{name}`, only {list}{reason}")
}

/// Reads a piece of code, with or without quotes.
fn parsed<T: Parse>(input: ParseStream<'_>) -> Result<T> {
    if input.peek(LitStr) { input.parse::<LitStr>()?.parse() } else { input.parse() }
}

/// Reads a time: a number of seconds, a text such as `"10m"`, or an expression.
fn duration(input: ParseStream<'_>) -> Result<Expr> {
    let time: Expr = input.parse()?;
    match &time {
        Expr::Lit(ExprLit { lit: Lit::Int(seconds), .. }) => {
            Ok(parse_quote!(::core::time::Duration::from_secs(#seconds)))
        }
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            let millis = millis(&text.value()).ok_or_else(|| {
                let message = "this is no time: write a number and one of `ms`, `s`, `m`, `h`, \
                               `d`, as in \"10m\"";
                Error::new(text.span(), message)
            })?;
            Ok(parse_quote!(::core::time::Duration::from_millis(#millis)))
        }
        _ => Ok(time),
    }
}

fn millis(text: &str) -> Option<u64> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().ok()?;
    let factor = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// Reads `[tag, ...]`. A text with braces is formatted.
fn tags(input: ParseStream<'_>) -> Result<Vec<Expr>> {
    let span = input.span();
    if !input.peek(syn::token::Bracket) {
        return Err(Error::new(span, "tags are a list, as in `tags = [\"users\", \"user:{id}\"]`"));
    }
    let content;
    syn::bracketed!(content in input);
    let list = Punctuated::<Expr, Token![,]>::parse_terminated(&content)?;
    Ok(list.into_iter().map(formatted).collect())
}

fn formatted(tag: Expr) -> Expr {
    match &tag {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if text.value().contains(['{', '}']) => {
            let span: Span = tag.span();
            let name = quote!(::std::format);
            syn::parse2(quote_spanned!(span=> #name!(#text))).expect("a call of a macro")
        }
        _ => tag,
    }
}
