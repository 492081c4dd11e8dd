#!/usr/bin/env bash
# The library's unit tests and its integration tests under AddressSanitizer (with leak detection)
# and under LeakSanitizer alone, which runs at full speed and so reaches other schedules.
# With arguments: passed to the tests, as a filter.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_nightly
export COEVAL_STRESS=${COEVAL_STRESS:-short}
export ASAN_OPTIONS=detect_leaks=1
target=x86_64-unknown-linux-gnu

run() { # NAME RUSTFLAGS ARGUMENTS...
    with_flags "$2" cargo +nightly test -p coeval --lib --test '*' --features crossbeam-epoch,seize \
        --target "$target" --target-dir "target/$1" -- "${@:3}"
}

# coeval_asan: free slots of a pool count as freed. coeval_lsan: all memory comes from the
# allocator, as a leak sanitizer looks for references nowhere else.
run asan '-Zsanitizer=address --cfg coeval_asan --cfg coeval_lsan' "$@"
run lsan '-Zsanitizer=leak --cfg coeval_lsan' "$@"
