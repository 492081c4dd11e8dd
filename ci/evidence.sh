#!/usr/bin/env bash
# What the promises rest on: runs the witnesses that docs/evidence.md names, and writes a page with
# what ran, for how long, and how it went. Fails if a witness failed, or did not run. With
# arguments: only the rows with these numbers.
#
#   PAGE           where the page goes (default target/evidence.md)
#   COEVAL_STRESS  how much work the tests do (see CONTRIBUTING.md)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

page=${PAGE:-target/evidence.md}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# The chosen rows: number, promise and witnesses, with tabs between them.
rows=$(awk -F ' *[|] *' -v chosen=" $* " '
    $2 ~ /^[0-9]+$/ && (chosen == "  " || index(chosen, " " $2 " ")) {
        gsub(/[`,]/, "", $4); print $2 "\t" $3 "\t" $4
    }' docs/evidence.md)
if [ -z "$rows" ]; then
    echo "error: docs/evidence.md has no such row: $*" >&2
    exit 1
fi
mapfile -t witnesses < <(cut -f3 <<<"$rows" | tr ' ' '\n' | grep -vx limit | sort -u)
mapfile -t programs < <(printf '%s\n' "${witnesses[@]}" | sed 's/::.*//' | sort -u)

# The witnesses of one program, as libtest's filters: the last words of their paths.
filters_of() { printf '%s\n' "${witnesses[@]}" | sed -n "s/^$1:://p" | sed 's/.*:://' | sort -u; }

# Runs the witnesses of one program, all in one command.
run() {
    local filters
    mapfile -t filters < <(filters_of "$1")
    case $1 in
        loom) ci/loom.sh "${filters[@]}" ;;
        slopes) ci/slopes.sh ;;
        # In this build the tests can act at the steps of an operation.
        promises | stall | turns | checked)
            with_flags '--cfg coeval_internals' cargo test -p coeval --all-features \
                --target-dir target/internals --test "$1" -- "${filters[@]}"
            ;;
        *) part cargo test -p coeval --all-features --test "$1" -- "${filters[@]}" ;;
    esac
}

# How a witness went: `ok`, with the number of its tests, or what is wrong.
verdict() {
    local program=${1%%::*} path=${1#*::} good bad
    if [ "$program" = loom ]; then
        good="^-- $path passed" bad="^-- $path FAILED"
    else
        # The backend's module is between a module and its test.
        local last=${path##*::} parent=
        if [ "$last" != "$path" ]; then parent=${path%::*}::; fi
        good="^test $parent([a-z_]+::)?$last(::.*)? \.\.\. ok" bad=${good% ok}" FAILED"
    fi
    if grep -qE "$bad" "$logs/$program"; then
        echo FAILED
    elif grep -qE "$good" "$logs/$program"; then
        echo "ok ($(grep -cE "$good" "$logs/$program"))"
    else
        echo 'did not run'
    fi
}

mkdir -p "$(dirname "$page")"
{
    printf '# Evidence for the promises\n\n'
    printf 'Commit %s, %s, %s processors, %s.\n' "$(git rev-parse --short HEAD)" "$(uname -sm)" \
        "$(nproc)" "$(rustc --version)"
    printf '\n## What ran\n\n| program | seconds | tests that passed | that failed |\n|---|---|---|---|\n'
} >"$page"
for program in "${programs[@]}"; do
    begin=$SECONDS
    run "$program" 2>&1 | tee "$logs/$program" || true
    sum() { awk -v of="$1;" '/^test result: / { for (i = 2; i <= NF; i++) if ($i == of) n += $(i - 1) }
        END { print n + 0 }' "$logs/$program"; }
    printf '| `%s` | %d | %s | %s |\n' "$program" $((SECONDS - begin)) "$(sum passed)" \
        "$(sum failed)" >>"$page"
done
printf '\n## How it went\n\n| number | promise | witnesses |\n|---|---|---|\n' >>"$page"
while IFS=$'\t' read -r number promise of_row; do
    told=
    for witness in $of_row; do
        if [ "$witness" = limit ]; then told+='limit, '; continue; fi
        told+="\`$witness\`: $(verdict "$witness"), "
    done
    printf '| %s | %s | %s |\n' "$number" "$promise" "${told%, }" >>"$page"
done <<<"$rows"

wrong=$(grep -cE '(FAILED|did not run)' "$page" || true)
printf '\n%d rows, %d of them with a witness that failed or did not run\n' "$(wc -l <<<"$rows")" \
    "$wrong" | tee -a "$page"
echo "$page"
[ "$wrong" = 0 ]
