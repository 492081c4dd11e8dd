#!/usr/bin/env bash
# Everything that nobody runs every day compiles: each feature alone, all together, every example
# and every benchmark. And the tests of the comparison with other stores, of the guide to moving from
# them, and of what the kit says of stores, which need all of these.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

part cargo check -p coeval --no-default-features
for feature in $(features); do
    part cargo check -p coeval --no-default-features --features "$feature"
done
part cargo check -p coeval --all-targets --all-features
part cargo check --workspace --all-targets
# With optimizations, as `ci/main-job.sh` compiles the other stores: once for both.
part cargo test --release -p coeval-compare -p coeval-check-stores -p coeval-migrating
