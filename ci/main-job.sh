#!/usr/bin/env bash
# The race that coeval grew from, and the comparison with other stores, both shortly: they fail if a
# reader ever sees related entries of different age. RUNS: how many races (default 50).
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo build --release -p coeval-bench
part cargo run --release -p coeval-bench -- race --runs "${RUNS:-50}"
part cargo build --release -p coeval-compare
part cargo run --release -p coeval-compare -- --quick
