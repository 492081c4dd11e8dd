//! Benchmarks of single operations. They are in `benches`; `cargo bench -p coeval-micro` runs them.
