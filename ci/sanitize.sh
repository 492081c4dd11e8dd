#!/usr/bin/env bash
# The library's unit tests and its integration tests, with every feature and on every backend, under a
# sanitizer. With arguments: passed to the tests, as a filter.
#
#   SANITIZER  `address` (the default), which detects leaks too; or `leak` alone, which runs at full
#              speed and so reaches other schedules (`ci/long.sh` runs it)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_nightly
sanitizer=${SANITIZER:-address}
# coeval_lsan: all memory comes from the allocator, as a leak sanitizer looks for references nowhere
# else. coeval_asan: free slots of a pool count as freed.
flags="-Zsanitizer=$sanitizer --cfg coeval_lsan"
if [ "$sanitizer" = address ]; then flags+=' --cfg coeval_asan'; fi

# A quarter of the work: ci/long.sh does all of it.
export COEVAL_STRESS=${COEVAL_STRESS:-least}
export ASAN_OPTIONS=detect_leaks=1
with_flags "$flags" cargo +nightly test -p coeval --lib --test '*' --all-features \
    --target x86_64-unknown-linux-gnu --target-dir "target/$sanitizer" -- "$@"
