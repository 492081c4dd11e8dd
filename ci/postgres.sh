#!/usr/bin/env bash
# The cache in front of PostgreSQL passes its tests against a real server, which is installed from
# Debian's packages if there is none, and its example counts the torn pages of both ways. If no
# server can be had, the tests are skipped, and the last line says so. With an argument: only the
# tests whose name contains it.
#
#   COEVAL_POSTGRES  the folder of the programs initdb and postgres, in place of these
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# PostgreSQL as the distribution has it, without a cluster, and without a service that is started.
install_postgres() {
    command -v apt-get >/dev/null || return 1
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql-common >/dev/null &&
        sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' \
            /etc/postgresql-common/createcluster.conf &&
        apt-get install -qq -y --no-install-recommends postgresql >/dev/null
}

find_postgres() {
    local folder
    for folder in "${COEVAL_POSTGRES:-}" /usr/lib/postgresql/*/bin ${PATH//:/ }; do
        if [ -x "$folder/initdb" ] && [ -x "$folder/postgres" ]; then
            echo "$folder"
            return
        fi
    done
}

if [ -z "$(find_postgres)" ]; then
    part install_postgres || echo '-- no PostgreSQL from apt-get'
fi
folder=$(find_postgres)
echo "-- server: ${folder:-none}"

part cargo test -p coeval-postgres "${@:+--lib}" -- "$@"
RUSTDOCFLAGS=-Dwarnings part cargo doc -p coeval-postgres --no-deps --all-features
if [ $# -eq 0 ]; then part cargo run -p coeval-postgres --example service -- 3; fi
if [ -z "$folder" ]; then
    echo '-- SKIPPED: the tests against a real server. apt-get install postgresql has not worked'
    echo '   here, and COEVAL_POSTGRES names no folder with initdb and postgres.'
fi
