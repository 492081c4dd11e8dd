#!/usr/bin/env bash
# The race that coeval grew from, and the comparison of groups with other stores, both shortly: they
# fail if a reader of coeval ever sees related entries of different age.
#
#   RUNS  how many races (default 50)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo build --release -p coeval-bench
part cargo run --release -p coeval-bench -- race --runs "${RUNS:-50}"
# The members that need the other stores are compiled together, and so once. Their tests are those
# of the comparison, of the guide to moving from other stores, of what the kit says of stores, and
# of the live page without a browser, which needs much of what the stores do. They measure nothing,
# so nothing is optimized: else, the stores take four times as long to compile.
part cargo test -p coeval-compare -p coeval-check-stores -p coeval-migrating -p coeval-dropin \
    -p coeval-inspect
# Only the torn reads are shown: the rates mean nothing here.
part cargo run -q -p coeval-compare -- --workload group-read8 --rounds 1 \
    --stores coeval,coeval-epoch,coeval-seize,papaya,evmap | grep -e '^--' -e torn
