#!/usr/bin/env bash
# Everything that nobody runs every day compiles: each feature alone, every example and every
# benchmark. `ci/clippy.sh` compiles all features together. The corpus of the fuzz targets passes.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo check -p coeval --no-default-features
for feature in $(features); do
    part cargo check -p coeval --no-default-features --features "$feature"
done
part cargo check --workspace --all-targets
part cargo test -p coeval-fuzz --test corpus
