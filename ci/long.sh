#!/usr/bin/env bash
# What takes too long for every change: the `#[ignore]`d tests, one by one, in a release build, and
# the models explored deeper. Run it before a release and after a change of an algorithm; hours.
# With arguments: only what is named.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Every `#[ignore]`d test of the files in tests/ and benches/tests/ belongs here; a line is
# a name, the package, the test file, and the test in it.
tests=(
    # "group-reads   coeval  atomicity  ten_million_group_reads_at_2_8_and_32_threads"
    # "fresh-keys    coeval  memory     a_hundred_million_fresh_keys"
)

wanted() { # NAME ARGUMENTS-OF-THE-SCRIPT...
    [ $# -eq 1 ] && return
    local name=$1
    shift
    for argument in "$@"; do [ "$argument" = "$name" ] && return; done
    return 1
}

# Those that the list has not: forgetting one is an error.
listed=$(printf '%s\n' "${tests[@]:-}" | awk '{ print $4 }')
for package in coeval coeval-bench; do
    cargo test --release -p "$package" --tests -- --ignored --list 2>/dev/null |
        sed -n 's/: test$//p' |
        while read -r test; do
            grep -qxF "$test" <<<"$listed" || echo "error: ci/long.sh does not run $test" >&2
        done
done

for line in "${tests[@]}"; do
    read -r name package file test <<<"$line"
    wanted "$name" "$@" || continue
    part cargo test --release -p "$package" --test "$file" -- --ignored --exact "$test" --nocapture
done

if wanted loom "$@"; then
    LOOM_MAX_PREEMPTIONS=5 LOOM_SECONDS=7200 part ci/loom.sh
fi
if wanted race "$@"; then
    RUNS=5000 part ci/main-job.sh
fi
