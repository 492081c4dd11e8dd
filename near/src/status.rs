//! How a cache is doing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A count that only tells something. Relaxed: nothing is decided by it.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub links: Count,
    pub pushes: Count,
    pub flushes: Count,
    pub installed: Count,
    pub refused: Count,
    pub reads: Count,
}

/// How a cache is doing; returned by [`NearCache::status`](crate::NearCache::status).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Whether there is a connection; in a cluster, to the node of each slot.
    pub connected: bool,
    /// Whether hits are served now: there is a connection, or hits outlast it, and the server was
    /// heard of within `max_staleness`.
    pub serves_hits: bool,
    /// How many connections there have been. All but the first followed a break; in a cluster, all
    /// but the first to each node.
    pub connections: u64,
    /// All changes on the server up to this long ago are applied here.
    pub age: Duration,
    /// Reads that went to the server.
    pub reads: u64,
    /// Replies that were installed in the L1.
    pub installed: u64,
    /// Replies that were not installed, since their key was invalidated while they were in flight,
    /// or since their connection had been replaced.
    pub refused: u64,
    /// Invalidations that the server has pushed.
    pub pushes: u64,
    /// How many of them were for all keys.
    pub flushes: u64,
    /// Why the last attempt to connect failed, or the server was given up, if there is none since;
    /// or that the runtime in which the cache connected has ended.
    pub last_failure: Option<String>,
}
