//! See `coeval_fuzz::operations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coeval_fuzz::operations(bytes));
