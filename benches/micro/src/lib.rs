//! Benchmarks of single operations: in `benches`, run by `cargo bench -p coeval-micro`.
