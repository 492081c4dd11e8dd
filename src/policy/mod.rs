//! Which entry goes when there is no room: decided by the writers themselves, in bounded steps,
//! without a lock or a thread for it; and a hit writes to nothing but the entry, and seldom.
//!
//! # The policy
//! Two queues, first in, first out, as in S3-FIFO (Yang et al., SOSP'23): *small* for newcomers, *main*
//! for what has proved itself. An entry has a counter of hits that saturates at three ([`HITS`]), and
//! moves only when it comes to the front of its queue:
//!
//! | at the front of | with no hit since | with one | with more |
//! |---|---|---|---|
//! | small | goes | once more through small | to main |
//! | main | goes | once more through main, with one hit less | as with one |
//!
//! What goes is remembered ([`history`]), more sparsely the longer ago it was. An entry that comes back
//! while it is remembered belongs into main, on one condition: it was pushed to a queue later than what
//! is at the front of main and had no hit since ([`Policy::admit`]). That is the comparison of LIRS
//! (Jiang & Zhang, SIGMETRICS'02): the time between two uses of the newcomer, against the time that the
//! old one has been without a use. A loop that is longer than the cache has nothing to gain from
//! exchanging one of its entries for another; this is what sees it, and so keeps as much of the loop
//! as there is room for. Where is room for all that comes back, it changes nothing.
//!
//! What was written only just now is spared, whatever its place: whoever makes room for an entry takes others
//! first ([`Residents::spare`]). Where the queue for newcomers has hardly any room, the one before it with its one
//! hit would else outlive each new one.
//!
//! How much room the newcomers have is adapted to what would bring more hits ([`balance`]): from 1 %,
//! where popularity decides, to 90 %, where it is recency that does.
//!
//! # The contract with the engine
//! - An entry is known by a [`Handle`]. The engine answers for it through [`Residents`]; the policy
//!   never looks behind it.
//! - The engine keeps the account of what is present. An entry of weight zero is none of the policy's, as if it had no
//!   value: it counts for nothing, the number of such is not bounded, and none is evicted or looked for.
//! - `admit` when a value has become present, and been counted, whose handle the policy does not hold.
//!   From then on it holds the handle, until `Residents::release` says that it has let go. A handle is in
//!   one queue, in one place, or in the hands of one thread in here. `make_room` when a value was replaced by
//!   a heavier one.
//! - A handle whose value has gone stays in its queue, and is released when it comes to the front. If a
//!   value becomes present under it before that, there is nothing to tell: the engine needs a flag that
//!   says whether the handle is held, which it clears in `release`. When many are without a value, each
//!   admission looks for a few.
//! - Calls are made under a guard of the engine's reclamation: a handle may be used here until the guard
//!   ends, although another thread released it meanwhile.
//! - All of these may be called by many threads at a time. Of what is counted here, some is lost in
//!   races: decisions get worse by as much.
//!
//! # What is bounded
//! A hit: a load, and a store while the counter is not full. An admission: one look-up in the history
//! (one line), and for each eviction, [`CHANCES`] entries at most are passed over that have hits, and about as many that
//! are spared; as many evictions as it takes to be within the capacity, or [`EVICTIONS`]. Who took away as many as that
//! and is not there yet ([`Policy::make_room`] tells) goes on, in further calls.
//!
//! Memory: a slot of 8 bytes in a queue and 5⅓ bytes of history for each entry. Each queue may have had
//! all entries at some time, and keeps that room (`queue`): 28 bytes an entry in all, with 10,000.

pub mod balance;
pub mod history;

use crate::queue::{Handle, Queue, Queued};
use crate::sync::{AtomicU64, Ordering, fence_after_rmw, hook};
use balance::Balance;
use history::{History, Memory, REACH, Time};

/// How many entries with hits are passed over in one search for one without.
pub const CHANCES: usize = if cfg!(coeval_loom) { 2 } else { 16 };
/// So many places ahead entries are prefetched: about as many evictions take as long as memory does.
const AHEAD: u64 = 3;
/// How many evictions an admission tries at most.
pub const EVICTIONS: usize = if cfg!(coeval_loom) { 1 } else { 256 };
/// With more handles without a value than one in so many, and some, they are looked for.
const DEAD_SHARE: u64 = 4;
const DEAD_AT_LEAST: u64 = if cfg!(coeval_loom) { 1 } else { 64 };
/// How many handles an admission looks at then, one in so many.
const SWEEP: usize = 4 * SWEEP_EACH as usize;
const SWEEP_EACH: u64 = if cfg!(coeval_loom) { 1 } else { 8 };

/// The two queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// For newcomers.
    Small,
    /// For what has proved itself.
    Main,
}

/// As far as hits are counted. With seven, the recorded traces gain 0.0 to 0.3 points, and popularity
/// that drifts loses two.
pub const HITS: u32 = 3;

/// Whether an entry that would go is to be spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// It is not.
    No,
    /// It is whoever makes room that brought it: the other queue's front comes before it.
    Own,
    /// Another brought it only just now. It goes to main, out of the newcomers' way.
    Other,
    /// It is, and there seems to be nothing else.
    Last,
}

/// The engine, as the policy sees it. See the module's head for the contract.
pub trait Residents {
    /// The weight of all that is present.
    fn weight(&self) -> u64;
    /// The number of entries that are present.
    fn count(&self) -> u64;
    /// The hash of the entry's key.
    fn hash(&self, entry: Handle) -> u32;
    /// The counter of the entry's hits, up to [`HITS`], at zero when it is admitted; `None` if it has no value.
    fn hits(&self, entry: Handle) -> Option<u32>;
    /// The entry will be asked for soon. Its handle may be released by now.
    fn prefetch(&self, _entry: Handle) {}
    /// Sets the counter.
    fn set_hits(&self, entry: Handle, hits: u32);
    /// Whether the entry is to be spared now. Asked of what would be evicted otherwise; in the end it says no, or `Last`.
    fn spare(&self, entry: Handle) -> Spare;
    /// Something is to be evicted: what others do not see of the weight, they are to see from now on, unless it is little.
    fn publish(&self) {}
    /// Takes the entry's value away; false if it has none, or was changed at this moment.
    fn evict(&self, entry: Handle) -> bool;
    /// The policy lets go of the handle. False if it must keep it: a value became present meanwhile, whose
    /// writer found the handle held.
    fn release(&self, entry: Handle) -> bool;
}

/// The policy of one cache.
pub struct Policy {
    capacity: u64,
    small: Queue,
    main: Queue,
    history: History,
    balance: Balance,
    /// How long an entry was in each queue since it was pushed there, when it was evicted last.
    stays: [AtomicU64; 2],
    /// When an entry was last pushed to main.
    main_moved: AtomicU64,
}

// All accesses are Relaxed: nothing is read through what they say but the engine's own data, which
// the engine orders. See `queue` for how handles are passed on.
impl Policy {
    /// For entries of one unit each, `capacity` at most.
    pub fn counting(capacity: u64) -> Self {
        Self::new(capacity, capacity)
    }

    /// For entries of different weight.
    pub fn weighing(capacity: u64) -> Self {
        Self::new(capacity, 0)
    }

    fn new(capacity: u64, entries: u64) -> Self {
        // Beside the entries: those without a value, and some that are on their way.
        let most = entries.saturating_add(entries / DEAD_SHARE).saturating_add(DEAD_AT_LEAST);
        let most = if entries == 0 { 0 } else { most };
        Self {
            capacity,
            small: Queue::new(most),
            main: Queue::new(most),
            history: History::new(entries),
            balance: Balance::new(),
            stays: Default::default(),
            main_moved: AtomicU64::new(0),
        }
    }

    /// The bound on the weight.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Whether an entry of this weight can be kept at all.
    pub fn fits(&self, weight: u32) -> bool {
        u64::from(weight) <= self.capacity
    }

    /// Takes a handle that it does not hold, whose value has been counted, and makes room for it. The answer is as for
    /// [`make_room`](Self::make_room).
    pub fn admit(&self, residents: &impl Residents, entry: Handle) -> bool {
        let now = self.history.advance();
        let memory = self.history.recall(residents.hash(entry), now);
        let place = match memory {
            Some(memory) => self.place_again(residents, memory),
            None => Place::Small,
        };
        self.push(place, entry, now);
        hook::step("policy.admitted");
        if now.is_multiple_of(SWEEP_EACH) {
            self.sweep(residents);
        }
        self.make_room(residents, EVICTIONS)
    }

    /// Evicts until the weight is within the capacity, or nothing is left to evict. False if it stopped before that, as
    /// it tried so many.
    pub fn make_room(&self, residents: &impl Residents, most: usize) -> bool {
        for _ in 0..most {
            // One who comes here has charged a weight, pushed a handle, or evicted; now he looks at the weight and for
            // handles. The last of several at once to do so sees what all did, so he makes the room that is missing.
            fence_after_rmw(); // partner: another thread's
            if residents.weight() <= self.capacity {
                return true;
            }
            residents.publish();
            if !self.evict_one(residents) {
                return true;
            }
        }
        false
    }

    /// Where an entry belongs that was here before.
    fn place_again(&self, residents: &impl Residents, memory: Memory) -> Place {
        let entries = self.history.entries();
        let soon = self.balance.soon(memory.place, entries);
        if memory.tick >= self.history.tick(soon) {
            self.balance.returned(memory.place, entries);
        }
        let is_full = residents.weight() > self.capacity;
        let takes_from_small = self.small.len() > self.balance.target(self.len() + 1);
        // When it was pushed before it went, as far as that is known now.
        let stay = self.stays[memory.place as usize].load(Ordering::Relaxed) + 1;
        let pushed = memory.tick.wrapping_sub(stay) as u16;
        if !is_full || takes_from_small || self.main_yields(residents, pushed) {
            return Place::Main;
        }
        self.balance.refused(entries);
        Place::Small
    }

    /// Whether main has an entry that has been without a hit for longer than since `pushed`. Brings it
    /// to the front.
    fn main_yields(&self, residents: &impl Residents, pushed: u16) -> bool {
        for _ in 0..CHANCES {
            let Some(front) = self.main.peek() else { return self.main.is_empty() };
            if !self.is_older(front.stamp, pushed) {
                return false;
            }
            if residents.hits(front.handle) == Some(0) {
                return true;
            }
            let Some(front) = self.main.pop() else { continue };
            match residents.hits(front.handle) {
                None => _ = self.release(residents, Place::Main, front),
                Some(0) => self.main.push(front), // Another one than a moment ago.
                Some(hits) => {
                    residents.set_hits(front.handle, hits - 1);
                    self.push(Place::Main, front.handle, self.history.now());
                }
            }
        }
        false
    }

    /// Whether a stamp at the front of main is older than another one. Stamps come round: but when
    /// nothing has moved in main for so long, all in it is older than anything that is remembered.
    fn is_older(&self, front: u16, than: u16) -> bool {
        let idle = self.history.now().saturating_sub(self.main_moved.load(Ordering::Relaxed));
        idle > REACH * self.history.entries() || (than.wrapping_sub(front) as i16) > 0
    }

    /// Lets one entry go. False if there is none to try.
    fn evict_one(&self, residents: &impl Residents) -> bool {
        let mut chances = CHANCES;
        let mut aside = None;
        loop {
            let Some((place, queued)) = self.pop(residents, aside) else { return false };
            let entry = queued.handle;
            let now = self.history.now();
            let Some(hits) = residents.hits(entry) else {
                if !self.release(residents, place, queued) {
                    return true; // Let another round decide.
                }
                continue;
            };
            if hits > 0 && chances > 0 {
                chances -= 1;
                let again = match place {
                    Place::Small if hits > 1 => Place::Main,
                    _ => place,
                };
                residents.set_hits(entry, if place == Place::Main { hits - 1 } else { 0 });
                self.push(again, entry, now);
                continue;
            }
            match residents.spare(entry) {
                Spare::No => return self.let_go(residents, place, queued, now),
                Spare::Own => {
                    self.push(place, entry, now);
                    aside = Some(place);
                }
                Spare::Other => self.push(Place::Main, entry, now),
                Spare::Last => {
                    self.push(place, entry, now);
                    return false;
                }
            }
        }
    }

    /// Takes an entry's value away, or puts it back into its queue if that does not succeed.
    fn let_go(&self, residents: &impl Residents, place: Place, queued: Queued, now: Time) -> bool {
        let hash = residents.hash(queued.handle);
        hook::step("policy.evicting");
        if !residents.evict(queued.handle) {
            self.push(place, queued.handle, now);
            return true;
        }
        self.release(residents, Place::Small, queued);
        let stay = (self.history.tick(now) as u16).wrapping_sub(queued.stamp);
        self.stays[place as usize].store(stay.into(), Ordering::Relaxed);
        self.history.remember(hash, now, place, || self.len());
        self.balance.evicted(place, now, self.history.entries());
        true
    }

    /// Lets go of a handle, or keeps it in its queue if that cannot be. True if it went.
    fn release(&self, residents: &impl Residents, place: Place, queued: Queued) -> bool {
        hook::step("policy.releasing");
        let gone = residents.release(queued.handle);
        if !gone {
            self.push(place, queued.handle, self.history.now());
        }
        gone
    }

    /// Takes from small if that has more than its share, otherwise from main; but from the other one if one is left
    /// `aside`.
    fn pop(&self, residents: &impl Residents, aside: Option<Place>) -> Option<(Place, Queued)> {
        let is_small = match aside {
            Some(place) => place == Place::Main,
            None => {
                let small = self.small.len();
                small > self.balance.target(small + self.main.len())
            }
        };
        let from = |place, queue: &Queue| {
            if let Some(later) = queue.ahead(AHEAD) {
                residents.prefetch(later);
            }
            queue.pop().map(|queued| (place, queued))
        };
        let main = if is_small { None } else { from(Place::Main, &self.main) };
        main.or_else(|| from(Place::Small, &self.small)).or_else(|| from(Place::Main, &self.main))
    }

    fn push(&self, place: Place, handle: Handle, now: Time) {
        let stamp = self.history.tick(now) as u16;
        match place {
            Place::Small => self.small.push(Queued { handle, stamp }),
            Place::Main => {
                self.main.push(Queued { handle, stamp });
                self.main_moved.store(now, Ordering::Relaxed);
            }
        }
    }

    /// Looks for handles without a value when there are many.
    fn sweep(&self, residents: &impl Residents) {
        let dead = self.len().saturating_sub(residents.count());
        if dead <= self.len() / DEAD_SHARE + DEAD_AT_LEAST {
            return;
        }
        let (small, main) = (&self.small, &self.main);
        let is_small = small.len() > main.len();
        let (place, queue) = if is_small { (Place::Small, small) } else { (Place::Main, main) };
        for queued in (0..SWEEP).map_while(|_| queue.pop()) {
            match residents.hits(queued.handle) {
                Some(_) => queue.push(queued),
                None => _ = self.release(residents, place, queued),
            }
        }
    }

    /// How many handles are held.
    pub fn len(&self) -> u64 {
        self.small.len() + self.main.len()
    }

    /// Bytes of queues and history.
    pub fn bytes(&self) -> usize {
        (self.small.slots() + self.main.slots()) as usize * 8 + self.history.bytes()
    }

    /// Gives all handles back.
    #[cfg(all(test, not(coeval_loom)))]
    pub fn drain(&self, mut each: impl FnMut(Handle)) {
        for queue in [&self.small, &self.main] {
            while let Some(queued) = queue.pop() {
                each(queued.handle);
            }
        }
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests;
