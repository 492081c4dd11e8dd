#!/usr/bin/env bash
# The tests that stop threads at named steps, which only this build has: whoever is stopped, and
# wherever, all others go on. Those in which threads take their steps in any order: the cache is
# whole afterwards. And, by a build of its own, the count of the cache lines that each operation
# moves between cores.
# All of them on the default backend: `ci/long.sh stall promises` runs them on all.
# With arguments: passed to the tests, as a filter.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

run() { # OPTIONS... -- ARGUMENTS...
    with_flags '--cfg coeval_internals' cargo test -p coeval --target-dir target/internals "$@"
}

# The modules that have something for this build: acts at steps, or threads that give way in the
# middle of operations (`disturb`).
modules() {
    grep -lrs -e 'common::steps' -e 'disturb()' tests/promises |
        sed -e 's,^tests/promises/,,' -e 's,\.rs$,::,' -e 's,/,::,g' | sort
}

# It does every operation at every step: that is worth being optimized.
CARGO_PROFILE_DEV_OPT_LEVEL=1 run --test stall --test turns -- "$@"
CARGO_PROFILE_DEV_OPT_LEVEL=1 with_flags '--cfg coeval_internals --cfg coeval_lines' \
    cargo test -p coeval --target-dir target/lines --test lines -- --nocapture "$@"
if [ $# -eq 0 ]; then mapfile -t filters < <(modules); else filters=("$@"); fi
run --test promises -- "${filters[@]}"
