#!/usr/bin/env bash
# Every model, and every mutant that must fail. With arguments: only the models named.
#
#   LOOM_MAX_PREEMPTIONS  explores deeper, or less deep, than the models state themselves
#   LOOM_SECONDS          the longest that one file of models may take (default 300)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export RUSTFLAGS='--cfg coeval_loom'
export CARGO_TARGET_DIR=target/loom

models=("$@")
if [ ${#models[@]} -eq 0 ]; then
    for file in loom-tests/tests/*.rs; do
        models+=("$(basename "$file" .rs)")
    done
fi

part cargo test --release -p loom-tests --no-run
for model in "${models[@]}"; do
    part timeout "${LOOM_SECONDS:-300}" cargo test --release -p loom-tests --test "$model" -- --quiet
done
