#!/usr/bin/env bash
# The examples in the documentation, with every feature, and the programs in examples/. And the tests
# of the memoized functions, whose crate is built only if named.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo test -p coeval --doc --all-features
part cargo test -p coeval-macros
for example in examples/*.rs; do
    part cargo run -q -p coeval --all-features --example "$(basename "$example" .rs)"
done
# The short load test: about five seconds.
part cargo run -q -p async-service
# What only the optional features have, in the build that the examples have made.
part cargo test -p coeval --all-features --test saved --test exported --test traced
