#!/usr/bin/env bash
# The models, on real threads instead of loom's: with the sizes, the orders and the speed that the
# library has there. Each runs again and again, with threads that wait at steps at random.
# With arguments: passed to the tests, as a filter.
#
#   MODEL_SECONDS  how long each model runs (default 0.2)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export MODEL_SECONDS=${MODEL_SECONDS:-0.2} CARGO_PROFILE_DEV_OPT_LEVEL=1
with_flags '--cfg coeval_internals' cargo test --quiet -p loom-tests --target-dir target/internals \
    --test threads -- --test-threads=1 "$@"
