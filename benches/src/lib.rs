//! The race that `coeval` grew from, and its comparison with other stores.

pub mod cli;
pub mod compare;
pub mod freeze;
pub mod hitrate;
pub mod latency;
pub mod machine;
pub mod measure;
pub mod output;
pub mod progress;
pub mod race;
pub mod random;
pub mod stores;
pub mod table;
pub mod trace;
pub mod workloads;
