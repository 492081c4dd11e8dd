#!/usr/bin/env bash
# The documentation builds, and none of its links is broken.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RUSTDOCFLAGS=-Dwarnings part cargo doc -p coeval --no-deps --all-features
