# shellcheck shell=bash
# Shared by the scripts beside it: where they run, and how they call what they do.
# Source it first: . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# One part of a step: prints it, runs it, says how long it took, and how long on processors.
part() {
    local TIMEFORMAT='-- %0R s, %0U s on processors'
    printf -- '-- %s\n' "$*"
    time "$@"
}

# Like part, for cargo with RUSTFLAGS of its own: with_flags FLAGS COMMAND...
with_flags() {
    printf -- '-- RUSTFLAGS=%q\n' "$1"
    RUSTFLAGS=$1 part "${@:2}"
}

# Makes sure that the nightly toolchain is there, which only the sanitizers need.
need_nightly() {
    if cargo +nightly --version >/dev/null 2>&1; then return; fi
    echo '-- rustup toolchain install nightly --profile minimal'
    if ! rustup toolchain install nightly --profile minimal; then
        echo "error: $0 needs a nightly toolchain, and rustup could not install one" >&2
        exit 1
    fi
}

# Makes sure that a cargo subcommand is there, which not every machine has: need_tool CRATE COMMAND.
need_tool() {
    if cargo "$2" --version >/dev/null 2>&1; then return; fi
    echo "not checked: $1 is not installed; \`cargo install --locked $1\` builds it" >&2
    exit 3
}

# The features of coeval as Cargo.toml declares them, one a line.
features() {
    sed -n '/^\[features\]/,/^\[dep/s/^\([a-z][a-z0-9_-]*\) *=.*/\1/p' Cargo.toml | grep -vx default
}
