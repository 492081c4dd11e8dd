#!/usr/bin/env bash
# The documentation builds, and none of its links is broken.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RUSTDOCFLAGS=-Dwarnings part cargo doc -p coeval -p coeval-check --no-deps --all-features
