#!/usr/bin/env bash
# What each operation costs as one quantity grows, in instructions under valgrind: no more than
# docs/guarantees.md promises; how many files an operation crosses; what it costs to be watched by
# `metrics` and `tracing`; and how much of the stack a large value takes in optimized code. With an
# argument: only the rows whose name contains it.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! command -v valgrind >/dev/null; then
    part apt-get update -qq
    part apt-get install -qq -y valgrind
fi
COEVAL_SLOPES=${1:-} part cargo test --release -p coeval --features async,serde,metrics,tracing \
    --test slopes -- --ignored --nocapture
part cargo test --release -p coeval --features async,serde,metrics,tracing --test large_values
