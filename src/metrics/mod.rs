//! What the cache tells of itself: statistics, and a flight recorder. (No `unsafe`.)
//!
//! Whoever counts or records writes only to what is its own thread's, with plain loads and stores; whoever
//! asks goes over all threads. So a count costs a reader of the cache an addition in a line that it has.
//!
//! | file | what |
//! |---|---|
//! | `counters.rs` | counts, one block a thread |
//! | `stats.rs` | their sums, and what else `Cache::stats` shows |
//! | `recorder.rs` | the last events of each thread |
//! | `timeline.rs` | the events of all threads, in order |

mod counters;
mod recorder;
mod stats;
mod timeline;

pub use counters::{Counters, Mine};
pub use recorder::Recorder;
#[cfg(coeval_loom)]
pub use recorder::{Ring, Words};
pub use stats::{Removals, Stats};
pub use timeline::{Event, EventKind, Recorded, Timeline};
