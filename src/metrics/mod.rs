//! What the cache reports about itself: statistics, and a flight recorder. (No `unsafe`.)
//!
//! A thread counts and records only in memory that it alone writes, with plain loads and stores. A
//! thread that asks for the figures visits the memory of all threads. So a count costs one
//! addition, in a cache line that the thread owns.
//!
//! | file | contents |
//! |---|---|
//! | `counters.rs` | counts, one block per thread |
//! | `stats.rs` | their sums, and what else `Cache::stats` shows |
//! | `load_times.rs` | how long loads took |
//! | `event.rs` | one event, and how it prints |
//! | `recorder.rs` | the last events of each thread |
//! | `timeline.rs` | the events of all threads, in order |
//! | `under_way.rs` | open views, and loads under way |

mod counters;
mod event;
mod load_times;
mod recorder;
mod stats;
mod timeline;
mod under_way;

pub use counters::{Counters, ThreadCounts};
pub use event::{Event, EventKind};
#[cfg(feature = "metrics")]
pub use load_times::LoadDurations;
pub use load_times::LoadTimes;
pub use recorder::Recorder;
#[cfg(any(coeval_loom, coeval_internals))]
pub use recorder::{EventRing, EventWords};
pub use stats::{Removals, Stats};
pub use timeline::{Recorded, Timeline};
pub use under_way::{LoadInfo, ViewInfo};
