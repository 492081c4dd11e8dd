#!/usr/bin/env bash
# No warning, of the compiler or of clippy, in any target: as users build it, with every feature,
# and in the two builds that only tests make.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo clippy --workspace --all-targets --all-features -- -D warnings
part cargo clippy -p coeval --all-targets -- -D warnings
with_flags '--cfg coeval_internals' \
    cargo clippy -p coeval -p loom-tests --all-targets --target-dir target/internals -- -D warnings
with_flags '--cfg coeval_loom' \
    cargo clippy -p coeval -p loom-tests --lib --tests --target-dir target/loom -- -D warnings
