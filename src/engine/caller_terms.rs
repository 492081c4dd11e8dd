//! The terms of a value that is about to be committed, among them those that a caller gave for one
//! write of a batch or a transaction.
//!
//! Terms that a caller preserves are those of the key, or of an earlier write by the same commit.
//! They are read when the version is made, after all user code has run.

use super::Engine;
use super::terms::{CallerTerms, RequestedTerms, ViewInstant};
use crate::chain::{Bonds, EntryTerms, RecordRef, Visible, Weight};
use crate::commit::{Limit, ReadAt};
use crate::config::Times;
use crate::dependencies::{BondsBuilder, Moment};
use crate::reclaim::Reclaim;
use crate::store::{KEPT, TermsAndBonds};
use crate::sync::time::{NEVER, deadline};

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns the terms and bonds of a value for `record`, as requested. The times must be those
    /// with which they were requested. No user code runs from here to the commit.
    pub(super) fn retention<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        requested: &mut RequestedTerms,
        times: &Times,
    ) -> TermsAndBonds {
        let (terms, bonds) = match requested.caller_terms.take() {
            Some(caller_terms) => {
                let (terms, bonds) =
                    self.terms_from_caller(guard, record, requested, *caller_terms, times);
                // Bonds that were made before are those that a load found unchanged.
                (terms, requested.bonds.take().or(bonds))
            }
            None => (requested.terms(times), requested.bonds.take()),
        };
        if terms.deadline() != NEVER {
            self.deadlines.expect();
        }
        TermsAndBonds { terms, bonds }
    }

    /// Returns the terms and bonds of a value for `record`, as the caller gave them.
    fn terms_from_caller<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        requested: &RequestedTerms,
        caller_terms: CallerTerms,
        times: &Times,
    ) -> (EntryTerms, Option<Box<Bonds>>) {
        let now = requested.now;
        let until = |time| deadline(now, time);
        let was = caller_terms
            .is_preserved
            .then(|| self.terms_to_preserve(record, caller_terms.as_of))
            .flatten();
        let (mut end, mut idle, mut refresh) = match was {
            Some((was, _)) => was.terms().map_or((NEVER, 0, NEVER), EntryTerms::times),
            None => (times.end(now), times.time_to_idle(), times.due(now)),
        };
        if let Some(time) = caller_terms.time_to_live {
            end = until(time);
        }
        if let Some(time) = caller_terms.time_to_idle {
            idle = deadline(0, time).max(1); // 0 would mean none
        }
        if let Some(time) = caller_terms.refresh_after {
            refresh = until(time);
            self.observers().config.expect_refresh();
        }
        // A weight that was given for the earlier value is kept with its other terms.
        let kept = was.and_then(|(was, _)| was.terms()?.given_weight());
        let given = caller_terms.weight.or(kept).filter(|_| self.rules.weigher.is_some());
        let weight = given.map_or(Weight::weighed(requested.weight), Weight::given);
        let mut ties = BondsBuilder::new(&self.store);
        let was = was.filter(|_| !caller_terms.has_bonds);
        let bonds = was.and_then(|(was, since)| Some((was.bonds()?, since)));
        match (caller_terms.tags, bonds) {
            (Some(tags), _) => {
                for (hash, tag) in &tags {
                    ties.add_tag(self.store.find_or_create_tag(guard, *hash, tag), 0);
                }
            }
            // A tag invalidated after that look-up ends the new value.
            (None, Some((bonds, since))) => ties.add_tags_of(bonds, |_| since),
            (None, None) => {}
        }
        let bonds = if ties.tags.is_empty() { None } else { ties.into_bonds(guard) };
        let terms = EntryTerms::new(now, end, idle, refresh, weight);
        match requested.policy_end.filter(|_| caller_terms.time_to_live.is_none()) {
            Some(until) => (terms.by_policy(until), bonds),
            None => (terms, bonds),
        }
    }

    /// Returns the valid value of a record, as of a view or now, and a number up to which it was
    /// valid.
    fn terms_to_preserve<'g>(
        &'g self,
        record: RecordRef<'g, K, V>,
        as_of: Option<ViewInstant>,
    ) -> Option<(Visible<'g, V>, u64)> {
        let timer = &self.timer;
        let Some(ViewInstant { version, watermark, opened }) = as_of else {
            let since = self.store.version();
            let present = self.store.present(record, false, &Moment::new(timer));
            return present.map(|found| (found, since));
        };
        // SAFETY: the version is that of a registered view (see `ViewInstant::view`), under the
        // guard of the record.
        let at = unsafe { ReadAt::new(Limit::View(version)) }.above(watermark);
        let held = self.store.valid_at(Some(record), at, false, &Moment::at(timer, opened));
        held.expect(KEPT).value().map(|found| (found, version))
    }
}
