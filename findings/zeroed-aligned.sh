#!/usr/bin/env bash
# Rust's standard library: zeroed memory that is aligned to more than 16 bytes is written to its end.
#
# Expected: large zeroed memory comes from the system, which gives a page when it is first used. So
# a large table that is mostly empty costs nothing.
#
# What happens: on Unix, the default allocator calls calloc up to an alignment of 16 bytes. Beyond
# that, it asks for aligned memory and writes zeroes to all of it. A table of values on cache lines
# of their own (crossbeam's CachePadded) therefore takes all of its memory, and the time to write
# it, at once. The documentation of GlobalAlloc::alloc_zeroed promises neither.
#
# Version: Rust 1.95.0 (std::alloc::System on x86-64 Linux with glibc), crossbeam-utils 0.8.21.
#
# For users: a process that reserves large aligned tables is larger than what it uses. Whoever wants
# empty pages asks for a page more without the alignment and aligns the address, or maps the memory
# (in this project: src/memory).
#
# Seen:
#   alloc_zeroed of 256 MiB, aligned to 8: 0 MiB resident
#   alloc_zeroed of 256 MiB, aligned to 16: 0 MiB resident
#   alloc_zeroed of 256 MiB, aligned to 32: 256 MiB resident
#   alloc_zeroed of 256 MiB, aligned to 64: 256 MiB resident
#   alloc_zeroed of 256 MiB, aligned to 4096: 256 MiB resident
#   zeroed slice of 256 MiB of AtomicU64: 0 MiB resident
#   zeroed slice of 256 MiB of CachePadded<AtomicU64>: 256 MiB resident
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

rust 'crossbeam-utils = "=0.8.21"' >"$temp/seen" <<'RUST'
use crossbeam_utils::CachePadded;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

const MIB: usize = 1 << 20;
const BYTES: usize = 256 * MIB;

/// The resident memory of the process, in pages of 4 KiB.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Prints by how much the process grows, to the nearest 64 MiB, while it has what `make` makes.
fn measure<T>(name: &str, make: impl FnOnce() -> T) -> T {
    let before = resident();
    let made = black_box(make());
    let grown = resident().saturating_sub(before) * 4096;
    println!("{name}: {} MiB resident", (grown + 32 * MIB) / (64 * MIB) * 64);
    made
}

fn main() {
    for align in [8, 16, 32, 64, 4096] {
        let layout = Layout::from_size_align(BYTES, align).unwrap();
        let name = format!("alloc_zeroed of 256 MiB, aligned to {align}");
        let memory = measure(&name, || unsafe { alloc_zeroed(layout) });
        assert!(!memory.is_null());
        unsafe { dealloc(memory, layout) };
    }
    drop(measure("zeroed slice of 256 MiB of AtomicU64", || {
        Box::<[AtomicU64]>::new_zeroed_slice(BYTES / size_of::<AtomicU64>())
    }));
    drop(measure("zeroed slice of 256 MiB of CachePadded<AtomicU64>", || {
        type Padded = CachePadded<AtomicU64>;
        Box::<[Padded]>::new_zeroed_slice(BYTES / size_of::<Padded>())
    }));
}
RUST
as_stated 'which zeroed memory is written'
