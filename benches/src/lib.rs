//! The race that `coeval` grew from, and what `coeval-compare` shares with it: how things are
//! measured, and how they are shown.

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
