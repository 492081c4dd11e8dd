//! The eviction policy: chooses which entry to evict when the cache is full.
//!
//! Writers run the policy in bounded steps. It takes no lock and needs no thread of its own. A hit
//! writes only to the entry itself, and only while the entry's hit counter is not full.
//!
//! # The policy
//! There are two first-in, first-out queues, as in S3-FIFO (Yang et al., SOSP'23): *small* holds
//! new entries, *main* holds entries that have proved useful. Each entry has a hit counter that
//! saturates at three ([`HITS`]). An entry moves only when it reaches the front of its queue:
//!
//! | at the front of | no hit since | one hit | more hits |
//! |---|---|---|---|
//! | small | evicted | back of small | moves to main |
//! | main | evicted | back of main, with one hit less | as with one hit |
//!
//! The policy remembers what it evicted ([`history`]); older evictions are remembered more
//! sparsely. An entry that returns while it is remembered goes to main, on one condition: it was
//! last pushed to a queue later than some entry near the front of main that had no hit since
//! ([`Policy::admit`]). This is the comparison of LIRS (Jiang & Zhang, SIGMETRICS'02): it compares
//! the time between two uses of the returning entry with the time for which the old entry has not
//! been used. A loop that is longer than the cache gains nothing if one of its entries replaces
//! another. The condition detects such a loop, so the cache keeps as much of the loop as it has
//! room for. If the cache has room for everything that returns, the condition changes nothing.
//!
//! Entries that were written just now are spared in either queue: a thread that makes room for an
//! entry evicts other entries first ([`Residents::spare`]). Otherwise, if *small* had room for
//! hardly any entry, an old entry with one hit would outlive each new one. In deep queues, other
//! threads need not spare them ([`Policy::is_deep`]).
//!
//! While the cache fills, new entries go to main, up to its share (quick_cache also fills its hot
//! part first). Nothing is known of them yet, and to keep some of them is better than to let each
//! push out the one before. A loop has hits in its second round already.
//!
//! The share of *small* adapts to whatever would bring more hits ([`balance`]): from 1 %, where
//! popularity decides, to 90 %, where recency decides. It adapts fastest just after the cache is
//! full for the first time.
//!
//! # The contract with the engine
//! - A [`Handle`] identifies an entry. The engine answers questions about it through
//!   [`Residents`]; the policy never looks behind the handle.
//! - The engine accounts for the present entries. The policy treats an entry of weight zero like
//!   one without a value: it counts for nothing, is never evicted or searched for, and the number
//!   of such entries is not bounded.
//! - The engine calls `admit` after a value has become present and has been accounted for, if the
//!   policy does not hold its handle. The policy then holds the handle until `Residents::release`
//!   returns true, or until `Residents::evict` says that the engine has taken it back. A held
//!   handle is in exactly one place: in one queue, or with one thread that runs the policy. The
//!   engine calls `make_room` after a heavier value replaced a value.
//! - A handle whose value is gone stays in its queue, and is released when it reaches the front.
//!   If a value becomes present under the handle before that, the engine makes no call. The engine
//!   therefore needs a flag that says whether the handle is held; it clears the flag in `release`,
//!   or before an eviction.
//!   If many handles have no value, each admission searches for a few of them.
//! - The engine makes all calls under a guard of its reclamation. The policy may use a handle until
//!   that guard ends, even if another thread releases the handle meanwhile.
//! - Many threads may make these calls at the same time. Races lose some of the counts kept here,
//!   which makes decisions slightly worse.
//!
//! # What is bounded
//! A hit costs a load, and a store while the counter is not full. An admission costs one look-up in
//! the history (one cache line), and as many evictions as are needed to be within the capacity, at
//! most [`EVICTIONS`]. Each eviction passes over at most [`CHANCES`] entries with hits, and about
//! as many spared entries. A thread that reaches [`EVICTIONS`] and is still above the capacity
//! continues with further calls; [`Policy::make_room`] returns false in that case. A search that
//! finds nothing visits all slots of the queues, once, if threads have drawn tickets ([`share`]).
//!
//! Memory, per entry of the cache: 10 bytes in main's ring, and 5⅓ in the history. With small's
//! share at first, its rings have 2 bytes; they have up to 43 for each entry that small has ever
//! held at one time. Only the last ring is larger: it is for all entries. All rings of small
//! together have less than 14 bytes per entry of the cache.

pub mod balance;
mod bound;
pub mod history;
mod order;
mod residents;
mod share;

#[cfg(feature = "serde")]
pub use order::Rank;
pub use residents::{EvictionOutcome, Residents, SpareDecision};

use crate::queue::{Handle, Queue, Queued};
use crate::sync::per_thread::PerThread;
use crate::sync::{AtomicU64, Ordering, fence_after_rmw, hook};

use balance::{Balance, Lapse, NEAR_AT_FIRST};
use bound::Bound;
use crossbeam_utils::CachePadded;
use history::{Ghost, History, InsertionTime, REACH};
use share::{Depth, Share};

/// The largest number of entries with hits that one search for an entry without hits passes over.
pub const CHANCES: usize = if cfg!(coeval_loom) { 2 } else { 32 };
/// The largest number of evictions that one admission tries.
pub const EVICTIONS: usize = if cfg!(coeval_loom) { 1 } else { 256 };
/// An admission searches for handles without a value if there are more than
/// `1/DEAD_SHARE` of all handles plus [`DEAD_AT_LEAST`].
const DEAD_SHARE: u64 = 4;
const DEAD_AT_LEAST: u64 = if cfg!(coeval_loom) { 1 } else { 64 };
/// The number of handles that such a search looks at. One in [`SWEEP_EACH`] admissions searches.
const SWEEP: usize = 4 * SWEEP_EACH as usize;
const SWEEP_EACH: u64 = if cfg!(coeval_loom) { 1 } else { 8 };

/// Names one of the two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Holds new entries.
    Small,
    /// Holds entries that have proved useful.
    Main,
}

/// An entry in main must have had no hit for this many times the interval between two uses of the
/// entry that returns. Without a margin, a rare key whose uses happen to be close together would
/// displace one that is used at regular intervals.
const MARGIN: (u32, u32) = (9, 8);
/// The longest interval that is compared, in ticks. Stamps wrap around.
const LONGEST: u32 = 16_000;

/// The value at which hit counters saturate. With seven, the recorded traces gain 0.0 to 0.3
/// points, and streams whose popularity drifts lose two.
pub const HITS: u32 = 3;

/// The eviction policy of one cache.
pub struct Policy {
    bound: Bound,
    small: Queue,
    main: Queue,
    history: History,
    balance: Balance,
    depth: Depth,
    shares: PerThread<Share>,
    /// The time of the last push to main, to the tick. Pushes write it, so it shares no line with
    /// what is only read.
    main_moved: CachePadded<AtomicU64>,
}

// All accesses are Relaxed: they guard no data but the engine's own, which the engine orders.
// What an eviction runs through is one function for the compiler, except in models, whose stacks
// are small.
// `queue` documents how handles pass between threads.
impl Policy {
    /// Creates a policy for entries of weight one, at most `capacity` of them.
    pub fn counting(capacity: u64) -> Self {
        Self::new(capacity, capacity)
    }

    /// Creates a policy for entries of different weights.
    pub fn weighing(capacity: u64) -> Self {
        Self::new(capacity, 0)
    }

    fn new(capacity: u64, entries: u64) -> Self {
        // The queues also hold handles without a value, and some that threads have in hand.
        let most = entries.saturating_add(entries / DEAD_SHARE).saturating_add(DEAD_AT_LEAST);
        let most = if entries == 0 { 0 } else { most };
        Self {
            bound: Bound::new(capacity),
            small: Queue::short(most),
            main: Queue::new(most),
            history: History::new(entries),
            balance: Balance::new(),
            depth: Depth::new(),
            shares: PerThread::new(),
            main_moved: CachePadded::new(AtomicU64::new(0)),
        }
    }

    /// Returns the bound on the weight.
    #[inline(always)]
    pub fn capacity(&self) -> u64 {
        self.bound.now()
    }

    /// Changes the bound, and returns the former one. Evicts nothing. A history that was made for a
    /// number of entries grows with the bound; it does not become smaller.
    pub fn resize(&self, capacity: u64) -> u64 {
        self.history.plan(capacity);
        self.bound.change(capacity)
    }

    /// Returns whether the cache can hold an entry of this weight at all.
    #[inline(always)]
    pub fn fits(&self, weight: u32) -> bool {
        u64::from(weight) <= self.capacity()
    }

    /// Announces the admission of an entry with this hash.
    #[inline(always)]
    pub fn prefetch(&self, hash: u32) {
        if self.history.is_large() {
            self.history.prefetch(hash);
        }
    }

    /// Takes a handle that the policy does not hold and whose value has been accounted for, and
    /// makes room for it. The result is that of [`make_room`](Self::make_room).
    #[cfg_attr(not(coeval_loom), inline(always))]
    pub fn admit(&self, residents: &impl Residents, entry: Handle) -> bool {
        let share = self.share();
        let (now, looks_after) = self.count_insertion(share);
        let queue = match self.history.take(residents.hash(entry), now) {
            Some(ghost) => self.queue_for_return(share, residents, ghost, now),
            None => self.queue_for_new(residents),
        };
        self.push(share, queue, entry, now);
        hook::step("policy.admitted");
        if looks_after {
            self.sweep(residents);
            self.look_how_deep(share);
        }
        self.make_room_by(share, residents, EVICTIONS)
    }

    /// Evicts entries until the weight is within the capacity or nothing is left to evict. Returns
    /// false if it stops earlier, after `most` tries.
    pub fn make_room(&self, residents: &impl Residents, most: usize) -> bool {
        self.make_room_by(self.share(), residents, most)
    }

    #[inline(always)]
    fn make_room_by(&self, share: Option<&Share>, residents: &impl Residents, most: usize) -> bool {
        for _ in 0..most {
            // Each thread here has accounted for a weight, pushed a handle, or evicted an entry. It
            // now reads the weight and looks for handles. Of several threads that do so at the same
            // time, the last one sees what all of them did, and makes the missing room.
            fence_after_rmw(); // partner: the same fence in another thread
            if residents.weight() <= self.capacity() {
                return true;
            }
            residents.publish();
            if !self.evict_one(share, residents) && !self.recover() {
                return true;
            }
        }
        false
    }

    /// Chooses the queue for an entry that is not remembered. While the cache fills, main takes
    /// them, up to its share.
    fn queue_for_new(&self, residents: &impl Residents) -> QueueKind {
        let (weight, capacity) = (residents.weight(), self.capacity());
        if weight < capacity && weight <= capacity - self.balance.target(capacity) {
            return QueueKind::Main;
        }
        QueueKind::Small
    }

    /// Chooses the queue for an entry that returns while it is remembered.
    fn queue_for_return(
        &self,
        share: Option<&Share>,
        residents: &impl Residents,
        ghost: Ghost,
        now: InsertionTime,
    ) -> QueueKind {
        let entries = self.history.entries();
        let before = self.balance.returned(ghost.queue, self.lapse(ghost, now), now, entries);
        let is_full = residents.weight() > self.capacity();
        let (small, main) = self.lens(share);
        let takes_from_small = small > self.balance.target(small + main + 1);
        // An estimate of the time of its last push, from the last stay in that queue.
        let stay = self.balance.last_stay(ghost.queue).wrapping_add(1);
        let tick = self.history.tick(now) as u16;
        let interval = u32::from(tick.wrapping_sub((ghost.tick as u16).wrapping_sub(stay)));
        let pushed = tick.wrapping_sub((interval * MARGIN.0 / MARGIN.1).min(LONGEST) as u16);
        if !is_full || takes_from_small || self.main_has_staler(share, residents, pushed) {
            return QueueKind::Main;
        }
        self.balance.refused(ghost.queue, before, entries);
        QueueKind::Small
    }

    /// Returns how long ago the returning entry was evicted.
    fn lapse(&self, ghost: Ghost, now: InsertionTime) -> Lapse {
        let entries = self.history.entries();
        let recent = self.balance.recent_since(ghost.queue, entries);
        if ghost.tick >= self.history.tick(recent) {
            return Lapse::Recent;
        }
        let lapsed = self.history.tick(now).saturating_sub(ghost.tick);
        match lapsed <= self.history.tick(entries / NEAR_AT_FIRST) {
            true => Lapse::RecentAtFirst,
            false => Lapse::Long,
        }
    }

    /// Returns whether main has an entry that has had no hit since before `pushed`. Brings such an
    /// entry to the front.
    fn main_has_staler(
        &self,
        share: Option<&Share>,
        residents: &impl Residents,
        pushed: u16,
    ) -> bool {
        for _ in 0..CHANCES {
            let Some(front) = self.peek_main(share) else {
                // A thread that keeps its ticket may leave the slot empty for ever. The pop passes
                // such slots by.
                let Some(front) = self.pop_from(share, QueueKind::Main) else { return true };
                self.main.push(front);
                continue;
            };
            if !self.is_older(front.stamp, pushed) {
                return false;
            }
            if residents.hits(front.handle) == Some(0) {
                return true;
            }
            let Some(front) = self.pop_from(share, QueueKind::Main) else { continue };
            match residents.hits(front.handle) {
                None => _ = self.release(residents, QueueKind::Main, front),
                Some(0) => self.main.push(front), // The front changed since the peek.
                Some(hits) => {
                    residents.set_hits(front.handle, hits - 1);
                    self.push(share, QueueKind::Main, front.handle, self.now(share));
                }
            }
        }
        false
    }

    /// Returns whether the stamp `front`, at the front of main, is older than `than`. Stamps wrap
    /// around. If nothing has moved in main for long enough, everything in main is older than
    /// anything that the history remembers.
    fn is_older(&self, front: u16, than: u16) -> bool {
        let idle = self.history.now().saturating_sub(self.main_moved.load(Ordering::Relaxed));
        idle > REACH * self.history.entries() || (than.wrapping_sub(front) as i16) > 0
    }

    /// Evicts one entry. Returns false if there is none to try.
    #[cfg_attr(not(coeval_loom), inline(always))]
    fn evict_one(&self, share: Option<&Share>, residents: &impl Residents) -> bool {
        let mut chances = CHANCES;
        let mut avoided = None;
        loop {
            let Some((queue, queued)) = self.pop(share, residents, avoided) else { return false };
            let entry = queued.handle;
            let now = self.now(share);
            let Some(hits) = residents.hits(entry) else {
                if !self.release(residents, queue, queued) {
                    return true; // The next round of `make_room` decides.
                }
                continue;
            };
            if hits > 0 && chances > 0 {
                chances -= 1;
                if queue == QueueKind::Small {
                    self.count_passed(share, true);
                }
                let next = match queue {
                    QueueKind::Small if hits > 1 => QueueKind::Main,
                    _ => queue,
                };
                residents.set_hits(entry, if queue == QueueKind::Main { hits - 1 } else { 0 });
                self.push(share, next, entry, now);
                continue;
            }
            let decision = residents.spare(entry);
            hook::step("policy.in_hand");
            match decision {
                SpareDecision::Evict => {
                    return self.evict(share, residents, (queue, queued), hits > 0);
                }
                SpareDecision::SpareOwn => {
                    self.push(share, queue, entry, now);
                    avoided = Some(queue);
                }
                SpareDecision::SpareOther => self.push(share, QueueKind::Main, entry, now),
                SpareDecision::EndSearch => {
                    self.push(share, queue, entry, now);
                    return self.has_others();
                }
            }
        }
    }

    /// Whether a queue has a handle besides the one that this thread has just put back. Other
    /// threads may have had it in hand during the search. Of several threads that end their
    /// searches at the same time, the last one sees what all of them have put back.
    #[cold]
    fn has_others(&self) -> bool {
        fence_after_rmw(); // partner: the same fence in another thread
        self.len() > 1 && !hook::mutant("room.gives_up")
    }

    /// Removes an entry's value and remembers the eviction. If the entry refuses, returns it to its
    /// queue.
    #[cfg_attr(not(coeval_loom), inline(always))]
    fn evict(
        &self,
        share: Option<&Share>,
        residents: &impl Residents,
        (queue, queued): (QueueKind, Queued),
        has_hit: bool,
    ) -> bool {
        let now = self.now(share);
        let hash = residents.hash(queued.handle);
        hook::step("policy.evicting");
        let outcome = residents.evict(queued.handle);
        if !outcome.is_gone {
            if !outcome.is_released {
                self.push(share, queue, queued.handle, now);
            }
            return true;
        }
        if !outcome.is_released {
            self.release(residents, QueueKind::Small, queued);
        }
        let stay = (self.history.tick(now) as u16).wrapping_sub(queued.stamp);
        self.history.remember(hash, now, queue, || self.len());
        self.count_eviction(share, queue, stay, now);
        if queue == QueueKind::Small {
            self.count_passed(share, has_hit);
        }
        true
    }

    /// Gives a handle back, or pushes it to `queue` if the policy must keep it. Returns true if the
    /// handle was given back.
    fn release(&self, residents: &impl Residents, queue: QueueKind, queued: Queued) -> bool {
        hook::step("policy.releasing");
        let released = residents.release(queued.handle);
        if !released {
            self.push(None, queue, queued.handle, self.history.now());
        }
        released
    }

    /// Pops from small if small has more than its share, otherwise from main. If a queue is
    /// `avoided`, pops from the other one. Falls back to whichever queue has an entry.
    #[cfg_attr(not(coeval_loom), inline(always))]
    fn pop(
        &self,
        share: Option<&Share>,
        residents: &impl Residents,
        avoided: Option<QueueKind>,
    ) -> Option<(QueueKind, Queued)> {
        let is_small = match avoided {
            Some(queue) => queue == QueueKind::Main,
            None => {
                let (small, main) = self.lens(share);
                small > self.balance.target(small + main)
            }
        };
        let from = |kind| {
            if self.history.is_large() {
                self.look_ahead(share, residents, kind);
            }
            self.pop_from(share, kind).map(|queued| (kind, queued))
        };
        let main = if is_small { None } else { from(QueueKind::Main) };
        main.or_else(|| from(QueueKind::Small)).or_else(|| from(QueueKind::Main))
    }

    /// Releases some handles without a value, if there are many of them.
    fn sweep(&self, residents: &impl Residents) {
        let dead = self.len().saturating_sub(residents.count());
        if dead <= self.len() / DEAD_SHARE + DEAD_AT_LEAST {
            return;
        }
        let (small, main) = (&self.small, &self.main);
        let is_small = small.len() > main.len();
        let (kind, queue) =
            if is_small { (QueueKind::Small, small) } else { (QueueKind::Main, main) };
        for queued in (0..SWEEP).map_while(|_| queue.pop()) {
            match residents.hits(queued.handle) {
                Some(_) => queue.push(queued),
                None => _ = self.release(residents, kind, queued),
            }
        }
    }

    /// Returns the number of held handles.
    pub fn len(&self) -> u64 {
        self.small.len() + self.main.len()
    }

    /// Returns the bytes of the queues and the history.
    pub fn bytes(&self) -> usize {
        (self.small.slots() + self.main.slots()) as usize * 8 + self.history.bytes()
    }

    /// Gives all handles back.
    #[cfg(all(test, not(coeval_loom)))]
    pub fn drain(&self, mut each: impl FnMut(Handle)) {
        self.recover();
        for queue in [&self.small, &self.main] {
            while let Some(queued) = queue.pop() {
                each(queued.handle);
            }
        }
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests;
