#!/usr/bin/env bash
# The public interface compiles for whoever used the version before: cargo-semver-checks compares it
# with the newest release on crates.io, or with the commit, tag or branch BASELINE. Where
# cargo-semver-checks is missing, the script says so, and ends with status 3. Before the first
# release there is nothing to compare with but a BASELINE.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tool cargo-semver-checks semver-checks
from=()
if [ -n "${BASELINE:-}" ]; then from=(--baseline-rev "$BASELINE"); fi
# A procedural macro has no interface that the tool could compare.
part cargo semver-checks -p coeval --all-features "${from[@]}"
