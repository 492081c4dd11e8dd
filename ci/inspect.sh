#!/usr/bin/env bash
# The live page works in a real browser: by keyboard, in light and dark, narrow and wide. Not a step
# of .ci/run. Needs Chromium and its driver; says so, and ends with status 3, if they are missing.
#
#   COEVAL_PICTURES  a folder for pictures of the page (docs/pictures has them)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! command -v chromedriver > /dev/null; then
    echo "chromedriver is missing (Debian: chromium chromium-driver)"
    exit 3
fi
# The tests run in the folder of their crate.
if [ -n "${COEVAL_PICTURES:-}" ]; then
    COEVAL_PICTURES=$(realpath "$COEVAL_PICTURES")
    export COEVAL_PICTURES
fi
part cargo test -p coeval-inspect
part cargo test -p coeval-inspect --test browser -- --ignored --test-threads=1
