//! How a cache is doing.

use pgwire_replication::Lsn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A count that only tells something. Relaxed: nothing is decided by it.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub links: Count,
    pub transactions: Count,
    pub cleared: Count,
    pub loads: Count,
    pub hidden: Count,
    pub uncached: Count,
    pub flushes: Count,
    /// Where the server's log ended when it was last asked.
    pub server: Count,
}

/// How a cache is doing; returned by [`PgCache::status`](crate::PgCache::status).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Whether hits are served now: there is a stream, and it was known to be up to date within
    /// `max_staleness`.
    pub serves_hits: bool,
    /// How many streams there have been. All but the first followed a break.
    pub streams: u64,
    /// All that was committed up to this long ago is applied.
    pub age: Duration,
    /// All that was committed up to this position is applied.
    pub position: Lsn,
    /// How many bytes of log the stream was behind the server, when that was last asked.
    pub behind: u64,
    /// Transactions that were applied, each by one commit.
    pub transactions: u64,
    /// How many of them have ended all entries: by TRUNCATE, by rows whose keys the server does not
    /// send, or by more keys than are kept.
    pub cleared: u64,
    /// Loads that were run.
    pub loads: u64,
    /// How many of them were not cached because there was no stream, or it broke meanwhile.
    pub uncached: u64,
    /// How many of them were not cached because they did not see a transaction that the stream had
    /// told of.
    pub hidden: u64,
    /// How often the server was made to flush its log, because somebody waited for it.
    pub flushes: u64,
    /// Why the last stream broke, or the last attempt to connect failed.
    pub last_failure: Option<String>,
}
