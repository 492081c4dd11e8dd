//! The models under shuttle (see `loom_tests::shuttled`), in one program.
#![cfg(coeval_shuttle)]

#[path = "at_length.rs"]
mod at_length;

loom_tests::all_models!();
