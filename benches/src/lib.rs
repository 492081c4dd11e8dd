//! coeval-bench
