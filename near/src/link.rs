//! One connection, from the moment it is set up until it breaks, and what is known through it.

use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One connection. An entry belongs to the link that read it, because only that one is told of its
/// changes. So an entry is served only as long as its link is the current one.
pub(crate) struct Link {
    /// Counts the links of a cache, from one. The place of the first link has the number 0.
    pub number: u64,
    connection: Option<MultiplexedConnection>,
    /// The L1 is cleared of what earlier links read.
    opened: AtomicBool,
    /// The connection is broken, or is taken for broken. Shared with the receiver of its pushes.
    gone: Arc<AtomicBool>,
    /// All changes on the server before this time are applied to the L1: when the command was sent
    /// that has the last reply so far.
    confirmed: AtomicU64,
}

impl Link {
    /// The place of the first link, before there is one.
    pub fn none() -> Self {
        Self {
            number: 0,
            connection: None,
            opened: AtomicBool::new(false),
            gone: Arc::new(AtomicBool::new(true)),
            confirmed: AtomicU64::new(0),
        }
    }

    /// A link that is not open yet.
    pub fn new(
        number: u64,
        connection: MultiplexedConnection,
        gone: Arc<AtomicBool>,
        confirmed: u64,
    ) -> Self {
        Self {
            number,
            connection: Some(connection),
            opened: AtomicBool::new(false),
            gone,
            confirmed: AtomicU64::new(confirmed),
        }
    }

    /// A handle of the connection. None only if there never was one.
    pub fn connection(&self) -> Option<MultiplexedConnection> {
        self.connection.clone()
    }

    /// Lets readers use it. Release: who sees it open (`is_up`) also sees the L1 cleared.
    pub fn open(&self) {
        self.opened.store(true, Ordering::Release);
    }

    /// Notes the break.
    pub fn break_off(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether it has broken. Acquire: pairs with the store in `break_off`, or with that of the
    /// receiver of its pushes.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether it is in use. Acquire: pairs with `open`.
    pub fn is_up(&self) -> bool {
        self.opened.load(Ordering::Acquire) && !self.is_gone()
    }

    /// A reply has come to a command that was sent at this time. Release: who sees the time
    /// (`confirmed`) also sees what the pushes before that reply removed from the L1.
    pub fn confirm(&self, sent: u64) {
        self.confirmed.fetch_max(sent, Ordering::Release);
    }

    /// The time up to which all changes are applied. Acquire: pairs with `confirm`. Load it before
    /// the entry for which it is to vouch.
    pub fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }
}
