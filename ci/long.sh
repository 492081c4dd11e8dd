#!/usr/bin/env bash
# What takes too long for every change; hours. Run it before a release, and after a change of an
# algorithm the lines that concern it. With arguments: only the lines with these names.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Each integration test with as much work as it has (`COEVAL_STRESS=long`), where more threads than
# processors run, then the rest: a name, and a command in which variables may be set.
tests=()
for name in $(ls tests | sed 's/\.rs$//' | sort -u); do
    case $name in checked | churn | common) continue ;; esac # below; no test
    tests+=("$name  RUSTFLAGS=--cfg=coeval_internals CARGO_TARGET_DIR=target/internals COEVAL_STRESS=long \
        cargo test --release -p coeval --all-features --test $name")
done
tests+=(
    "units      COEVAL_STRESS=long cargo test --release -p coeval --lib --all-features"
    "ignored    cargo test --release --workspace --all-features -- --ignored"
    "loom       LOOM_MAX_PREEMPTIONS=4 LOOM_SECONDS=600 ci/loom.sh"
    "model      ci/model.sh all"
    "sanitize   COEVAL_STRESS=normal ci/sanitize.sh"
    "leaks      COEVAL_STRESS=normal SANITIZER=leak ci/sanitize.sh"
    "near       COEVAL_STRESS=long ci/near.sh whole"
    "postgres   COEVAL_STRESS=long ci/postgres.sh whole"
    "race       RUNS=20000 ci/main-job.sh"
    "churn      COEVAL_CHURN_OPS=200000000 cargo test --release -p coeval \
        --features crossbeam-epoch,seize --test churn -- --nocapture"
    "checked    ci/checked.sh"
    "planted    ci/planted.sh all"
    "threads    MODEL_SECONDS=20 ci/threads.sh"
    "shuttle    MODEL_SECONDS=20 ci/shuttle.sh"
    "fuzz       ci/fuzz.sh"
    "kit        COEVAL_CHECK_HISTORIES=1000000 cargo test --release -p coeval-check"
    "stores     COEVAL_CHECK_TRANSACTIONS=1000000 cargo test --release -p coeval-check-stores"
    # Another: "name  [VARIABLE=value...] command [argument...]"
)

for line in "${tests[@]}"; do
    read -r name command <<<"$line"
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then continue; fi
    printf '\n== %s\n' "$name"
    # shellcheck disable=SC2086 # Split at blanks, as the list says.
    part env $command
done
