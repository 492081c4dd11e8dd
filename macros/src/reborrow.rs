//! Lets a function pass its scope on more than once.
//!
//! A derived function takes a cache or a scope, so the type of its first argument is generic. For
//! such an argument the compiler moves a `&mut`, and does not borrow it again as it does where the
//! type is named. Hence `scope`, where it is passed as it is, becomes `&mut *scope`.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::quote;
use syn::visit::{self, Visit};
use syn::visit_mut::{self, VisitMut};
use syn::{
    Arm, Block, Expr, ExprCall, ExprClosure, ExprMethodCall, Ident, Item, Macro, Pat, PatIdent,
    Stmt, parse_quote,
};

pub fn arguments(block: &mut Block, scope: &Ident) {
    Reborrow { scope }.visit_block_mut(block);
}

struct Reborrow<'a> {
    scope: &'a Ident,
}

impl Reborrow<'_> {
    /// Returns whether a pattern binds the name of the scope.
    fn is_bound_by(&self, pattern: &Pat) -> bool {
        struct Search<'a>(&'a Ident, bool);
        impl<'a> Visit<'a> for Search<'_> {
            fn visit_pat_ident(&mut self, pattern: &'a PatIdent) {
                self.1 |= pattern.ident == *self.0;
                visit::visit_pat_ident(self, pattern);
            }
        }
        let mut search = Search(self.scope, false);
        search.visit_pat(pattern);
        search.1
    }

    fn change(&self, argument: &mut Expr) {
        let scope = self.scope;
        if matches!(argument, Expr::Path(path) if path.path.is_ident(scope)) {
            *argument = parse_quote!(&mut *#scope);
        }
    }

    /// Does the same in the arguments of a macro, which may be anything: where `scope` is all that
    /// stands between parentheses or commas, after a name.
    fn change_tokens(&self, tokens: TokenStream, is_call: bool) -> TokenStream {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let is_comma = |token: Option<&TokenTree>| {
            token.is_none_or(|token| matches!(token, TokenTree::Punct(it) if it.as_char() == ','))
        };
        let mut changed = TokenStream::new();
        for (at, token) in tokens.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| &tokens[before]);
            match token {
                TokenTree::Ident(name)
                    if is_call
                        && name == self.scope
                        && is_comma(before)
                        && is_comma(tokens.get(at + 1)) =>
                {
                    changed.extend(quote!(&mut *#name));
                }
                TokenTree::Group(group) => {
                    let is_call = matches!(before, Some(TokenTree::Ident(_)));
                    let inner = self.change_tokens(group.stream(), is_call);
                    let mut inner = Group::new(group.delimiter(), inner);
                    inner.set_span(group.span());
                    changed.extend([TokenTree::Group(inner)]);
                }
                other => changed.extend([other.clone()]),
            }
        }
        changed
    }
}

impl VisitMut for Reborrow<'_> {
    fn visit_expr_call_mut(&mut self, call: &mut ExprCall) {
        visit_mut::visit_expr_call_mut(self, call);
        call.args.iter_mut().for_each(|argument| self.change(argument));
    }

    fn visit_expr_method_call_mut(&mut self, call: &mut ExprMethodCall) {
        visit_mut::visit_expr_method_call_mut(self, call);
        call.args.iter_mut().for_each(|argument| self.change(argument));
    }

    fn visit_macro_mut(&mut self, call: &mut Macro) {
        call.tokens = self.change_tokens(std::mem::take(&mut call.tokens), false);
    }

    /// After `let scope = ..`, the name means something else.
    fn visit_block_mut(&mut self, block: &mut Block) {
        for statement in &mut block.stmts {
            visit_mut::visit_stmt_mut(self, statement);
            if matches!(statement, Stmt::Local(local) if self.is_bound_by(&local.pat)) {
                return;
            }
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut Arm) {
        if !self.is_bound_by(&arm.pat) {
            visit_mut::visit_arm_mut(self, arm);
        }
    }

    /// A closure with an argument of this name has another scope, of a type that it may name.
    fn visit_expr_closure_mut(&mut self, closure: &mut ExprClosure) {
        if !closure.inputs.iter().any(|input| self.is_bound_by(input)) {
            visit_mut::visit_expr_closure_mut(self, closure);
        }
    }

    fn visit_item_mut(&mut self, _: &mut Item) {}
}
