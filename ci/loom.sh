#!/usr/bin/env bash
# Every model, and every mutant that must fail; two files at a time. Goes on after a file that failed, and fails at the
# end. With arguments: only the files named; `crossbeam` are the models of the crossbeam-epoch backend.
#
#   LOOM_MAX_PREEMPTIONS  explores deeper, or less deep, than the models state themselves
#   LOOM_SECONDS          the longest that one model is explored, with those that are ignored else
#                         (default: to its end)
#   LOOM_FILE_SECONDS     a file that takes longer fails (default 800)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# loom explores a model on one thread, and there are two processors at least: more files at a time would have each take
# longer than its limit knows of.
side_by_side=2
limit=(timeout --kill-after=10 "${LOOM_FILE_SECONDS:-800}")
options=(--test-threads=1)
if [ -n "${LOOM_SECONDS:-}" ]; then
    limit=()
    options+=(--include-ignored)
fi

files=("$@")
if [ ${#files[@]} -eq 0 ]; then
    # Those first that take longest: at the end, no processor waits long for the other.
    files=(eviction deadlines leases batches sweeping leftover derive)
    for file in loom-tests/tests/*.rs; do
        name=$(basename "$file" .rs)
        # `threads` and `shuttle` are other builds, and `at_length` is for the latter alone.
        if [[ " ${files[*]} threads shuttle at_length " != *" $name "* ]]; then files+=("$name"); fi
    done
    files+=(crossbeam)
fi

# One build for all: of what the models use, only that backend makes a difference by its cfg.
export RUSTFLAGS='--cfg coeval_loom --cfg crossbeam_loom' CARGO_TARGET_DIR=target/loom
test_of() { if [ "$1" = crossbeam ]; then echo reclamation; else echo "$1"; fi; }
test=(cargo test --quiet --profile loom -p loom-tests)
targets=()
for file in "${files[@]}"; do targets+=(--test "$(test_of "$file")"); done
part "${test[@]}" --no-run "${targets[@]}"

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT

# The models of one file, and how it went, all at once when it is done.
run() {
    local begin=$SECONDS verdict=passed filter=()
    case $1 in
        crossbeam) filter=(crossbeam::) ;;
        reclamation) filter=(--skip crossbeam::) ;;
    esac
    "${limit[@]}" "${test[@]}" --test "$(test_of "$1")" -- "${options[@]}" "${filter[@]}" \
        >"$output/$1" 2>&1 || verdict="FAILED ($?)"
    if [ "$verdict" != passed ]; then touch "$output/$1.failed"; fi
    printf -- '-- %s\n%s\n-- %s %s, %d s\n' "$1" "$(cat "$output/$1")" "$1" "$verdict" $((SECONDS - begin))
}

for file in "${files[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge $side_by_side ]; do wait -n || true; done
    run "$file" &
done
wait

failed=$(find "$output" -name '*.failed' -exec basename {} .failed \; | sort | tr '\n' ' ')
if [ -n "$failed" ]; then
    printf -- '-- failed: %s\n' "$failed"
    exit 1
fi
