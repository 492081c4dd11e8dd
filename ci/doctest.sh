#!/usr/bin/env bash
# The examples in the documentation, with every feature.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo test -p coeval --doc --all-features
