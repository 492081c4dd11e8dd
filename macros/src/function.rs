//! The function that an attribute stands on: what of it can be memoized, and its parts.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Error, FnArg, GenericArgument, GenericParam, Ident, ItemFn, Lifetime, Pat, PathArguments,
    Result, ReturnType, Signature, Type, TypeImplTrait, TypeReference, parse_quote,
};

/// An argument: its name outside, and its type.
pub struct Argument {
    pub name: Ident,
    pub ty: Type,
}

/// Returns the arguments of a function, if it is one that can be memoized.
pub fn arguments(function: &ItemFn, attribute: &str) -> Result<Vec<Argument>> {
    check(&function.sig, attribute)?;
    let mut arguments = Vec::new();
    for (at, argument) in function.sig.inputs.iter().enumerate() {
        let FnArg::Typed(argument) = argument else {
            let message = "a memoized function has no `self`: make it a function of its own, and \
                           pass what it needs";
            return Err(Error::new(argument.span(), message));
        };
        let name = match &*argument.pat {
            Pat::Ident(name) => name.ident.clone(),
            other => {
                Ident::new(&format!("argument_{at}"), Span::mixed_site().located_at(other.span()))
            }
        };
        arguments.push(Argument { name, ty: (*argument.ty).clone() });
    }
    Ok(arguments)
}

fn check(signature: &Signature, attribute: &str) -> Result<()> {
    let refuse = |span: Span, message: String| Err(Error::new(span, message));
    if let Some(token) = &signature.constness {
        return refuse(token.span(), format!("a function with `{attribute}` cannot be `const`"));
    }
    if let Some(token) = &signature.unsafety {
        let message = "a memoized function cannot be `unsafe`: a hit does not run it";
        return refuse(token.span(), message.into());
    }
    if let Some(abi) = &signature.abi {
        return refuse(abi.span(), format!("a function with `{attribute}` has no ABI of its own"));
    }
    if let (Some(token), false) = (&signature.asyncness, cfg!(feature = "async")) {
        let message = "async functions need the feature `async` of coeval";
        return refuse(token.span(), message.into());
    }
    let mut generic = signature.generics.params.iter();
    if let Some(generic) = generic.find(|it| !matches!(it, GenericParam::Lifetime(_))) {
        let message = "a memoized function is not generic: one cache has one type of value";
        return refuse(generic.span(), message.into());
    }
    if let Some(span) = borrow_in_output(&signature.output) {
        let message = "a memoized function returns a value of its own, which the cache keeps; it \
                       borrows nothing and names its type";
        return refuse(span, message.into());
    }
    Ok(())
}

/// Returns the type that a function returns.
pub fn output(signature: &Signature) -> Type {
    match &signature.output {
        ReturnType::Default => parse_quote!(()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    }
}

/// Returns `T` of a `Result<T, ..>`.
pub fn success(output: &Type) -> Option<&Type> {
    let Type::Path(path) = output else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn borrow_in_output(output: &ReturnType) -> Option<Span> {
    let ReturnType::Type(_, ty) = output else { return None };
    borrow_in(ty)
}

/// Returns where a type borrows, or does not say what it is.
pub fn borrow_in(ty: &Type) -> Option<Span> {
    struct Search(Option<Span>);
    impl<'a> Visit<'a> for Search {
        fn visit_type_reference(&mut self, reference: &'a TypeReference) {
            match &reference.lifetime {
                None => self.note(reference.and_token.span),
                Some(_) => visit::visit_type_reference(self, reference),
            }
        }

        fn visit_lifetime(&mut self, lifetime: &'a Lifetime) {
            if lifetime.ident != "static" {
                self.note(lifetime.span());
            }
        }

        fn visit_type_impl_trait(&mut self, opaque: &'a TypeImplTrait) {
            self.note(opaque.impl_token.span);
        }
    }
    impl Search {
        fn note(&mut self, span: Span) {
            self.0.get_or_insert(span);
        }
    }
    let mut search = Search(None);
    search.visit_type(ty);
    search.0
}
