#!/usr/bin/env bash
# The protocol in Promela (the folder `model`) passes, explored by SPIN to its end, and each defect
# that can be planted in it makes it fail. Installs SPIN; if that fails, says that it is skipped.
# With the argument `all`: the larger setups, too, which take minutes and 2 GiB of memory.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

install_spin() {
    command -v apt-get >/dev/null || return 1
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -qq -y --no-install-recommends spin gcc libc6-dev >/dev/null
}

if ! command -v spin >/dev/null; then part install_spin || true; fi
if ! command -v spin >/dev/null || ! command -v gcc >/dev/null; then
    echo '-- SKIPPED: the models in Promela. `apt-get install spin gcc` has not worked here.'
    exit 0
fi

models=$PWD/model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Explores one model to its end: explore OPTIMIZATION MODEL DEFINITIONS... Prints what SPIN says.
explore() {
    local folder
    folder=$(mktemp -d -p "$work")
    (
        cd "$folder"
        spin "${@:3}" -a "$models/$2.pml"
        gcc "$1" -w -DSAFETY -DCOLLAPSE -DMEMLIM=4000 -o pan pan.c
        # -m: no search is cut off because it is deep.
        ./pan -m100000
    ) >"$folder/log" 2>&1 || true
    cat "$folder/log"
}

passes() { # MODEL DEFINITIONS...
    local log
    log=$(explore -O2 "$@")
    # An incomplete search says so, and has no errors either.
    if grep -q 'errors: 0$' <<<"$log" && ! grep -qE 'max search depth|not completed' <<<"$log"; then
        echo "-- $*: passed, $(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' <<<"$log") states"
    else
        printf '%s\n-- %s: FAILED\n' "$log" "$*"
        touch "$work/failed"
    fi
}

fails() { # MODEL DEFINITIONS...
    local log
    log=$(explore -O0 "$@")
    if grep -q 'assertion violated' <<<"$log"; then
        echo "-- $*: fails, as it must"
    else
        printf '%s\n-- %s: the model does not see this defect\n' "$log" "$*"
        touch "$work/failed"
    fi
}

# Two at a time.
beside() {
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n || true; done
    "$@" &
}

begin=$SECONDS
beside passes commit -DSETUP=2
beside passes near -DCHANGES=1
beside passes near_age
beside passes sealing
for setup in 1 3 4; do beside passes near_slots "-DSETUP=$setup"; done
for defect in "1 5" "2 2" "3 2" "5 5" "6 2" "7 4"; do
    beside fails commit "-DDEFECT=${defect% *}" "-DSETUP=${defect#* }"
done
for defect in 1 2 3 4 5 6 7; do beside fails near -DCHANGES=1 "-DDEFECT=$defect"; done
for defect in 1 2 3 4 5 6 7 8; do beside fails near_age "-DDEFECT=$defect"; done
for defect in 1 2 3 4; do beside fails sealing "-DDEFECT=$defect"; done
for defect in "1 3" "2 1" "3 1" "4 1" "5 1" "6 3" "7 3" "8 3" "9 4" "10 1"; do
    beside fails near_slots "-DDEFECT=${defect% *}" "-DSETUP=${defect#* }"
done
if [ "${1:-}" = all ]; then
    for setup in 1 3 4 5; do beside passes commit "-DSETUP=$setup"; done
    beside fails commit -DDEFECT=4 -DSETUP=4
    beside passes near -DCHANGES=2
    for setup in 2 5; do beside passes near_slots "-DSETUP=$setup"; done
    beside fails near_slots -DDEFECT=11 -DSETUP=5
    beside passes postgres
    beside passes postgres -DOTHER=4
    beside passes postgres -DFIRST=6 -DSECOND=3
    beside passes postgres -DOTHER=4 -DFIRST=6 -DSECOND=3
    for defect in 1 2 3 4 5 6 7; do beside fails postgres "-DDEFECT=$defect"; done
fi
wait
echo "-- $((SECONDS - begin)) s"
[ ! -e "$work/failed" ]
