//! Writes of one key, and the clearing of all keys.

use super::Engine;
use super::changes::WriteTerms;
use super::plan::Plan;
use super::post_commit::Settled;
use crate::chain::{NodeRef, Parcel, RecordRef, Visible, flags};
use crate::commit::{Over, Precondition, ReadAt};
use crate::config::{ConfigSnapshot, Times};
use crate::dependencies::Moment;
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::{Commit, Offered, version_of};
use crate::sync::hook::{mutant, planted, step};
use crate::sync::{Ordering, fence, fence_after_rmw};
use crate::version::{State, Version};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets `key` and its related entries, by one commit. `time_to_live` takes precedence over the
    /// cache's own.
    pub fn insert(&self, key: K, value: V, time_to_live: Option<Duration>) -> Version {
        let mut place = Parcel::empty();
        place.put(value);
        self.insert_from(key, &mut place, time_to_live)
    }

    /// Does the same with the value in this place.
    #[inline(always)] // so that a small value stays in a register
    fn insert_from(
        &self,
        key: K,
        value: &mut Parcel<V>,
        time_to_live: Option<Duration>,
    ) -> Version {
        let config = self.observers().config.snapshot();
        if config.relation().is_some() {
            return self.insert_related(&config, key, value, time_to_live);
        }
        let times = config.times();
        let hash = self.store.hash(&key);
        self.store.prefetch_bucket_early(hash);
        self.store.prefetch_home(hash);
        if let Some(policy) = &self.policy {
            policy.prefetch(hash);
        }
        // What earlier operations retired is reclaimed now, and not at the end: what was asked for
        // arrives meanwhile.
        self.collect_some();
        if self.rules.are_plain(times, time_to_live) {
            return self.insert_plain(hash, key, value);
        }
        self.insert_with_terms(times, hash, key, value, time_to_live)
    }

    /// Sets `key` alone to a value without terms.
    #[inline(always)]
    fn insert_plain(&self, hash: u32, key: K, value: &mut Parcel<V>) -> Version {
        let guard = self.store.pin();
        let flags = self.flags_of_new();
        let offered = Offered { value: &mut *value, flags };
        let record = self.store.locate(&guard, hash, key, Some(offered));
        let version = if value.is_some() {
            let written = self.store.write(&guard, record, Some(value), None, Over::Any);
            let written = written.expect("the write has no condition");
            let (node, version) = (written.own.node(), written.commit.version());
            let settled = self.settle_replacement(&guard, written);
            self.account_value(&guard, record, node, settled);
            version
        } else {
            // SAFETY: `locate` has put the value into the inline slot of a new record and published
            // the record.
            unsafe { self.insert_first(&guard, record, flags) }
        };
        drop(guard);
        self.tend_after_collecting();
        Version::from_u64(version)
    }

    /// The flags of a new record that takes a value without terms. If such a value may be kept, the
    /// policy has it from the beginning: the writer admits it before it does anything else.
    #[inline(always)]
    fn flags_of_new(&self) -> u32 {
        match &self.policy {
            Some(policy) if !policy.fits(1) => 0,
            Some(policy) if policy.is_deep() => flags::ADMITTED,
            Some(_) => flags::ADMITTED | flags::FRESH,
            None => 0,
        }
    }

    /// Completes the insertion of a new record, which has these flags. Returns the number of the
    /// commit.
    ///
    /// # Safety
    /// As for [`stamp_first`](crate::store::Store::stamp_first).
    #[inline(never)] // so that an overwrite needs fewer registers
    unsafe fn insert_first<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        flags: u32,
    ) -> u64 {
        // SAFETY: the caller's promise.
        let written = unsafe { self.store.stamp_first(record) };
        let (node, version) = (written.own.node(), written.commit.version());
        let settled = self.settle_first(written);
        match &self.policy {
            Some(policy) => self.keep_bound_of_new(policy, guard, (record, node), flags, settled),
            None => settled.account(),
        }
        version
    }

    /// Sets `key` alone to a value that may have terms.
    #[inline(never)]
    fn insert_with_terms(
        &self,
        times: &Times,
        hash: u32,
        key: K,
        value: &mut Parcel<V>,
        time_to_live: Option<Duration>,
    ) -> Version {
        let moment = Moment::new(&self.timer);
        let replaced = || self.lifetime_of_key(hash, &key);
        let new = value.get().expect("there is a value to set");
        let mut requested = self.rules.request(times, &key, new, time_to_live, &moment, replaced);
        let guard = self.pin();
        let record = self.store.locate(&guard, hash, key, None);
        let retention = self.retention(&guard, record, &mut requested, times);
        let written = self.store.write(&guard, record, Some(value), Some(retention), Over::Any);
        let written = written.expect("the write has no condition");
        let (node, version) = (written.own.node(), written.commit.version());
        let settled = self.settle_one(&guard, written, RemovalCause::Replaced, &moment);
        self.account_value(&guard, record, node, Some(settled));
        drop(guard);
        self.tend_after_collecting();
        Version::from_u64(version)
    }

    /// Accounts for a value that was written, and keeps the bound, if there is one.
    #[inline(always)]
    fn account_value<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        node: NodeRef<'g, V>,
        settled: Option<Settled<'g>>,
    ) {
        match &self.policy {
            Some(policy) => self.keep_bound(policy, guard, record, node, settled),
            None => settled.into_iter().for_each(Settled::account),
        }
    }

    /// Does the same in a cache with relations. Not inlined, because a change needs stack space for
    /// a value.
    #[inline(never)]
    fn insert_related(
        &self,
        config: &ConfigSnapshot<'_, K, V>,
        key: K,
        value: &mut Parcel<V>,
        time_to_live: Option<Duration>,
    ) -> Version {
        let mut changes = self.changes();
        let keep = time_to_live.map_or(WriteTerms::Default, WriteTerms::TimeToLive);
        changes.add(self.hash(&key), key, keep, true).take_from(value);
        self.commit_by(config, changes)
    }

    /// Removes `key` alone. Returns the copy of its value that `copy` makes. The copy is made
    /// before the removal, so that a panic in it removes nothing.
    pub fn remove<Q, T>(&self, key: &Q, copy: impl Fn(&V) -> T) -> Option<T>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let removed = {
            let guard = self.pin();
            if !planted("gone.removal_unnoted") {
                self.observers().note_gone(hash);
            }
            // Partners: the fences in `lease_held_record` and `GroupWork::restore`; for `is_held`.
            fence(Ordering::SeqCst);
            let record = self.store.find_alive(&guard, hash, key)?;
            self.remove_from(&guard, record, copy)
        };
        self.tend();
        removed
    }

    fn remove_from<'g, 'r, T>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: RecordRef<'g, K, V>,
        copy: impl Fn(&V) -> T,
    ) -> Option<T> {
        let moment = Moment::new(&self.timer);
        loop {
            // Read first: if a lease was filled and let go by now, the look-up below finds its
            // value.
            let is_held = record.is_held();
            let Some(current) = self.store.order.newest(record) else {
                step("remove.nothing");
                let is_held = if mutant("lease.look_late") { record.is_held() } else { is_held };
                if is_held && !self.mark_absent(guard, record) {
                    continue; // another thread has set it since
                }
                self.store.try_condemn(guard, record);
                return None;
            };
            let present = self.store.present(record, false, &moment);
            if present.is_none_or(|present| !present.is(current.node().get())) {
                if self.end_absent(guard, record, current, &moment) {
                    return None;
                }
                continue; // another thread has set it since, possibly under a lease
            }
            let copied = copy(current.value());
            let over = Over::Only(current.node());
            if let Some(written) = self.store.write(guard, record, None, None, over) {
                let commit = written.commit;
                let superseded = written.own.superseded();
                let watermark = self.store.order.watermark_at(commit.at());
                let was_cleared = superseded.is_none_or(|was| was.number() <= watermark);
                // If the value had ended before the removal, this caller did not remove it.
                let had_ended =
                    || current.state().has_terms() && self.had_ended(current, commit, &moment);
                let is_ours = !was_cleared && !had_ended();
                let cause = RemovalCause::Explicit;
                self.account_removal(self.settle_one(guard, written, cause, &moment));
                return is_ours.then_some(copied);
            }
        }
    }

    /// Returns whether the value that the caller's removal superseded had ended before. Reads the
    /// time anew.
    #[cold]
    #[inline(never)]
    fn had_ended<'g>(
        &'g self,
        was: Visible<'g, V>,
        removal: Commit<'g>,
        moment: &Moment<'_>,
    ) -> bool {
        moment.renew();
        matches!(self.store.judge(was, removal.before(), false, moment), Ok(Some(_)))
    }

    /// Removes `key` alone if it is present. Makes a commit in any case.
    pub(super) fn invalidate_alone<Q>(&self, key: &Q) -> Version
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let guard = self.pin();
        self.observers().note_gone(hash);
        loop {
            if let Some(record) = self.store.find_alive(&guard, hash, key)
                && (record.is_held() || self.store.order.newest(record).is_some())
                && let Some(written) = self.store.write(&guard, record, None, None, Over::Any)
            {
                let (moment, state) = (Moment::new(&self.timer), written.state);
                let cause = RemovalCause::Explicit;
                self.account_removal(self.settle_one(&guard, written, cause, &moment));
                drop(guard);
                self.tend();
                return version_of(state);
            }
            // There is nothing to remove, so this is a commit without writes.
            step("invalidate.nothing");
            let (version, at) = self.store.order.tick_under(self.store.live(&guard));
            step("invalidate.numbered");
            if self.is_absent_at(&guard, hash, key, at) {
                self.observers().committed();
                drop(guard);
                self.tend();
                return version_of(State::committed(version));
            }
        }
    }

    /// Returns whether `key` is absent as of a number that was just taken under the guard, and
    /// every earlier lease on it has ended without a fill. Commits with smaller numbers are ready
    /// by now, so the look-up finds them.
    fn is_absent_at<'g, Q>(
        &self,
        guard: &'g R::Guard<'_>,
        hash: u32,
        key: &Q,
        at: ReadAt<'g>,
    ) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        fence_after_rmw(); // partner: the fence in `lease_held_record`; for `is_held`
        self.store.find(guard, hash, key).is_none_or(|record| {
            // Read first: if a lease was filled and let go by now, the look-up below finds its
            // value. That value may have a larger number, although it was read at its source
            // before.
            let is_held = || record.is_held() && !mutant("lease.look_first");
            let held_first = is_held();
            let is_filled =
                || self.store.order.newest(record).is_some() && !mutant("lease.as_of_number");
            let held = self.store.order.resolve(record, at);
            let is_absent = held.is_ok_and(|held| held.value().is_none()) && !is_filled();
            step("invalidate.absent");
            let is_held = if mutant("lease.look_late") { is_held() } else { held_first };
            is_absent && !is_held
        })
    }

    /// Removes `key` and its related entries, by one commit. If the cache does not know the key,
    /// `make_key` makes the key to keep and to pass to the relations.
    pub fn invalidate<Q>(&self, key: &Q, make_key: impl FnOnce() -> K) -> Version
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let config = self.observers().config.snapshot();
        if config.relation().is_none() {
            return self.invalidate_alone(key);
        }
        let unwound = self.collect_on_unwind();
        let version = {
            let guard = self.pin();
            let record = self.store.find_or_create(&guard, key, make_key);
            let mut plan = Plan::new(self, &guard, &config);
            plan.push(record, None, None, true, None);
            self.relate(&mut plan);
            self.run_unconditionally(&mut plan).version()
        };
        std::mem::forget(unwound);
        self.tend_after_several();
        Version::from_u64(version)
    }

    /// Clears everything, by one commit.
    pub fn invalidate_all(&self) -> Version {
        let version = self.store.clear(&self.pin());
        self.observers().committed();
        self.observers().record(EventKind::Committed, None, Some(version));
        self.tend();
        Version::from_u64(version)
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Puts a tombstone on a record without a value, so that the fills of earlier leases are
    /// refused. Returns false if the record has a value by now.
    fn mark_absent<'g, 'r>(&'r self, guard: &'g R::Guard<'r>, record: RecordRef<'g, K, V>) -> bool {
        let config = self.observers().config.snapshot();
        let mut plan = Plan::new(self, guard, &config);
        plan.push(record, None, None, false, None);
        let precondition = Precondition::IsAbsent(plan.moment.time());
        self.run(&mut plan, &[(record, precondition)]).is_committed()
    }
}
