//! What a builder collects.

use std::time::Duration;

/// What becomes of hits while there is no connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDisconnect {
    /// There are none: the entries are gone as soon as the break is noticed.
    #[default]
    Refuse,
    /// Entries are served until their age reaches `max_staleness`, or a new connection is there.
    ServeWithinMaxStaleness,
}

/// The settings of a cache that its parts look up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub prefix: String,
    /// In nanoseconds.
    pub max_staleness: u64,
    pub heartbeat: Duration,
    /// A heartbeat without an answer for this time breaks the connection.
    pub dead_after: Duration,
    /// How long a call waits for a connection.
    pub wait: Duration,
    /// How long a call waits for an answer.
    pub answer: Duration,
    pub on_disconnect: OnDisconnect,
    /// How long a loader may hold the right to load a key, among all processes.
    pub load: Duration,
    /// How long the server keeps what was loaded; for ever if None.
    pub keep_loaded: Option<Duration>,
}
