//! A queue of words, first in, first out, in which no thread waits for another.
//!
//! A ring of slots; pushers and poppers draw tickets, and a ticket names a slot and a *turn*, the
//! round in which the ring is used for it. A slot is empty for a turn, or holds a word:
//!
//! ```text
//! empty(turn) ── push ──→ word ── pop ──→ empty(turn + 1)
//!      └── a popper came first ──────────→ empty(turn + 1)
//! ```
//!
//! A popper that meets a slot whose pusher has drawn the ticket but not written yet does not wait:
//! it moves the slot on to the next turn and draws another ticket, and the late pusher finds its turn
//! past and draws another one, too. (Morrison & Afek's LCRQ, PPoPP'13, resolves the same race the
//! same way.) A turn's number never comes back, so a late pusher cannot mistake a later round for
//! its own. What a ticket is not: a claim. A word belongs to whoever takes it out by CAS; a popper
//! that slept through a round takes what it finds. It may leave an earlier turn behind then, which
//! would let in a pusher that slept as well, after the popper of its ticket has passed: so a pusher
//! looks at the poppers' tickets afterwards, and takes its word back when they are past its own. (It
//! sees that they are: its CAS on the slot follows that popper's.)
//!
//! Order: a word leaves after the words whose push had ended before its own began, except that a
//! popper that is stopped between its ticket and its slot holds one word back, until it goes on or
//! the ring comes round. (In a ring that has been closed: until it goes on.)
//!
//! A full ring is closed, and a larger one takes its place; poppers empty the old one first. Rings
//! are kept until the queue is dropped, as a late thread may look at them; together the old ones have
//! at most as many slots as the last.

mod handle;

pub use handle::Handle;

use crate::sync::{AtomicU64, AtomicUsize, Ordering, hook, lazy_array::LazyArray};
use crossbeam_utils::CachePadded;

/// How many slots the first ring has.
const FIRST: u64 = if cfg!(coeval_loom) { 2 } else { 64 };
/// While the end is far, the next ring is this many times larger; then twice.
const GROWTH: u64 = 4;
/// Rings at most: the last would have 2^40 slots or more.
const RINGS: usize = 36;
/// In the count of pushers' tickets: no more words are let in.
const CLOSED: u64 = 1 << 63;

/// What a slot holds: a handle, and the time at which it was pushed, in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The entry.
    pub handle: Handle,
    /// When it was pushed, in ticks that come round.
    pub stamp: u16,
}

impl Queued {
    fn word(self) -> u64 {
        u64::from(self.stamp) << 48 | self.handle.bits()
    }

    fn from_word(word: u64) -> Self {
        Self { handle: Handle::new(word & Handle::MASK), stamp: (word >> 48) as u16 }
    }
}

/// An empty slot's word. Handles are even, so it differs from every word that is pushed.
fn empty(turn: u64) -> u64 {
    turn << 1 | 1
}

/// The turn for which a slot is empty.
fn empty_for(word: u64) -> Option<u64> {
    (word & 1 == 1).then_some(word >> 1)
}

/// One ring.
struct Ring {
    slots: Box<[AtomicU64]>,
    /// Tickets that poppers have drawn.
    popped: CachePadded<AtomicU64>,
    /// Tickets that pushers have drawn, and `CLOSED`.
    pushed: CachePadded<AtomicU64>,
}

/// The ring is closed.
struct Closed;

// All orderings: words are handed over by the CASes on a slot, which therefore release and acquire.
// Tickets only spread the threads over the slots: whatever they draw, a slot's turn decides. So the
// counters are Relaxed.
impl Ring {
    fn new(size: u64) -> Self {
        Self {
            slots: (0..size).map(|_| AtomicU64::new(empty(0))).collect(),
            popped: CachePadded::new(AtomicU64::new(0)),
            pushed: CachePadded::new(AtomicU64::new(0)),
        }
    }

    fn size(&self) -> u64 {
        self.slots.len() as u64
    }

    /// A ticket's slot and turn.
    fn slot(&self, ticket: u64) -> (&AtomicU64, u64) {
        (&self.slots[(ticket % self.size()) as usize], ticket / self.size())
    }

    fn pushed(&self) -> u64 {
        self.pushed.load(Ordering::Relaxed) & !CLOSED
    }

    fn is_closed(&self) -> bool {
        self.pushed.load(Ordering::Relaxed) & CLOSED != 0
    }

    fn len(&self) -> u64 {
        // In this order: a pop in between makes it too large, not negative.
        let popped = self.popped.load(Ordering::Relaxed);
        self.pushed().saturating_sub(popped)
    }

    /// A ticket for a word; closes the ring when it is full.
    fn draw(&self) -> Result<u64, Closed> {
        let lets_in = hook::mutant("queue.closed_ring_lets_in");
        if self.is_closed() && !lets_in {
            return Err(Closed);
        }
        if self.len() >= self.size() {
            self.pushed.fetch_or(CLOSED, Ordering::Relaxed);
            return Err(Closed);
        }
        let ticket = self.pushed.fetch_add(1, Ordering::Relaxed);
        if ticket & CLOSED != 0 && !lets_in {
            return Err(Closed);
        }
        Ok(ticket & !CLOSED)
    }

    /// Writes the word into the ticket's slot, unless its turn is past or the slot taken.
    fn write(&self, ticket: u64, word: u64) -> bool {
        let (slot, turn) = self.slot(ticket);
        let mut found = slot.load(Ordering::Relaxed);
        loop {
            match empty_for(found) {
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
        let was_passed = self.popped.load(Ordering::Relaxed) > ticket;
        let keeps = hook::mutant("queue.skips_without_a_mark"); // Or it would make up for that.
        if was_passed && !keeps {
            // Whether somebody else took it meanwhile is all the same: then it has been pushed.
            let back =
                slot.compare_exchange(word, empty(turn + 1), Ordering::AcqRel, Ordering::Relaxed);
            return back.is_err();
        }
        true
    }

    fn push(&self, word: u64) -> Result<(), Closed> {
        loop {
            let ticket = self.draw()?;
            hook::step("queue.ticket_to_push");
            // Another ticket is needed only after another thread's step: a popper that came first,
            // or one that is late for the round before.
            if self.write(ticket, word) {
                return Ok(());
            }
        }
    }

    /// The next word; none when all tickets of pushers are used up.
    fn pop(&self) -> Option<u64> {
        while self.len() > 0 {
            hook::step("queue.some_to_pop");
            let ticket = self.popped.fetch_add(1, Ordering::Relaxed);
            hook::step("queue.ticket_to_pop");
            if let Some(word) = self.take(ticket) {
                return Some(word);
            }
        }
        None
    }

    /// Takes what the ticket's slot holds, or makes sure that nothing gets into it in this turn.
    fn take(&self, ticket: u64) -> Option<u64> {
        let (slot, turn) = self.slot(ticket);
        let mut found = slot.load(Ordering::Relaxed);
        loop {
            match empty_for(found) {
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
                Ok(_) => return empty_for(found).is_none().then_some(found),
                Err(now) => found = now,
            }
        }
    }

    /// A word behind the next, if one is there.
    fn ahead(&self, places: u64) -> Option<u64> {
        let (slot, _) = self.slot(self.popped.load(Ordering::Relaxed) + places);
        Some(slot.load(Ordering::Relaxed)).filter(|word| empty_for(*word).is_none())
    }

    /// The word that is next, if nobody is at it at this moment.
    fn peek(&self) -> Option<u64> {
        let (slot, _) = self.slot(self.popped.load(Ordering::Relaxed));
        // Acquire: as if it were taken.
        Some(slot.load(Ordering::Acquire)).filter(|word| empty_for(*word).is_none())
    }
}

/// The queue.
pub struct Queue {
    rings: LazyArray<Ring, RINGS>,
    /// The ring that is popped from, and the one that is pushed to: never behind it.
    first: AtomicUsize,
    last: AtomicUsize,
    /// How many words are expected at most; 0 when nobody knows.
    most: u64,
}

impl Queue {
    /// An empty queue; `most` is the number of words beyond which it is not expected to grow, 0 when
    /// nobody knows. (It grows as far as it is made to.) Its memory is made by the first push.
    pub fn new(most: u64) -> Self {
        let (first, last) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { rings: LazyArray::new(), first, last, most }
    }

    fn ring(&self, place: usize) -> &Ring {
        self.rings.get_or_make(place, || Ring::new(self.size(place)))
    }

    /// How large the rings are: growing, and exactly `most` once that is within reach.
    fn size(&self, place: usize) -> u64 {
        let larger = |size: u64, _| match size * GROWTH {
            next if next * GROWTH < self.most => next,
            _ if size < self.most => self.most,
            _ => size * 2,
        };
        let first = if self.most == 0 { FIRST } else { self.most.min(FIRST) };
        (0..place).fold(first, larger)
    }

    /// Puts a word at the end.
    pub fn push(&self, queued: Queued) {
        loop {
            // Relaxed: the rings themselves are published by `LazyArray`.
            let last = self.last.load(Ordering::Relaxed);
            if self.ring(last).push(queued.word()).is_ok() {
                return;
            }
            self.ring(last + 1);
            hook::step("queue.grown");
            let _ =
                self.last.compare_exchange(last, last + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Takes the word at the front.
    pub fn pop(&self) -> Option<Queued> {
        hook::step("queue.pop");
        loop {
            let first = self.first.load(Ordering::Relaxed);
            let ring = self.rings.get(first)?;
            if let Some(word) = ring.pop() {
                return Some(Queued::from_word(word));
            }
            if !self.leave(first, ring) {
                return None;
            }
        }
    }

    /// Whether poppers are past a ring that gave nothing. All of a closed ring's tickets are known,
    /// and once poppers have drawn as many, each slot holds nothing, and lets nothing in.
    fn leave(&self, first: usize, ring: &Ring) -> bool {
        if !ring.is_closed() || self.rings.get(first + 1).is_none() {
            return false;
        }
        if ring.len() == 0 {
            let (relaxed, next) = (Ordering::Relaxed, first + 1);
            let _ = self.first.compare_exchange(first, next, relaxed, relaxed);
        }
        true
    }

    /// The word at the front, if nobody is at it at this moment.
    pub fn peek(&self) -> Option<Queued> {
        let first = self.first.load(Ordering::Relaxed);
        let rings = (first..RINGS).map_while(|place| self.rings.get(place));
        let ring = rings.into_iter().find(|ring| ring.len() > 0)?;
        ring.peek().map(Queued::from_word)
    }

    /// How many words there are; exact when no other thread is at work.
    pub fn len(&self) -> u64 {
        let (first, last) = (self.first.load(Ordering::Relaxed), self.last.load(Ordering::Relaxed));
        // Relaxed: a ring that another thread has just begun is missed at worst.
        let rings = (first..=last.max(first)).map_while(|place| self.rings.get(place));
        rings.map(Ring::len).sum()
    }

    /// The handle that is so many places behind the front, if one is there: a hint.
    pub fn ahead(&self, places: u64) -> Option<Handle> {
        let ring = self.rings.get(self.first.load(Ordering::Relaxed))?;
        ring.ahead(places).map(|word| Queued::from_word(word).handle)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots of all rings, for those who count memory.
    pub fn slots(&self) -> u64 {
        (0..RINGS).map_while(|place| self.rings.get(place)).map(Ring::size).sum()
    }
}

#[cfg(all(test, not(coeval_loom)))]
mod tests;
