//! See `coeval_fuzz::history`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coeval_fuzz::history(bytes));
