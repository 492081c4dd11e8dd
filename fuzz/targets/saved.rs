//! See `coeval_fuzz::saved`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coeval_fuzz::saved(bytes));
