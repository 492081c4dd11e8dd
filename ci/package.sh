#!/usr/bin/env bash
# The crates that are published can be packed: each package holds what it needs, and builds by
# itself. Needs a clean checkout, and the registry.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo package -p coeval-macros -p coeval --all-features
part cargo package -p coeval-check
