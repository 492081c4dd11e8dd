//! The race that `coeval` grew from, and the code for measurements and pictures that
//! `coeval-compare` shares with it.

pub mod cli;
pub mod freeze;
pub mod json;
pub mod latency;
pub mod machine;
pub mod measure;
pub mod picture;
pub mod progress;
pub mod race;
pub mod random;
pub mod table;
pub mod trace;
