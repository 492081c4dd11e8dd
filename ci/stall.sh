#!/usr/bin/env bash
# The tests that stop threads at named steps, which only this build has: whoever is stopped, and
# wherever, all others go on. With arguments: passed to the tests, as a filter.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The files that have something for this build: stopped threads, or threads that give way in the
# middle of operations (`disturb`).
tests=()
for file in tests/*.rs; do
    name=$(basename "$file" .rs)
    if grep -qrs -e coeval_internals -e 'disturb()' "$file" "tests/$name"; then tests+=(--test "$name"); fi
done

with_flags '--cfg coeval_internals' cargo test -p coeval --features crossbeam-epoch,seize \
    "${tests[@]}" --target-dir target/internals -- "$@"
