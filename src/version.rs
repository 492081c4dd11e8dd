//! `Version`, the commit clock, and the state word of a version in a chain.

use crate::sync::hook::{self, planted};
use crate::sync::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

/// The number of a commit: unique, totally ordered, and carried by every entry that the commit
/// wrote.
///
/// ```
/// let cache = coeval::Cache::new();
/// let first = cache.insert("key", 1);
/// let second = cache.insert("key", 2);
/// assert!(first < second);
/// assert_eq!(cache.get_versioned("key"), Some((2, second)));
/// assert_eq!(second.to_string(), "v2");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// Returns the version as a number. Commits count from 1; 0 is before the first.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the version with that number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl From<Version> for u64 {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The one counter from which every commit takes its version. The caches of a domain share it.
#[derive(Clone)]
pub struct Clock(Arc<CachePadded<AtomicU64>>);

impl Clock {
    pub fn new() -> Self {
        Self(Arc::new(CachePadded::new(AtomicU64::new(hook::clocks_begin_at()))))
    }

    /// Returns whether both are one counter.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns the newest number handed out; 0 before the first.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        // Acquire: pairs with `tick`. A thread that reads a number also sees the ready state that
        // the thread that took the number saw.
        self.0.load(Ordering::Acquire)
    }

    /// Takes the next number. Called only for a commit that was seen ready.
    ///
    /// If another thread stamps the commit first, the number stays unused. If there is no further
    /// number, ends the process.
    #[inline(always)]
    pub fn tick(&self) -> u64 {
        // Release: pairs with `now`. SeqCst: with `fence_after_rmw`, it also orders the stamp and
        // the check for registered views (see `commit::views`).
        let number = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        if number > State::LAST && !planted("clock.wraps") {
            end();
        }
        number
    }
}

/// A commit that is ready cannot be undone, and none may get a number that another one has.
#[cold]
fn end() -> ! {
    let message = b"coeval: a cache has made as many commits as there are version numbers\n";
    let _ = std::io::stderr().write_all(message);
    std::process::abort()
}

#[cfg(feature = "serde")]
impl Clock {
    /// Makes `number` the newest number handed out, unless it is smaller than the present one. Only
    /// for a cache that no other thread knows yet.
    pub fn advance_to(&self, number: u64) {
        // Relaxed: what makes the cache known to other threads publishes this, too.
        self.0.fetch_max(number, Ordering::Relaxed);
    }
}

/// The packed state of a version, or of the descriptor that decides several versions.
///
/// | bits | meaning | set by |
/// |---|---|---|
/// | 0–1 | installing, committed, ready or aborted | installer, stamper |
/// | 2 | a tombstone: the version has no value | its creator |
/// | 3 | the version has [terms](crate::chain::EntryTerms); with bit 2: a witness | its creator |
/// | 4–5 | the number of hits yet to be counted | its creator; readers, once it is committed |
/// | 6–63 | committed: the number; installing: the descriptor's address | installer, stamper |
///
/// *Ready*: every part is installed. The commit needs only its stamp, and cannot abort any more. A
/// witness is never visible.
///
/// In a descriptor, the word is zero while installing. *Committed* and *aborted* are final; then
/// only the hits change. A hit on a plain value (`is_plain`) needs no further work, and one
/// comparison detects that. So in a cache without a bound, which counts no hits, no version has
/// hits left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State(pub u64);

impl State {
    pub const INSTALLING: Self = Self(0);
    pub const READY: Self = Self(2);
    pub const ABORTED: Self = Self(3);
    const COMMITTED: u64 = 1;
    const PHASE: u64 = 3;
    const TOMBSTONE: u64 = 1 << 2;
    const TERMS: u64 = 1 << 3;
    const WITNESS: u64 = Self::TOMBSTONE | Self::TERMS;
    const HITS_AT: u32 = 4;
    const HITS: u64 = 3 << Self::HITS_AT;
    /// The bits that the creator of a version sets.
    const KIND: u64 = Self::TOMBSTONE | Self::TERMS | Self::HITS;
    const NUMBER_AT: u32 = 6;
    /// The last number. At a billion commits a second, it is reached after nine years.
    const LAST: u64 = u64::MAX >> Self::NUMBER_AT;
    /// The alignment of a descriptor, which keeps the bits of all flags free in its address.
    pub const ALIGN: usize = 1 << Self::NUMBER_AT;
    /// The number of hits that are counted.
    pub const HITS_COUNTED: u32 = 3;

    #[inline(always)]
    pub fn committed(version: u64) -> Self {
        Self(version << Self::NUMBER_AT | Self::COMMITTED)
    }

    #[inline(always)]
    pub fn undecided(descriptor: usize) -> Self {
        debug_assert_eq!(descriptor % Self::ALIGN, 0);
        Self(descriptor as u64)
    }

    /// Returns the outcome as the state of a version of the same kind as `self`. A witness is
    /// aborted, whatever the outcome of its commit.
    #[inline(always)]
    pub fn with_outcome(self, outcome: State) -> Self {
        let outcome = if self.is_witness() { Self::ABORTED } else { outcome };
        Self(outcome.0 | (self.0 & Self::KIND))
    }

    /// Marks the version as a witness.
    pub fn witness(self) -> Self {
        Self(self.0 | Self::WITNESS)
    }

    /// Returns whether the version is a witness: a commit puts it on a key that it requires
    /// something of and does not write.
    #[inline(always)]
    pub fn is_witness(self) -> bool {
        self.0 & Self::WITNESS == Self::WITNESS
    }

    #[inline(always)]
    pub fn tombstone(self, tombstone: bool) -> Self {
        Self(self.0 | if tombstone { Self::TOMBSTONE } else { 0 })
    }

    /// Marks the version as one with terms.
    pub fn with_terms(self) -> Self {
        Self(self.0 | Self::TERMS)
    }

    /// Sets the number of hits yet to be counted.
    #[inline(always)]
    pub fn with_hits_left(self, hits: u32) -> Self {
        debug_assert!(hits <= Self::HITS_COUNTED);
        Self(self.0 & !Self::HITS | u64::from(hits) << Self::HITS_AT)
    }

    /// Returns the number of hits yet to be counted.
    #[inline(always)]
    pub fn hits_left(self) -> u32 {
        ((self.0 & Self::HITS) >> Self::HITS_AT) as u32
    }

    #[inline(always)]
    pub fn is_committed(self) -> bool {
        self.0 & Self::PHASE == Self::COMMITTED
    }

    #[inline(always)]
    pub fn is_tombstone(self) -> bool {
        self.0 & Self::TOMBSTONE != 0
    }

    #[inline(always)]
    pub fn has_terms(self) -> bool {
        self.0 & Self::WITNESS == Self::TERMS
    }

    #[inline(always)]
    pub fn is_ready(self) -> bool {
        self.0 & Self::PHASE == Self::READY.0
    }

    #[inline(always)]
    pub fn is_aborted(self) -> bool {
        self.0 & Self::PHASE == Self::ABORTED.0
    }

    /// Returns whether the version is committed and has a value.
    #[inline(always)]
    pub fn is_value(self) -> bool {
        self.0 & (Self::PHASE | Self::TOMBSTONE) == Self::COMMITTED
    }

    /// Returns whether the version is committed to a value without terms, and all hits are counted.
    #[inline(always)]
    pub fn is_plain(self) -> bool {
        self.0 & (Self::PHASE | Self::KIND) == Self::COMMITTED
    }

    /// Returns whether the version is committed to a value with terms, and all hits are counted.
    #[inline(always)]
    pub fn is_tied(self) -> bool {
        self.0 & (Self::PHASE | Self::KIND) == Self::COMMITTED | Self::TERMS
    }

    /// Returns the number of a committed version.
    #[inline(always)]
    pub fn version(self) -> u64 {
        debug_assert!(self.is_committed());
        self.0 >> Self::NUMBER_AT
    }

    /// Returns whether the commit is being installed.
    #[inline(always)]
    pub fn is_installing(self) -> bool {
        self.0 & Self::PHASE == 0
    }

    /// Returns the address of the descriptor of a version that is installing.
    #[inline(always)]
    pub fn descriptor(self) -> usize {
        debug_assert!(!self.is_committed() && !self.is_ready() && !self.is_aborted());
        (self.0 & !(Self::ALIGN as u64 - 1)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_distinguished() {
        for (tombstone, hits) in [(false, 0), (true, 0), (false, 3), (true, 1)] {
            let kind = |state: State| state.tombstone(tombstone).with_hits_left(hits);
            let (ready, aborted) = (kind(State::READY), kind(State::ABORTED));
            let undecided = kind(State::undecided(0x7f00_1240));
            for version in [1, 2, 3, 1 << 40, (1 << 58) - 1] {
                let committed = undecided.with_outcome(State::committed(version));
                assert!(committed.is_committed() && !committed.is_ready());
                assert!(!committed.is_aborted());
                assert_eq!(committed.version(), version);
                assert_eq!(committed.hits_left(), hits);
                assert_eq!(committed.is_tombstone(), tombstone);
                assert_eq!(committed.is_value(), !tombstone);
                assert_eq!(committed.is_plain(), !tombstone && hits == 0);
                assert!(!committed.with_terms().is_plain());
                assert_eq!(committed.with_terms().has_terms(), !tombstone);
            }
            assert!(ready.is_ready() && !ready.is_committed() && !ready.is_aborted());
            assert!(aborted.is_aborted() && !aborted.is_committed() && !aborted.is_ready());
            assert_eq!(undecided.descriptor(), 0x7f00_1240);
            assert!(!undecided.is_value() && !ready.is_value() && !aborted.is_value());
        }
    }

    #[test]
    fn a_witness_is_never_visible() {
        let witness = State::undecided(0x7f00_1240).witness();
        assert!(witness.is_witness() && witness.is_tombstone() && !witness.has_terms());
        assert_eq!(witness.descriptor(), 0x7f00_1240);
        for outcome in [State::committed(7), State::ABORTED] {
            let decided = witness.with_outcome(outcome);
            assert!(decided.is_aborted() && decided.is_witness());
        }
        assert!(!State::committed(7).tombstone(true).is_witness());
        assert!(!State::committed(7).with_terms().is_witness());
    }
}
