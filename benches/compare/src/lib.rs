//! Compares `coeval` with other stores, and measures hit ratios on recorded traces.

pub mod cli;
pub mod compare;
pub mod hitrate;
pub mod output;
pub mod stores;
pub mod workloads;

use coeval_bench::{freeze, machine, measure, progress, random, table, trace};
