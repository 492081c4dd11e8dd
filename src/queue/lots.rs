//! Tickets in lots: a thread draws several at once and uses them for its next pushes and pops. So
//! threads that use a queue at the same time seldom write to the same cache lines.
//!
//! A thread that has tickets left is like one that was stopped after it had drawn them; the
//! protocol of the ring provides for that:
//! - A ticket to push: poppers pass its slot by. The thread then draws another one.
//! - A ticket to pop: the word stays in its slot until the thread comes back, or until the ring
//!   comes round. [`Queue::recover`] pushes such words anew.
//!
//! So a word may leave before some that were pushed before it: at most as many as are in the lots
//! of all threads.

use super::{Closed, Queue, Queued, Ring, empty, empty_turn};
use crate::sync::{Ordering, hook};
use std::cell::Cell;

/// The tickets of one ring that a thread has drawn and not used.
#[derive(Default)]
pub struct Tickets {
    ring: Cell<usize>,
    next: Cell<u64>,
    end: Cell<u64>,
}

impl Tickets {
    /// Takes the next ticket.
    #[inline]
    fn take(&self) -> Option<u64> {
        let ticket = self.next.get();
        let is_left = ticket < self.end.get();
        is_left.then(|| {
            self.next.set(ticket + 1);
            ticket
        })
    }

    /// Returns the number of tickets that are left.
    #[inline]
    fn left(&self) -> u64 {
        self.end.get() - self.next.get()
    }

    fn set(&self, ring: usize, first: u64, count: u64) {
        self.ring.set(ring);
        self.next.set(first);
        self.end.set(first + count);
    }
}

impl Ring {
    /// Takes each word for whose slot a ticket to pop was drawn, and which is still there.
    fn take_passed(&self, each: &mut impl FnMut(u64)) {
        let (popped, pushed) = (self.drawn.popped.load(Ordering::Relaxed), self.pushed());
        for ticket in pushed.saturating_sub(self.size())..popped {
            let (slot, turn) = self.slot(ticket);
            let word = slot.load(Ordering::Relaxed);
            if empty_turn(word).is_none()
                && slot
                    .compare_exchange(word, empty(turn + 1), Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            {
                each(word);
            }
        }
    }
}

impl Queue {
    /// Pushes a word to the back. Draws `lot` tickets if the thread has none left.
    #[inline]
    pub fn push_by(&self, tickets: &Tickets, lot: u64, queued: Queued) {
        loop {
            while let Some(ticket) = tickets.take() {
                let ring = self.rings.get(tickets.ring.get());
                if ring.is_some_and(|ring| ring.write(ticket, queued.word())) {
                    return;
                }
            }
            let last = self.last.load(Ordering::Relaxed); // as in `push`
            match self.ring(last).draw_tickets(lot) {
                Ok(first) => tickets.set(last, first, lot),
                Err(Closed) => self.grow(last),
            }
            hook::step("queue.ticket_to_push");
        }
    }

    /// Pops the word at the front. Draws `lot` tickets, or as many as there are words, if the
    /// thread has none left.
    #[inline]
    pub fn pop_by(&self, tickets: &Tickets, lot: u64) -> Option<Queued> {
        loop {
            while let Some(ticket) = tickets.take() {
                let ring = self.rings.get(tickets.ring.get());
                if let Some(word) = ring.and_then(|ring| ring.take(ticket)) {
                    return Some(Queued::from_word(word));
                }
            }
            let first = self.first.load(Ordering::Relaxed);
            let ring = self.rings.get(first)?;
            match ring.len().min(lot) {
                0 if !self.skip_if_drained(first, ring) => return None,
                0 => {}
                count => {
                    let ticket = ring.drawn.popped.fetch_add(count, Ordering::Relaxed);
                    tickets.set(first, ticket, count);
                }
            }
            hook::step("queue.ticket_to_pop");
        }
    }

    /// Returns the number of words, if only this thread has tickets left, and none of an old ring.
    #[inline]
    pub fn len_by(&self, push: &Tickets, pop: &Tickets) -> u64 {
        (self.len() + pop.left()).saturating_sub(push.left())
    }

    /// Returns the word that [`pop_by`](Self::pop_by) would pop next, unless another thread is just
    /// pushing or popping it.
    pub fn peek_by(&self, tickets: &Tickets) -> Option<Queued> {
        match tickets.left() {
            0 => self.peek(),
            _ => self.word_by(tickets, 0),
        }
    }

    /// Returns the handle at a distance behind the one that [`pop_by`](Self::pop_by) would pop
    /// next, if there is one. Only a hint.
    #[inline]
    pub fn ahead_by(&self, tickets: &Tickets, distance: u64) -> Option<super::Handle> {
        match tickets.left() {
            0 => self.ahead(distance),
            _ => self.word_by(tickets, distance).map(|queued| queued.handle),
        }
    }

    /// Returns the word in the slot at a distance behind that of the next ticket, if there is one.
    #[inline]
    fn word_by(&self, tickets: &Tickets, distance: u64) -> Option<Queued> {
        let ring = self.rings.get(tickets.ring.get())?;
        ring.word_of(tickets.next.get() + distance).map(Queued::from_word)
    }

    /// Pushes the words anew for which tickets to pop were drawn, and which are still in their
    /// slots. Returns whether there were any. Visits all slots.
    #[cold]
    pub fn recover(&self) -> bool {
        let (mut is_any, last) = (false, self.last.load(Ordering::Relaxed));
        for ring in (0..=last).map_while(|index| self.rings.get(index)) {
            ring.take_passed(&mut |word| {
                is_any = true;
                if !hook::mutant("queue.recovers_nothing") {
                    self.push(Queued::from_word(word));
                }
            });
        }
        is_any
    }
}
