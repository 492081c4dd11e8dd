#!/usr/bin/env bash
# Checked runs at 2, 8 and 32 threads on each backend: whatever threads do at once, and wherever
# signals stop them, `coeval-check` finds no anomaly in what they saw, no value is older than its
# source, and nothing is left over.
#
#   OPERATIONS  the number of operations in all (default 100,000,000: an hour or two)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

operations=${OPERATIONS:-100000000}
counts=(2 8 32)
# Of each: four kinds of runs on three backends.
export COEVAL_CHECKED_OPS=$((operations / ${#counts[@]} / 12))
for threads in "${counts[@]}"; do
    export COEVAL_CHECKED_THREADS=$threads
    CARGO_PROFILE_DEV_OPT_LEVEL=1 with_flags '--cfg coeval_internals' cargo test -p coeval \
        --features crossbeam-epoch,seize --target-dir target/internals --test checked -- \
        --nocapture --test-threads=1
done
echo "-- $((COEVAL_CHECKED_OPS * 12 * ${#counts[@]})) operations or more, no anomaly"
