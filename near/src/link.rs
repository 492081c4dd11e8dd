//! One connection, from the moment it is set up until it breaks, and what is known through it.

use crate::source::Place;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One connection. An entry belongs to the link that read it, because only that one is told of its
/// changes. So an entry is served only in the term in which it was read; see `Serving`.
pub(crate) struct Link {
    /// Counts the links of a cache, from one. The place of the first link has the number 0.
    pub number: u64,
    connection: Option<MultiplexedConnection>,
    /// Where Sentinels, or the nodes of a cluster, said that the server is.
    pub place: Option<Place>,
    /// The L1 is cleared of what earlier links read.
    opened: AtomicBool,
    /// The connection is broken, or is taken for broken. Shared with the receiver of its pushes.
    gone: Arc<AtomicBool>,
}

impl Link {
    /// The place of the first link, before there is one.
    pub fn none() -> Self {
        Self {
            number: 0,
            connection: None,
            place: None,
            opened: AtomicBool::new(false),
            gone: Arc::new(AtomicBool::new(true)),
        }
    }

    /// A link that is not open yet.
    pub fn new(
        number: u64,
        connection: MultiplexedConnection,
        place: Option<Place>,
        gone: Arc<AtomicBool>,
    ) -> Self {
        let opened = AtomicBool::new(false);
        Self { number, connection: Some(connection), place, opened, gone }
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
}
