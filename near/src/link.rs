//! One connection, from the moment it is set up until it breaks, and what is known through it.

use crate::source::Place;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One connection. An entry belongs to the link that read it, because only that one is told of its
/// changes. So an entry is served only as long as its link is the current one.
pub(crate) struct Link {
    /// Counts the links of a cache, from one. The place of the first link has the number 0.
    pub number: u64,
    connection: Option<MultiplexedConnection>,
    /// Where Sentinels said that the primary is.
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

/// What a hit asks for: whose entries may be served, and how old they may be. Apart from what other
/// calls write.
#[repr(align(128))]
pub(crate) struct Serving {
    /// The link whose entries may be served. 0: none may.
    link: AtomicU64,
    /// Until when, if nothing more is heard of the server: `max_staleness` after the time up to
    /// which all its changes are applied to the L1, as far as entries of that link are concerned.
    /// That is when the heartbeat was sent that was answered last.
    limit: AtomicU64,
    max_staleness: u64,
}

/// Less than this, in nanoseconds, is not worth a write to what all hits read.
const STEP: u64 = 1_000_000;

impl Serving {
    /// Nothing may be served yet.
    pub fn new(max_staleness: u64) -> Self {
        Self { link: AtomicU64::new(0), limit: AtomicU64::new(0), max_staleness }
    }

    /// Until when entries may be served, which are read after this. Acquire: pairs with `confirm`.
    /// Who loads it before an entry does not get one that was removed until the time that was
    /// confirmed; and if it is of a later link than the entry, then `link`, asked after the entry,
    /// is not the entry's any more.
    #[inline]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// The time up to which all changes are applied.
    pub fn confirmed(&self) -> u64 {
        self.limit().saturating_sub(self.max_staleness)
    }

    /// The link whose entries may be served; 0 if none may. Acquire: pairs with `begin`.
    #[inline]
    pub fn link(&self) -> u64 {
        self.link.load(Ordering::Acquire)
    }

    /// A heartbeat was answered that was sent at this time. Release: pairs with `limit`.
    ///
    /// The caller has found its link to be the current one after it took the time. If another one
    /// follows before the time is noted here, that does no harm: the entries of that link are read
    /// later than this time, so nothing has changed them before it.
    pub fn confirm(&self, sent: u64) {
        let limit = sent.saturating_add(self.max_staleness);
        // Relaxed: a smaller time than possible is noted, or the same twice.
        if limit > self.limit.load(Ordering::Relaxed).saturating_add(STEP) {
            self.limit.fetch_max(limit, Ordering::Release);
        }
    }

    /// Nothing may be served until the next `begin`. Release: who sees a time that is confirmed
    /// later also sees this.
    pub fn end(&self) {
        self.link.store(0, Ordering::Release);
    }

    /// Nothing of this link may be served. Release: as `end`.
    pub fn end_of(&self, link: u64) {
        // Relaxed on failure: then another link has begun or this one has ended, by somebody else.
        let _ = self.link.compare_exchange(link, 0, Ordering::Release, Ordering::Relaxed);
    }

    /// Entries of this link may be served. Release: pairs with `link`.
    pub fn begin(&self, link: u64, sent: u64) {
        self.limit.fetch_max(sent.saturating_add(self.max_staleness), Ordering::Release);
        self.link.store(link, Ordering::Release);
    }
}
