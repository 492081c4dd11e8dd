//! A first-in, first-out queue of words, in which no thread waits for another.
//!
//! It is a ring of slots. Pushers and poppers draw tickets. A ticket names a slot and a *turn*, the
//! round of the ring in which the ticket uses it. A slot is empty for a turn, or holds a word:
//!
//! ```text
//! empty(turn) ── push ──→ word ── pop ──→ empty(turn + 1)
//!      └── a popper came first ──────────→ empty(turn + 1)
//! ```
//!
//! A popper may meet a slot whose pusher has drawn the ticket but not yet written. It does not
//! wait: it advances the slot to the next turn and draws another ticket. The late pusher finds that
//! its turn is past, and draws another ticket, too. (Morrison & Afek's LCRQ, PPoPP'13, resolves
//! this race in the same way.) The number of a turn never recurs, so a late pusher cannot mistake a
//! later round for its own. A ticket is no claim. The thread whose CAS takes a word out owns the
//! word: a popper that is delayed for a round takes the word that it finds. The slot may then be
//! back at an earlier turn. That would admit a delayed pusher after the popper of its ticket has
//! passed. So a pusher checks the poppers' tickets after its write, and takes its word back if they
//! are past its own. (It sees that, since its CAS on the slot follows that popper's.)
//!
//! Order: a word leaves after the words whose push had ended before its own push began. There is
//! one exception: a popper that is stopped between its ticket and its slot delays one word, until
//! it continues or the ring comes round. (In a closed ring: until it continues.)
//!
//! A thread may also draw several tickets at once ([`lots`]).
//!
//! A full ring is closed, and a larger ring replaces it. Poppers empty the old ring first. Rings
//! are kept until the queue is dropped, since a late thread may access them. All old rings together
//! have at most as many slots as the newest.

mod handle;
mod lots;

pub use handle::Handle;
pub use lots::Tickets;

use crate::memory::Zeroed;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, hook, lazy_array::LazyArray, lines};
use crossbeam_utils::CachePadded;

/// The number of slots of the first ring.
const FIRST: u64 = if cfg!(coeval_loom) { 2 } else { 64 };
/// The next ring is this many times larger while the expected maximum is far. Few rings are quickly
/// counted.
const GROWTH: u64 = if cfg!(coeval_loom) { 4 } else { 16 };
/// The same for a queue that is expected to stay short. In time, all slots of a ring are used, so
/// the ring must not be much larger than the queue is long.
const GROWTH_IF_SHORT: u64 = 4;
/// The largest number of rings: the last one would have 2^40 slots or more.
const MAX_RINGS: usize = 36;
/// A flag in the count of pushers' tickets: the ring admits no more words.
const CLOSED: u64 = 1 << 63;

/// The content of a slot: a handle, and the time at which it was pushed, in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The handle of the entry.
    pub handle: Handle,
    /// The time of the push, in ticks that wrap around.
    pub stamp: u16,
}

impl Queued {
    fn word(self) -> u64 {
        u64::from(self.stamp) << 48 | self.handle.bits() | 1
    }

    #[inline]
    fn from_word(word: u64) -> Self {
        Self { handle: Handle::new(word & Handle::MASK), stamp: (word >> 48) as u16 }
    }
}

/// Returns the word of a slot that is empty for a turn. It is even, and every pushed word is odd.
/// For the first turn it is 0, so a ring takes no memory before its slots are used.
#[inline]
fn empty(turn: u64) -> u64 {
    turn << 1
}

/// Returns the turn for which a slot is empty, or `None` if it holds a pushed word.
#[inline]
fn empty_turn(word: u64) -> Option<u64> {
    (word & 1 == 0).then_some(word >> 1)
}

/// One ring of slots.
struct Ring {
    slots: Zeroed<AtomicU64>,
    /// Most threads that push pop as well, so both counts are on one line.
    drawn: CachePadded<Drawn>,
}

/// The numbers of tickets that threads have drawn.
struct Drawn {
    popped: AtomicU64,
    /// Also has the flag `CLOSED`.
    pushed: AtomicU64,
}

/// The error of a push into a closed ring.
struct Closed;

// Orderings: the CASes on a slot hand words over, so they release and acquire. Tickets only
// distribute the threads over the slots. A slot's turn decides, whatever tickets the threads draw.
// So the counters are Relaxed.
impl Ring {
    fn new(size: u64) -> Self {
        Self {
            slots: Zeroed::new(size as usize),
            drawn: CachePadded::new(Drawn { popped: AtomicU64::new(0), pushed: AtomicU64::new(0) }),
        }
    }

    #[inline]
    fn size(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Returns the slot and the turn of a ticket.
    #[inline]
    fn slot(&self, ticket: u64) -> (&AtomicU64, u64) {
        (&self.slots[(ticket % self.size()) as usize], ticket / self.size())
    }

    #[inline]
    fn pushed(&self) -> u64 {
        self.drawn.pushed.load(Ordering::Relaxed) & !CLOSED
    }

    #[inline]
    fn is_closed(&self) -> bool {
        self.drawn.pushed.load(Ordering::Relaxed) & CLOSED != 0
    }

    #[inline]
    fn len(&self) -> u64 {
        // This order matters: a pop in between makes the result too large, never negative.
        let popped = self.drawn.popped.load(Ordering::Relaxed);
        self.pushed().saturating_sub(popped)
    }

    /// Draws tickets for this number of words. Returns the first. Closes the ring if it is full.
    #[inline]
    fn draw_tickets(&self, count: u64) -> Result<u64, Closed> {
        lines::ask_to_write(&self.drawn.pushed);
        let lets_in = hook::mutant("queue.closed_ring_lets_in");
        if self.is_closed() && !lets_in {
            return Err(Closed);
        }
        if self.len() >= self.size() {
            self.drawn.pushed.fetch_or(CLOSED, Ordering::Relaxed);
            return Err(Closed);
        }
        let ticket = self.drawn.pushed.fetch_add(count, Ordering::Relaxed);
        if ticket & CLOSED != 0 && !lets_in {
            return Err(Closed);
        }
        Ok(ticket & !CLOSED)
    }

    /// Writes the word into the ticket's slot, unless its turn is past or the slot is taken.
    #[inline]
    fn write(&self, ticket: u64, word: u64) -> bool {
        let (slot, turn) = self.slot(ticket);
        lines::ask_to_write(slot);
        let mut found = slot.load(Ordering::Relaxed);
        loop {
            match empty_turn(found) {
                Some(past) if past > turn => return false,
                None => return false,
                Some(_) => {}
            }
            match slot.compare_exchange(found, word, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => found = now,
            }
        }
        hook::step("queue.written");
        let was_passed = self.drawn.popped.load(Ordering::Relaxed) > ticket;
        // This step would hide the effect of that mutant.
        let keeps = hook::mutant("queue.skips_without_a_mark");
        if was_passed && !keeps {
            // If the CAS fails, a popper has taken the word, so the push has succeeded.
            let back =
                slot.compare_exchange(word, empty(turn + 1), Ordering::AcqRel, Ordering::Relaxed);
            return back.is_err();
        }
        true
    }

    #[inline]
    fn push(&self, word: u64) -> Result<(), Closed> {
        loop {
            let ticket = self.draw_tickets(1)?;
            hook::step("queue.ticket_to_push");
            // Another ticket is needed only if another thread has made a step: a popper that came
            // first, or one that is late from the round before.
            if self.write(ticket, word) {
                return Ok(());
            }
        }
    }

    /// Pops the next word. Returns `None` if poppers have drawn as many tickets as pushers.
    #[inline]
    fn pop(&self) -> Option<u64> {
        while self.len() > 0 {
            hook::step("queue.some_to_pop");
            let ticket = self.drawn.popped.fetch_add(1, Ordering::Relaxed);
            hook::step("queue.ticket_to_pop");
            if let Some(word) = self.take(ticket) {
                return Some(word);
            }
        }
        None
    }

    /// Takes the word in the ticket's slot, or advances the slot so that this turn admits none.
    #[inline]
    fn take(&self, ticket: u64) -> Option<u64> {
        let (slot, turn) = self.slot(ticket);
        lines::ask_to_write(slot);
        let mut found = slot.load(Ordering::Relaxed);
        loop {
            match empty_turn(found) {
                Some(later) if later > turn => return None,
                Some(_) if hook::mutant("queue.skips_without_a_mark") => return None,
                Some(_) if hook::mutant("queue.waits") => {
                    found = slot.load(Ordering::Relaxed);
                    continue;
                }
                _ => {}
            }
            let next = empty(turn + 1);
            match slot.compare_exchange(found, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return empty_turn(found).is_none().then_some(found),
                Err(now) => found = now,
            }
        }
    }

    /// Returns the word at a distance behind the next one, if there is one.
    #[inline]
    fn ahead(&self, distance: u64) -> Option<u64> {
        self.word_of(self.drawn.popped.load(Ordering::Relaxed) + distance)
    }

    /// Returns the word in the slot of a ticket, if there is one.
    #[inline]
    fn word_of(&self, ticket: u64) -> Option<u64> {
        // Acquire: pairs with the CAS in `write`, as a pop would.
        let word = self.slot(ticket).0.load(Ordering::Acquire);
        empty_turn(word).is_none().then_some(word)
    }

    /// Visits the words from the front to the back. While other threads push and pop, it may miss
    /// some words, and meet others that were pushed or popped meanwhile.
    fn visit(&self, each: &mut impl FnMut(u64)) {
        let pushed = self.pushed();
        (pushed.saturating_sub(self.size())..pushed)
            .filter_map(|ticket| self.word_of(ticket))
            .for_each(each);
    }

    /// Returns the next word, unless a thread is just pushing or popping it.
    fn peek(&self) -> Option<u64> {
        self.word_of(self.drawn.popped.load(Ordering::Relaxed))
    }
}

/// A lock-free first-in, first-out queue.
pub struct Queue {
    rings: LazyArray<Ring, MAX_RINGS>,
    /// The ring from which poppers pop, and the ring to which pushers push, which is never older.
    first: AtomicUsize,
    last: AtomicUsize,
    /// The largest expected number of words; 0 if unknown.
    expected_max: u64,
    /// How many times larger the next ring is.
    growth: u64,
}

impl Queue {
    /// Creates an empty queue. It grows as far as necessary, but is not expected to hold more than
    /// `expected_max` words; 0 if unknown. The first push allocates its memory.
    pub fn new(expected_max: u64) -> Self {
        let (first, last) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { rings: LazyArray::new(), first, last, expected_max, growth: GROWTH }
    }

    /// Creates an empty queue that is expected to stay much shorter than `expected_max`.
    pub fn short(expected_max: u64) -> Self {
        Self { growth: GROWTH_IF_SHORT, ..Self::new(expected_max) }
    }

    #[inline]
    fn ring(&self, index: usize) -> &Ring {
        self.rings.get_or_make(index, || Ring::new(self.size(index)))
    }

    /// Returns the size of a ring: growing, and exactly `expected_max` once that is near.
    fn size(&self, index: usize) -> u64 {
        let larger = |size: u64, _| match size * self.growth {
            next if next * self.growth < self.expected_max => next,
            _ if size < self.expected_max => self.expected_max,
            _ => size * 2,
        };
        let first = if self.expected_max == 0 { FIRST } else { self.expected_max.min(FIRST) };
        (0..index).fold(first, larger)
    }

    /// Pushes a word to the back.
    #[inline]
    pub fn push(&self, queued: Queued) {
        loop {
            // Relaxed: `LazyArray` publishes the rings themselves.
            let last = self.last.load(Ordering::Relaxed);
            if self.ring(last).push(queued.word()).is_ok() {
                return;
            }
            self.grow(last);
        }
    }

    /// Replaces the last ring, which is closed.
    fn grow(&self, last: usize) {
        self.ring(last + 1);
        hook::step("queue.grown");
        let _ = self.last.compare_exchange(last, last + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Pops the word at the front.
    #[inline]
    pub fn pop(&self) -> Option<Queued> {
        hook::step("queue.pop");
        loop {
            let first = self.first.load(Ordering::Relaxed);
            let ring = self.rings.get(first)?;
            if let Some(word) = ring.pop() {
                return Some(Queued::from_word(word));
            }
            if !self.skip_if_drained(first, ring) {
                return None;
            }
        }
    }

    /// Returns whether poppers may go on from a ring that gave no word. All tickets of a closed
    /// ring are known. Once poppers have drawn as many, each slot is empty and admits no word, or
    /// belongs to a popper that is yet to come.
    fn skip_if_drained(&self, first: usize, ring: &Ring) -> bool {
        if !ring.is_closed() || self.rings.get(first + 1).is_none() {
            return false;
        }
        if ring.len() == 0 {
            let (relaxed, next) = (Ordering::Relaxed, first + 1);
            let _ = self.first.compare_exchange(first, next, relaxed, relaxed);
        }
        true
    }

    /// Returns the word at the front, unless a thread is just pushing or popping it.
    pub fn peek(&self) -> Option<Queued> {
        let first = self.first.load(Ordering::Relaxed);
        let rings = (first..MAX_RINGS).map_while(|index| self.rings.get(index));
        let ring = rings.into_iter().find(|ring| ring.len() > 0)?;
        ring.peek().map(Queued::from_word)
    }

    /// Visits the words from the front to the back, and leaves them in the queue. It visits each
    /// word once while no other thread uses the queue. Rings that poppers have left are visited,
    /// too, since words may wait there for threads that have tickets.
    pub fn visit(&self, mut each: impl FnMut(Queued)) {
        for ring in (0..MAX_RINGS).map_while(|index| self.rings.get(index)) {
            ring.visit(&mut |word| each(Queued::from_word(word)));
        }
    }

    /// Returns the number of words. It is exact while no other thread uses the queue or has tickets
    /// left. Words that wait for such a thread do not count; its tickets to push do.
    #[inline]
    pub fn len(&self) -> u64 {
        let (first, last) = (self.first.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed));
        // Relaxed: at worst, this misses a ring that another thread has just begun.
        if first >= last {
            return self.rings.get(first).map_or(0, Ring::len);
        }
        self.len_of(first, last)
    }

    /// Returns the number of words in several rings.
    #[cold]
    fn len_of(&self, first: usize, last: usize) -> u64 {
        let rings = (first..=last).map_while(|index| self.rings.get(index));
        rings.map(Ring::len).sum()
    }

    /// Returns the handle at a distance behind the front, if there is one. Only a hint.
    #[inline]
    pub fn ahead(&self, distance: u64) -> Option<Handle> {
        let ring = self.rings.get(self.first.load(Ordering::Relaxed))?;
        ring.ahead(distance).map(|word| Queued::from_word(word).handle)
    }

    /// Returns the number of slots of all rings that were used, as a measure of memory.
    pub fn slots(&self) -> u64 {
        let used = |ring: &Ring| ring.pushed().min(ring.size());
        (0..MAX_RINGS).map_while(|index| self.rings.get(index)).map(used).sum()
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests;
