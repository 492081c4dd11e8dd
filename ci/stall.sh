#!/usr/bin/env bash
# The tests that stop threads at named steps, which only this build has: whoever is stopped, and
# wherever, all others go on. With arguments: passed to the tests, as a filter.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

with_flags '--cfg coeval_internals' \
    cargo test -p coeval --features crossbeam-epoch,seize --test '*' --target-dir target/internals -- "$@"
