#!/usr/bin/env bash
# Line coverage of `src`, without its tests: by room, and each function with lines that nothing
# runs. Runs the unit tests, the integration tests and the examples in the documentation, with all
# features. Fails if too few lines are covered, or if ci/coverage-uncovered.txt does not have a
# function's uncovered lines. It is no part of `.ci/run`, for which it takes too long.
#
# Needs `llvm-cov` and `llvm-profdata` of the LLVM version that rustc has: of rustup's `llvm-tools`,
# if they are there, else of Debian's package `llvm-VERSION`, which the script installs.
#
#   LEAST          the least coverage, in percent (default 95)
#   COEVAL_STRESS  how much work the tests do (default `least`)
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
host=$(rustc -vV | sed -n 's/^host: //p')
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
if [ ! -x "$tools/llvm-cov" ]; then
    tools=/usr/lib/llvm-$version/bin
    if [ ! -x "$tools/llvm-cov" ]; then
        part apt-get update -qq
        part apt-get install -qq -y "llvm-$version"
    fi
fi

out=$PWD/target/coverage
rm -rf "$out/profiles" "$out/doctests"
mkdir -p "$out/doctests"
# Each program has a few files, into which its processes merge their counts.
export LLVM_PROFILE_FILE=$out/profiles/%4m.profraw
export COEVAL_STRESS=${COEVAL_STRESS:-least}
# Counts are exact although threads race, as the counts of some lines are differences of others.
flags='-C instrument-coverage -C llvm-args=-instrprof-atomic-counter-update-all'
# The steps of operations, at which tests act.
flags+=' --cfg coeval_internals'
# The promises run on the default backend only: the others take minutes more each. The programs
# that are left out take long, or test other things than behaviour.
programs=(--lib)
for name in $(sed 's/\.rs$//' < <(ls tests) | sort -u); do
    case $name in checked | common | layering | lines | promises | slopes | stall) continue ;; esac
    programs+=(--test "$name")
done
some=$(features | grep -vxE 'crossbeam-epoch|seize' | paste -sd,)
run() { # OPTIONS...
    with_flags "$flags" cargo test -p coeval --target-dir "$out" "$@"
}

run --all-features "${programs[@]}"
run --features "$some" --test promises
# The option that keeps the programs of the examples is not stable yet, so rustdoc alone is told to
# accept it.
printf '#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n' >"$out/rustdoc"
chmod +x "$out/rustdoc"
RUSTDOC=$out/rustdoc RUSTDOCFLAGS="$flags -Z unstable-options --persist-doctests $out/doctests" \
    run --all-features --doc

# The paths of programs that were built above.
built() { # OPTIONS...
    RUSTFLAGS=$flags cargo test -q -p coeval --target-dir "$out" --no-run \
        --message-format=json "$@" | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

objects=()
while read -r program; do objects+=(-object "$program"); done < <(
    built --all-features "${programs[@]}"
    built --features "$some" --test promises
    find "$out/doctests" -type f -name rust_out
)
part "$tools/llvm-profdata" merge -sparse -o "$out/merged" "$out"/profiles/*.profraw
"$tools/llvm-cov" export -format=lcov -instr-profile "$out/merged" "${objects[@]:1}" \
    -sources "$PWD/src" >"$out/lcov"
awk -f ci/coverage.awk -v list=ci/coverage-uncovered.txt -v least="${LEAST:-95}" -v root="$PWD/" \
    "$out/lcov"
