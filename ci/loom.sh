#!/usr/bin/env bash
# Every model, and every mutant that must fail. With arguments: only the models named; `crossbeam` is
# the one of the crossbeam-epoch backend, which has a build of its own.
#
#   LOOM_MAX_PREEMPTIONS  explores deeper, or less deep, than the models state themselves
#   LOOM_SECONDS          the longest that one model is explored, with those that are ignored else
#                         (default: to its end, and a file that takes more than 800 s fails)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

models=("$@")
if [ ${#models[@]} -eq 0 ]; then
    for file in loom-tests/tests/*.rs; do
        models+=("$(basename "$file" .rs)")
    done
    models+=(crossbeam)
fi

limit=(timeout 800)
options=(--quiet)
if [ -n "${LOOM_SECONDS:-}" ]; then
    limit=()
    options+=(--include-ignored)
fi

# One file of models: run FLAGS FOLDER TEST [FILTER]
run() {
    export RUSTFLAGS=$1 CARGO_TARGET_DIR=target/$2
    cargo test --quiet --release -p loom-tests --test "$3" --no-run
    part "${limit[@]}" cargo test --release -p loom-tests --test "$3" -- "${options[@]}" "${@:4}"
}

for model in "${models[@]}"; do
    if [ "$model" = crossbeam ]; then
        run '--cfg coeval_loom --cfg crossbeam_loom' loom-crossbeam reclamation crossbeam::
    else
        run '--cfg coeval_loom' loom "$model"
    fi
done
