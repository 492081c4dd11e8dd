//! The end of a derivation: all that was made is set, by one commit.
//!
//! A key that somebody else has set meanwhile stays as that is. What was made from it is kept only if it is equal.

use super::Engine;
use super::derivation::{EngineTies, Made, Memo, Place};
use super::plan::Plan;
use super::terms::Asked;
use crate::chain::{Record, RecordRef};
use crate::commit::Precondition;
use crate::dependencies::{BondsBuilder, Moment};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::removal::RemovalCause;
use crate::store::Decided;
use crate::sync::hook::step;
use crate::version::Version;
use std::hash::{BuildHasher, Hash};

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets all that was made. The version if the last of it is to be seen. `free_at`: when the key of that held nothing that
    /// was to be had, as the others did. The caller tends.
    pub(super) fn keep_made(&self, memo: &Memo<V>, free_at: Option<u64>) -> Option<Version> {
        let guard = self.pin();
        for made in &memo.made {
            let revived = self.record_made(&guard, made).revive();
            debug_assert!(revived, "a record that is held is not sealed");
        }
        // Tried again only if somebody wrote one of the keys meanwhile, which then stays as it is.
        loop {
            if let Ok(version) = self.try_to_keep(&guard, memo, free_at) {
                return version;
            }
        }
    }

    /// The record of what was made, which holds it until the derivation ends.
    fn record_made<'g>(&self, guard: &'g R::Guard<'_>, made: &Made<V>) -> RecordRef<'g, K, V> {
        self.store.record_of(self.store.live(guard), &made.as_input)
    }

    /// The same, once. An error: a key was written in the very middle of it.
    fn try_to_keep<'r>(
        &'r self,
        guard: &R::Guard<'r>,
        memo: &Memo<V>,
        free_at: Option<u64>,
    ) -> Result<Option<Version>, ()> {
        let config = self.observers().config.snapshot();
        let mut plan = Plan::new(self, guard, &config);
        let mut keeping = Keeping { engine: self, memo, numbers: Vec::new(), writes: Vec::new() };
        for made in &memo.made {
            let number = keeping.fate(guard, made, &plan);
            keeping.numbers.push(number);
        }
        let Keeping { writes, numbers, .. } = keeping;
        // From here on no user's code runs that could keep the bonds from their versions.
        let mut preconditions = Vec::with_capacity(writes.len());
        let (mut again, mut last) = (0, None);
        for (made, mut value, mut asked, ties) in writes {
            let record = self.record_made(guard, made);
            let mut bonds = ties.into_bonds(guard).expect("nothing is lost, for it was looked");
            bonds.set_equal_since(made.as_input.number());
            asked.get_or_insert_default().bonds = Some(bonds);
            // What has ended stays so, whatever else this commit does.
            let cause = made.is_again.then_some(RemovalCause::Related);
            plan.push(record, &mut value, asked, false, cause);
            preconditions.push((record, Precondition::UnchangedSince(made.since)));
            again += u64::from(made.is_again);
            last = Some(record);
        }
        step("derive.before_fill");
        let mut version = None;
        if let Some(last) = last {
            let moment = Moment::new(&self.timer);
            let decided: Decided<'_, K, V> = self.run(plan, &preconditions);
            let Some(commit) = decided.commit() else {
                decided.take_values(|_, value| drop(value));
                return Err(());
            };
            // If one of them had ended, it may have been there again since: of the next commit it is known.
            let is_next = |free_at: u64| again == 0 || commit.version() == free_at + 1;
            if free_at.is_some_and(is_next) {
                self.store.quiet.note(commit.version());
            }
            for (record, _) in &preconditions {
                let (hash, version) = (Some(record.hash()), Some(commit.version()));
                self.observers().record(EventKind::Loaded, hash, version);
            }
            let is_last_set = numbers.last().is_some_and(Option::is_some);
            version = is_last_set.then(|| self.seen(last, commit, &moment)).flatten();
        }
        // What nobody sees of the outermost one is refused, as where it is set alone.
        let is_unseen = version.is_none() && numbers.last().is_some_and(Option::is_some);
        let mine = self.observers().counters.mine();
        mine.loads.add(preconditions.len() as u64 - u64::from(is_unseen));
        mine.recomputed.add(again);
        let refused = |at: &usize| numbers[*at].is_none() || (is_unseen && at + 1 == numbers.len());
        for at in (0..numbers.len()).filter(refused) {
            self.observers().refused(self.record_made(guard, &memo.made[at]).hash());
        }
        Ok(version)
    }
}

/// What is to be set, and what ties it.
type Set<'m, K, V, S, R> = (&'m Made<V>, Option<V>, Option<Asked>, EngineTies<'m, K, V, S, R>);

/// What is to become of what was made.
struct Keeping<'m, K, V, S, R: Reclaim> {
    engine: &'m Engine<K, V, S, R>,
    memo: &'m Memo<V>,
    /// For each, in order: the number by which it goes in the bonds of others. `None`: it is not kept, nor are those.
    numbers: Vec<Option<u64>>,
    /// What is to be set.
    writes: Vec<Set<'m, K, V, S, R>>,
}

impl<'m, K, V, S, R> Keeping<'m, K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + PartialEq + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Of the next one.
    fn fate<'r>(
        &mut self,
        guard: &R::Guard<'r>,
        made: &'m Made<V>,
        plan: &Plan<'_, 'r, K, V, S, R>,
    ) -> Option<u64> {
        let engine = self.engine;
        let (store, record) = (&engine.store, engine.record_made(guard, made));
        let newest = store.order.newest_number(record);
        if newest.max(store.watermark(record.live())) > made.since {
            return self.adopted(guard, made, &plan.moment);
        }
        let mut ties = self.ties(guard, made)?;
        store.inherit_tags(record, made.since, &plan.moment, &mut ties).ok()?;
        let value = Some(made.value.clone());
        let asked =
            engine.rules.asked(plan.config.times(), record.key(), &made.value, None, &plan.moment);
        self.writes.push((made, value, asked, ties));
        Some(made.as_input.number())
    }

    /// Somebody has set the key: that is as good if it is equal. But for what the derivation is of, which is to be of its
    /// own commit.
    fn adopted(&self, guard: &R::Guard<'_>, made: &Made<V>, moment: &Moment<'_>) -> Option<u64> {
        let is_outermost = made.as_input.record::<()>().addr() == self.memo.outermost;
        if is_outermost || made.is_lost {
            return None;
        }
        let record = self.engine.record_made(guard, made);
        let found = self.engine.store.present(record, false, moment)?;
        let number = found.number();
        let number = found.bonds().map_or(number, |bonds| bonds.equal_since(number));
        (*found.value() == made.value).then_some(number)
    }

    /// What ties it, if none of that is lost: what it was made from that was made, too, has its number by now.
    fn ties(&self, guard: &R::Guard<'_>, made: &Made<V>) -> Option<EngineTies<'m, K, V, S, R>> {
        let (store, mut ties) = (&self.engine.store, BondsBuilder::new(&self.engine.store));
        ties.is_nested = made.is_nested;
        ties.has_unheld_input = made.is_lost;
        for input in &made.inputs {
            let (record, mut number) = (input.record::<Record<K, V>>(), input.number());
            if let Some(Place::Made(at)) = self.memo.places.get(&record.addr()) {
                // If it was noted as something else, it was absent, and derived only after that.
                let is_same = *input == self.memo.made[*at].as_input;
                number = self.numbers.get(*at).copied().flatten().filter(|_| is_same)?;
            }
            ties.add_input(store.record_of(store.live(guard), input), number, input.is_present());
        }
        (!ties.is_unkeepable()).then_some(ties)
    }
}
