//! A cache over a real cluster.

mod all_faults;
mod facts;
mod faults;
mod moving;
mod nodes;
mod routing;
mod stress;
