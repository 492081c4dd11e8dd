//! Conditional removal of many entries: one commit removes those that a predicate chose in one part
//! of the index, provided that each still has the version that the predicate saw.

use super::Engine;
use super::plan::Plan;
use crate::chain::RecordRef;
use crate::commit::Precondition;
use crate::reclaim::Reclaim;
use crate::sync::hook::step;
use crate::version::Version;
use std::hash::{BuildHasher, Hash};
use std::ops::Range;

/// The most entries that one commit removes. It bounds the memory of a commit, and what a conflict
/// makes the caller do again.
const MAX_REMOVED: usize = if cfg!(coeval_loom) { 2 } else { 256 };

/// The number of entries from which on a view is closed, and the next one opened for the next part.
const JUDGED: usize = if cfg!(coeval_loom) { 2 } else { 128 };

/// What became of one part.
#[derive(Clone, Copy, Debug, Default)]
pub struct PartDone {
    /// The next part to visit.
    pub next: usize,
    /// The number of entries that the predicate has judged.
    pub judged: u64,
    pub removed: u64,
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Goes through the first of these parts of the index, until a few entries were found. Removes
    /// those that a view shows and for which `goes` says so, unless they were written meanwhile.
    /// Relations apply if `related`. `division` is the number of parts of the whole index. `goes`
    /// runs without a guard.
    pub fn remove_where(
        &self,
        division: usize,
        parts: Range<usize>,
        related: bool,
        mut goes: impl FnMut(&K, &V) -> bool,
    ) -> PartDone {
        let mut done = PartDone::default();
        {
            let view = self.open_view();
            let mut shown = Vec::new();
            done.next = parts.start;
            while done.next < parts.end && shown.len() < JUDGED {
                let rest = done.next..parts.end;
                done.next = self.scan(view.snapshot(), division, rest, &mut shown);
            }
            done.judged = shown.len() as u64;
            shown.retain(|(key, value, _)| goes(key, value));
            step("retain.judged");
            for chosen in shown.chunks(MAX_REMOVED) {
                done.removed += self.remove_chosen(chosen, related);
            }
        }
        self.tend_after_several();
        done
    }

    /// Removes these entries, at least one, by one commit, unless one of them was written since.
    /// Then removes each half by a commit of its own, and so on. Returns the number of entries
    /// removed.
    fn remove_chosen(&self, chosen: &[(&K, &V, Version)], related: bool) -> u64 {
        let is_removed = {
            let guard = self.pin();
            let config = self.observers().config.snapshot();
            let mut plan = Plan::new(self, &guard, &config);
            let mut preconditions = Vec::with_capacity(chosen.len());
            for (key, _, version) in chosen {
                // The view keeps the record, so it is found unless the key's `Eq` is inconsistent.
                let record = self.store.find_alive(&guard, self.hash(*key), *key);
                let Some(record): Option<RecordRef<'_, K, V>> = record else { continue };
                plan.push(record, None, None, related, None);
                preconditions.push((record, Precondition::Holds(version.get())));
            }
            self.relate(&mut plan);
            let decided = self.run(&mut plan, &preconditions);
            let is_committed = decided.is_committed();
            if !is_committed {
                decided.take_values(|_, value| drop(value));
            }
            is_committed
        };
        if is_removed {
            return chosen.len() as u64;
        }
        if chosen.len() == 1 {
            return 0; // it has a newer value, or has gone
        }
        let (first, second) = chosen.split_at(chosen.len() / 2);
        self.remove_chosen(first, related) + self.remove_chosen(second, related)
    }
}
