#!/usr/bin/env bash
# Each defect of docs/planted.md that a test of ci/stall.sh, or a checked run, finds within seconds:
# it is planted, and the test must fail. With the argument `all`: the others that a test finds, too.
# With other arguments: only the defects with these names, or that tests of these programs find
# (`ci/planted.sh threads`: those that models on real threads find, in minutes).
#
#   LIMIT  the longest, in seconds, that a test may look for a defect (default 60; without arguments
#          300, because a busy machine may need longer than the table says)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

limit=${LIMIT:-$([ $# -gt 0 ] && echo 60 || echo 300)}
# Defect, witness and seconds of each row that has a witness.
rows=$(sed -n 's/^| `\([a-z_.]*\)` | [^|]* | `\([a-z0-9_:]*\)` | [^|]* | \([0-9.]*\) |$/\1 \2 \3/p' docs/planted.md)
[ -n "$rows" ]

# The builds of ci/stall.sh: the checked runs share the library with `stall`, and are optimized; the
# promises are those of the default backend, as they are. With arguments: of all backends.
export RUSTFLAGS='--cfg coeval_internals'
test=(cargo test --quiet --target-dir target/internals --no-run)
declare -A programs
# Builds a test program, and notes its path.
build() {
    local chosen=(-p coeval --test "$1") level=0 features=()
    case $1 in
        unit) chosen=(-p coeval --lib) ;;
        checked) level=1 features=(crossbeam-epoch seize) ;;
        saved) features=(serde) ;;
        threads) level=1 chosen=(-p loom-tests --test threads) ;;
    esac
    if [ "$1" != threads ] && [ "$2" != default ]; then features+=(crossbeam-epoch seize); fi
    if [ ${#features[@]} -gt 0 ]; then chosen+=(--features "${features[*]}"); fi
    export CARGO_PROFILE_DEV_OPT_LEVEL=$level
    part "${test[@]}" "${chosen[@]}"
    programs[$1]=$("${test[@]}" --message-format=json "${chosen[@]}" 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()
count=0
while read -r defect witness seconds; do
    case ${1:-} in
        all) ;;
        '')
            [ "${seconds%.*}" -lt 5 ] || continue
            # Others would be a build of their own.
            case $witness in checked::* | promises::*) ;; *) continue ;; esac
            ;;
        *) [[ " $* " == *" $defect "* || " $* " == *" ${witness%%::*} "* ]] || continue ;;
    esac
    name=${witness%%::*}
    if [ -z "${programs[$name]:-}" ]; then build "$name" "${1:-default}"; fi
    begin=$(date +%s%N)
    status=0
    COEVAL_DEFECT=$defect COEVAL_CHECKED_OPS=100000000 MODEL_SECONDS=$limit RUST_BACKTRACE=0 \
        timeout -s KILL $((limit + 5)) \
        "${programs[$name]}" --exact "${witness#*::}" --nocapture >"$log" 2>&1 || status=$?
    took=$(((($(date +%s%N) - begin) + 50000000) / 100000000))
    count=$((count + 1))
    if [ $status = 0 ] || [ $status = 137 ] || grep -q 'running 0 tests' "$log"; then
        failed+=("$defect")
        printf -- '-- %s: %s does NOT find it (%d)\n' "$defect" "$witness" "$status"
    else
        operations=$(sed -n 's/.*within \([0-9]* [a-z]*ions\).*/ within \1,/p' "$log" | head -n 1)
        printf -- '-- %s: %s finds it%s in %d.%d s (%d)\n' "$defect" "$witness" "$operations" \
            $((took / 10)) $((took % 10)) "$status"
    fi
done <<<"$rows"

echo "-- $count defects, ${#failed[@]} not found: ${failed[*]:-}"
[ ${#failed[@]} = 0 ]
