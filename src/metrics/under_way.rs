//! What is under way in a cache: open views, and loads.

use crate::version::Version;
use std::panic::Location;
use std::time::Duration;

/// A view that is open; one of the results of `Cache::open_views`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ViewInfo {
    /// The version that it shows.
    pub version: Version,
    /// The time for which it has been open.
    pub age: Duration,
    /// The place in the code that opened it. `None` without the features `metrics` and `tracing`,
    /// and for a view that the cache has opened for an operation of its own.
    pub opened_at: Option<&'static Location<'static>>,
}

/// A load under way; one of the results of `Cache::loads_under_way`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LoadInfo {
    /// The hash of the key; of a group, that of its first key. Events of the flight recorder show
    /// it, too.
    pub key_hash: u32,
    /// The time since the load began. `None` without the feature `metrics`, unless there is a
    /// [time limit](crate::Builder::load_timeout) for loads, and for a load that an executor has
    /// yet to begin.
    pub age: Option<Duration>,
    /// The callers that wait for it, beside the one that loads.
    pub waiters: usize,
}
