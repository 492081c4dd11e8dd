#!/usr/bin/env bash
# The library's unit tests and its integration tests, with every feature and on every backend, under a
# sanitizer. With arguments: passed to the tests, as a filter.
#
#   COEVAL_STRESS  `least` (the default): a quarter of the work, and the promises on the default
#              backend only; else all of it
#   SANITIZER  `address` (the default), which detects leaks too; or `leak` alone, which runs at full
#              speed and so reaches other schedules (`ci/long.sh` runs it)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_nightly
sanitizer=${SANITIZER:-address}
# coeval_lsan: all memory comes from the allocator, as a leak sanitizer looks for references nowhere
# else. coeval_asan: free slots of a pool count as freed.
flags="-Zsanitizer=$sanitizer --cfg coeval_lsan"
if [ "$sanitizer" = address ]; then flags+=' --cfg coeval_asan'; fi

export COEVAL_STRESS=${COEVAL_STRESS:-least}
export ASAN_OPTIONS=detect_leaks=1
run() { # OPTIONS... -- ARGUMENTS...
    with_flags "$flags" cargo +nightly test -p coeval \
        --target x86_64-unknown-linux-gnu --target-dir "target/$sanitizer" "$@"
}

if [ "$COEVAL_STRESS" != least ] || [ $# -gt 0 ]; then
    run --all-features --lib --test '*' -- "$@"
    exit
fi

# Computations on one thread, without a pointer: they take long, and a sanitizer finds nothing there.
run --all-features --lib -- \
    --skip policy::tests::decisions --skip pool::shape --skip most_slots_are_at_home
run --all-features --test churn --test ends --test frozen --test heap --test threads
run --features "$(features | grep -vxE 'crossbeam-epoch|seize' | paste -sd,)" --test promises
