//! What a hit asks for: whose entries may be served, and how old they may be.

use crate::slots::SLOTS;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which terms are under way. A *term* is the time for which one link answers for one slot: from
/// its begin on, all that is read of the slot is read through that link. An entry belongs to the
/// term in which it was read, and is served only as long as that is under way.
///
/// The number of a term tells its slot. Those of one slot only grow.
#[derive(Debug)]
pub(crate) struct Terms {
    /// That of a single server, which has one slot. In a cluster, 0.
    only: AtomicU64,
    of_slots: Option<Arc<[AtomicU64; SLOTS]>>,
}

impl Terms {
    fn new(is_cluster: bool) -> Self {
        let none = || (0..SLOTS).map(|_| AtomicU64::new(0)).collect::<Arc<[_]>>();
        let of_slots = is_cluster.then(|| none().try_into().expect("one for each slot"));
        Self { only: AtomicU64::new(0), of_slots }
    }

    /// What a view asks: of a single server, the term that is under way now, for as long as the
    /// view is held; of a cluster, all terms.
    pub fn for_view(&self) -> Self {
        let only = AtomicU64::new(self.only.load(Ordering::Acquire));
        Self { only, of_slots: self.of_slots.clone() }
    }

    /// The number of the term of this slot that is the `count`th of a cache.
    pub fn number(&self, count: u64, slot: usize) -> u64 {
        count * self.slots() as u64 + slot as u64
    }

    pub fn slots(&self) -> usize {
        self.of_slots.as_ref().map_or(1, |slots| slots.len())
    }

    /// Where the term of a slot stands; also by the number of a term.
    fn at(&self, slot: usize) -> &AtomicU64 {
        self.of_slots.as_ref().map_or(&self.only, |slots| &slots[slot % SLOTS])
    }

    /// The term that is under way for this slot; 0 if none is. Acquire: pairs with `begin`.
    pub fn of(&self, slot: usize) -> u64 {
        self.at(slot).load(Ordering::Acquire)
    }

    /// Whether this term, not 0, is under way. Acquire: pairs with `begin` and `end`.
    #[inline]
    pub fn is_under_way(&self, term: u64) -> bool {
        let in_slot = |slots: &Arc<[AtomicU64; SLOTS]>| {
            slots[term as usize % SLOTS].load(Ordering::Acquire) == term
        };
        self.only.load(Ordering::Acquire) == term || self.of_slots.as_ref().is_some_and(in_slot)
    }

    /// Whether any term is under way.
    pub fn is_any(&self) -> bool {
        (0..self.slots()).any(|slot| self.of(slot) != 0)
    }

    /// Ends what is under way for this slot. Release: who sees a time that is confirmed later, or
    /// hears of an answer that its caller has got, also sees this.
    pub fn end(&self, slot: usize) {
        self.at(slot).store(0, Ordering::Release);
    }

    /// Ends this term, if it is under way. Release: as `end`.
    pub fn end_term(&self, term: u64) {
        let slot = self.at(term as usize);
        // Relaxed on failure: then another term has begun or this one has ended, by somebody else.
        let _ = slot.compare_exchange(term, 0, Ordering::Release, Ordering::Relaxed);
    }

    /// Begins a term. Release: pairs with `of`.
    pub fn begin(&self, term: u64) {
        self.at(term as usize).store(term, Ordering::Release);
    }
}

/// What a hit asks for. Apart from what other calls write.
#[repr(align(128))]
pub(crate) struct Serving {
    pub terms: Terms,
    /// Until when, if nothing more is heard of the server: `max_staleness` after the time up to
    /// which all its changes are applied to the L1, as far as entries of terms that are under way
    /// are concerned. That is when the heartbeat was sent that was answered last; in a cluster, by
    /// each node that has a term.
    limit: AtomicU64,
    max_staleness: u64,
}

/// Less than this, in nanoseconds, is not worth a write to what all hits read.
const STEP: u64 = 1_000_000;

impl Serving {
    /// Nothing may be served yet.
    pub fn new(max_staleness: u64, is_cluster: bool) -> Self {
        Self { terms: Terms::new(is_cluster), limit: AtomicU64::new(0), max_staleness }
    }

    /// Until when entries may be served, which are read after this. Acquire: pairs with `confirm`.
    /// Who loads it before an entry does not get one that was removed until the time that was
    /// confirmed; and if it is of a later term than the entry, then the entry's term, asked for
    /// after the entry, is not under way any more.
    #[inline]
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// The time up to which all changes are applied.
    pub fn confirmed(&self) -> u64 {
        self.limit().saturating_sub(self.max_staleness)
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

    /// Begins a term of a link that was set up by a command sent at this time.
    pub fn begin(&self, term: u64, sent: u64) {
        self.limit.fetch_max(sent.saturating_add(self.max_staleness), Ordering::Release);
        self.terms.begin(term);
    }
}
