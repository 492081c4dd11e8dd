#!/usr/bin/env bash
# The README's test command, and the tests of the kit.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo test
# The kit has no dependencies: it compiles in seconds.
part cargo test -p coeval-check
