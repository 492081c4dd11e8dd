#!/usr/bin/env bash
# Every file is formatted as rustfmt.toml says.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo fmt --all --check
