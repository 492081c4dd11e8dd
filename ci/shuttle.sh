#!/usr/bin/env bash
# The models, and longer ones, under shuttle: one thread at a time, and at each access to an atomic
# the next one is chosen at random. For schedules that are too long for loom. Each model runs for
# some time; with a defect, it must fail, except for those that shuttle does not see.
# With arguments: passed to the tests, as a filter.
#
#   MODEL_SECONDS  how long each model runs (default 0.2)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export MODEL_SECONDS=${MODEL_SECONDS:-0.2}
with_flags '--cfg coeval_loom --cfg coeval_shuttle' cargo test --quiet --profile loom \
    -p loom-tests --target-dir target/shuttle --test shuttle -- --test-threads=1 "$@"
