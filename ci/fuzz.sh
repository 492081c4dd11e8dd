#!/usr/bin/env bash
# The fuzz targets, each for a while, from the committed corpus on: operations against the model,
# the saved file, and histories as text. Needs a nightly toolchain and cargo-fuzz; where cargo-fuzz is
# missing, the script says so, and ends with status 3. With arguments: only the targets named.
#
#   SECONDS_EACH  how long each target runs (default 200, which makes ten minutes)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_nightly
need_tool cargo-fuzz fuzz
targets=("$@")
if [ $# -eq 0 ]; then targets=(operations saved history); fi
# Free slots of the pool count as freed.
export RUSTFLAGS='--cfg coeval_asan --cfg coeval_lsan'
for target in "${targets[@]}"; do
    # What is found goes to the first folder; a failure to target/fuzz-found.
    found=target/fuzz-found/$target
    mkdir -p "$found/corpus"
    part cargo +nightly fuzz run --fuzz-dir fuzz --target-dir target/fuzz \
        "$target" "$found/corpus" "fuzz/corpus/$target" -- \
        -max_total_time="${SECONDS_EACH:-200}" -max_len=4096 -artifact_prefix="$found/"
done
