#!/usr/bin/env bash
# The dependencies of the published crates: no known advisory, no licence that deny.toml does not
# allow, no crate twice, no other source than crates.io. Needs cargo-deny, and the network for the
# list of advisories. Where cargo-deny is missing, the script says so, and ends with status 3.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tool cargo-deny deny
part cargo deny check
