//! See `coeval_fuzz::saved`.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| coeval_fuzz::saved(bytes));

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("`ci/fuzz.sh` runs this");
}
