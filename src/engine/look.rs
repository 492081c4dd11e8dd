//! Look-ups of what is newest. None of them writes to shared memory, but to help a commit that it meets half done.
//!
//! Most end with one [glance](Engine::glance), in which nothing is called that is not inlined, so nothing need be saved for
//! the time after. Where that is not enough, the rest is handed on, the guard with it, by a call in the place of a return.

use super::Engine;
use super::keep::Moment;
use super::read::version_of;
use crate::chain::{Node, Record};
use crate::index::Peek;
use crate::reclaim::Reclaim;
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::ptr::NonNull;

/// What a first look at a key tells.
enum Glance<'g, K, V> {
    /// It holds this, of which there is no more to know.
    Plain(&'g Node<V>, State),
    /// It holds this, which is derived, has tags or a deadline.
    Tied(&'g Record<K, V>, &'g Node<V>),
    /// It holds nothing.
    Absent,
    /// This is in its home bucket. It must be looked at more closely.
    Unclear(Option<&'g Record<K, V>>),
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// What `give` makes of `key`'s newest value. `COUNTS`: it is a use of the entry.
    #[inline(always)]
    pub fn look_up<Q, T, const COUNTS: bool>(
        &self,
        key: &Q,
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let Some(guard) = self.reclaim.try_pin() else {
            return self.look_up_anyhow::<Q, T, COUNTS>(key, give);
        };
        match self.glance::<Q, COUNTS>(&guard, key) {
            // SAFETY: committed to a value, and kept by the guard.
            Glance::Plain(node, state) => Some(give(unsafe { node.value() }, version_of(state))),
            Glance::Absent => None,
            Glance::Tied(record, node) => {
                let found = (NonNull::from(record), NonNull::from(node));
                // SAFETY: found so under the guard.
                unsafe { self.look_up_tied::<Q, T, COUNTS>(guard, key, found, give) }
            }
            Glance::Unclear(met) => {
                let met = met.map(NonNull::from);
                // SAFETY: found under the guard.
                unsafe { self.look_up_fully::<Q, T, COUNTS>(guard, key, met, give) }
            }
        }
    }

    /// The same, if there is more to do for a guard.
    #[cold]
    #[inline(never)]
    fn look_up_anyhow<Q, T, const COUNTS: bool>(
        &self,
        key: &Q,
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let guard = self.pin();
        let (node, state) = self.newest::<Q, COUNTS>(&guard, key)?;
        // SAFETY: committed to a value, and kept by the guard.
        Some(give(unsafe { node.value() }, version_of(state)))
    }

    /// The same, of what is tied, and in which record it is.
    ///
    /// # Safety
    /// A glance found it under this guard.
    #[inline(never)]
    unsafe fn look_up_tied<Q, T, const COUNTS: bool>(
        &self,
        guard: R::Guard<'_>,
        key: &Q,
        (record, node): (NonNull<Record<K, V>>, NonNull<Node<V>>),
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // SAFETY: the caller's promise.
        match unsafe { self.stands_on_few(node.as_ref()) } {
            // SAFETY: the caller's promise.
            Some(true) => Some(unsafe { self.hit_tied::<T, COUNTS>(&guard, node, give) }),
            // SAFETY: the caller's promise.
            Some(false) => unsafe {
                self.look_up_fully::<Q, T, COUNTS>(guard, key, Some(record), give)
            },
            // SAFETY: the caller's promise.
            None => unsafe {
                self.look_up_tied_anyhow::<Q, T, COUNTS>(guard, key, (record, node), give)
            },
        }
    }

    /// The same, whatever it is tied to.
    ///
    /// # Safety
    /// As for [`look_up_tied`](Self::look_up_tied).
    #[inline(never)]
    unsafe fn look_up_tied_anyhow<Q, T, const COUNTS: bool>(
        &self,
        guard: R::Guard<'_>,
        key: &Q,
        (record, node): (NonNull<Record<K, V>>, NonNull<Node<V>>),
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // SAFETY: the caller's promise.
        if unsafe { self.stands_plainly(node.as_ref()) } {
            // SAFETY: the caller's promise.
            return Some(unsafe { self.hit_tied::<T, COUNTS>(&guard, node, give) });
        }
        // SAFETY: the caller's promise.
        unsafe { self.look_up_fully::<Q, T, COUNTS>(guard, key, Some(record), give) }
    }

    /// What `give` makes of a value that serves, which is a hit.
    ///
    /// # Safety
    /// It was found under the guard.
    #[inline(always)]
    unsafe fn hit_tied<T, const COUNTS: bool>(
        &self,
        guard: &R::Guard<'_>,
        node: NonNull<Node<V>>,
        give: impl FnOnce(&V, Version) -> T,
    ) -> T {
        if COUNTS && let Some(tally) = self.reclaim.tally(guard) {
            tally.hit(1);
        }
        // SAFETY: committed to a value, and kept by the guard.
        unsafe { give(node.as_ref().value(), version_of(node.as_ref().state())) }
    }

    /// The same, whatever is in the way; `met` is what is in the key's home bucket.
    ///
    /// # Safety
    /// That was found under this guard.
    #[cold]
    #[inline(never)]
    unsafe fn look_up_fully<Q, T, const COUNTS: bool>(
        &self,
        guard: R::Guard<'_>,
        key: &Q,
        met: Option<NonNull<Record<K, V>>>,
        give: impl FnOnce(&V, Version) -> T,
    ) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // SAFETY: the caller's promise.
        let met = met.map(|record| unsafe { record.as_ref() });
        let (node, state) = self.newest_anyhow::<Q, COUNTS>(&guard, key, met)?;
        // SAFETY: committed to a value, and kept by the guard.
        Some(give(unsafe { node.value() }, version_of(state)))
    }

    /// The newest committed version of `key`, if it holds a value. `COUNTS`: it is a use of the entry.
    #[inline(always)]
    pub fn newest<'g, Q, const COUNTS: bool>(
        &self,
        guard: &'g R::Guard<'_>,
        key: &Q,
    ) -> Option<(&'g Node<V>, State)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        match self.glance::<Q, COUNTS>(guard, key) {
            Glance::Plain(node, state) => Some((node, state)),
            Glance::Absent => None,
            Glance::Tied(record, node) => self.newest_tied::<Q, COUNTS>(guard, key, record, node),
            Glance::Unclear(met) => self.newest_anyhow::<Q, COUNTS>(guard, key, met),
        }
    }

    /// The same, of what is tied, and in which record it is.
    #[inline(never)]
    fn newest_tied<'g, Q, const COUNTS: bool>(
        &self,
        guard: &'g R::Guard<'_>,
        key: &Q,
        record: &'g Record<K, V>,
        node: &'g Node<V>,
    ) -> Option<(&'g Node<V>, State)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        // SAFETY: found tied by a glance under the guard.
        let serves =
            unsafe { self.stands_on_few(node).unwrap_or_else(|| self.stands_plainly(node)) };
        if !serves {
            return self.newest_anyhow::<Q, COUNTS>(guard, key, Some(record));
        }
        if COUNTS && let Some(tally) = self.reclaim.tally(guard) {
            tally.hit(1);
        }
        Some((node, node.state()))
    }

    /// The usual look-up: of a value without terms, found in the first place.
    #[inline(always)]
    fn glance<'g, Q, const COUNTS: bool>(
        &self,
        guard: &'g R::Guard<'_>,
        key: &Q,
    ) -> Glance<'g, K, V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        self.ask_at_home(hash);
        match self.index.peek(guard, hash, |record| key.equivalent(record.key())) {
            Peek::Found(record) => {
                // SAFETY: found under the guard, which lives for 'g.
                let Some((node, state)) = (unsafe { self.order.top(record) }) else {
                    return Glance::Unclear(Some(record));
                };
                if state.is_tied() {
                    return Glance::Tied(record, node);
                }
                if !state.is_plain() {
                    return Glance::Unclear(Some(record));
                }
                if COUNTS && let Some(tally) = self.reclaim.tally(guard) {
                    tally.hit(1);
                }
                Glance::Plain(node, state)
            }
            Peek::Elsewhere => Glance::Unclear(None),
            Peek::Absent if COUNTS && self.order.is_watched() => Glance::Unclear(None),
            Peek::Absent => {
                if COUNTS && let Some(tally) = self.reclaim.tally(guard) {
                    tally.miss(1);
                }
                Glance::Absent
            }
        }
    }

    /// The newest committed version of `key`, if it holds a value, whatever is in the way; `met` is what is in the key's home
    /// bucket.
    #[cold]
    #[inline(never)]
    fn newest_anyhow<'g, Q, const COUNTS: bool>(
        &self,
        guard: &'g R::Guard<'_>,
        key: &Q,
        met: Option<&'g Record<K, V>>,
    ) -> Option<(&'g Node<V>, State)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        if let Some(record) = met
            // SAFETY: found under the guard, which lives for 'g.
            && let Some(found) = unsafe { self.order.settled_since_clear(record) }
        {
            if COUNTS && let Some(tally) = self.reclaim.tally(guard) {
                tally.hit(1);
            }
            return Some(found);
        }
        let hash = self.hash(key);
        let moment = Moment::new(&self.timer);
        // SAFETY: found under the guard, which lives for 'g.
        let valued = met.and_then(|record| Some((record, unsafe { self.order.valued(record) }?)));
        let found = match valued {
            Some((record, found)) => self
                .serving(guard, record, found, COUNTS, &moment)
                .or_else(|| self.present(guard, record, COUNTS, &moment)),
            None => self
                .find(guard, hash, key)
                .and_then(|record| self.present(guard, record, COUNTS, &moment)),
        };
        match found {
            Some((_, state)) if COUNTS => self.hit_of(guard, hash, state),
            None if COUNTS => self.missed(guard, hash),
            _ => {}
        }
        found
    }

    /// Whether `key` holds a value.
    #[inline(always)]
    pub fn contains<Q>(&self, guard: &R::Guard<'_>, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.newest::<Q, false>(guard, key).is_some()
    }

    /// `key`'s newest value and its version. The value lives as long as the guard.
    #[inline(always)]
    pub fn get<'g, Q>(&self, guard: &'g R::Guard<'_>, key: &Q) -> Option<&'g V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (node, _) = self.newest::<Q, true>(guard, key)?;
        // SAFETY: committed to a value, and kept by the guard.
        Some(unsafe { node.value() })
    }

    /// The same, with its version.
    pub fn get_versioned<'g, Q>(&self, guard: &'g R::Guard<'_>, key: &Q) -> Option<(&'g V, Version)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let (node, state) = self.newest::<Q, true>(guard, key)?;
        // SAFETY: as in `get`.
        Some((unsafe { node.value() }, version_of(state)))
    }
}
