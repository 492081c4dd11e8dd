//! Loads of one key whose loader decides the terms of the value.
//!
//! The tags that a loader gives count from the beginning of the load: the value is refused if one
//! of them was invalidated since. It is refused, too, if a tag or an input of the value that it
//! replaces has changed.

use super::fill::Filled;
use super::group::on_behalf_of;
use super::load::Load;
use super::plan::Plan;
use super::terms::{CallerTerms, RequestedTerms};
use super::transact::demand_tags;
use super::{Engine, KeyLease};
use crate::chain::{Bonds, Node, NodeRef, Parcel, RecordRef};
use crate::commit::Precondition;
use crate::dependencies::{BondsBuilder, Moment};
use crate::memory::{array, boxed};
use crate::metrics::EventKind;
use crate::reclaim::Reclaim;
use crate::relation::{Tag, Terms};
use crate::sync::hook::step;
use crate::version::Version;
use std::hash::{BuildHasher, Hash};
use std::ptr::NonNull;
use std::slice;

/// The terms that a loader decided for its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedTerms {
    pub terms: Terms,
    /// The weight, in place of the weigher's.
    pub weight: Option<u32>,
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Sets a leased key to `value` on these terms and takes the value, unless the key, or what its
    /// value depends on, has changed since the lease was taken. The caller calls
    /// [`tend`](Self::tend).
    pub(super) fn fill_on_terms(
        &self,
        lease: &KeyLease<K, V>,
        value: &mut Parcel<V>,
        given: LoadedTerms,
    ) -> Option<Filled> {
        self.fill_by([lease], |guard, [record]| {
            let filled = self.fill_record_on_terms(guard, record, lease.since, value, given);
            filled.map(|(filled, _)| filled)
        })
    }

    /// Does the same for a record. Also returns the new version.
    pub(super) fn fill_record_on_terms<'g, 'r>(
        &'r self,
        guard: &'g R::Guard<'r>,
        record: RecordRef<'g, K, V>,
        since: u64,
        value: &mut Parcel<V>,
        given: LoadedTerms,
    ) -> Option<(Filled, NodeRef<'g, V>)> {
        let config = self.observers().config.snapshot();
        let moment = Moment::new(&self.timer);
        let (times, LoadedTerms { terms, weight }) = (config.times(), given);
        let (key, replaced) = (record.key(), || self.lifetime_of(record));
        let mut requested = self.rules.request(times, key, value.get()?, None, &moment, replaced);
        let mut caller_terms = CallerTerms::new(terms, |tag: &Tag| self.hash(tag));
        caller_terms.weight = caller_terms.weight.or(weight);
        let tags = caller_terms.tags.take();
        caller_terms.has_bonds = true;
        requested.set_caller_terms(moment.time(), caller_terms);
        // No user code runs from here on. A panic in it would separate the bonds from their
        // versions.
        requested.bonds = self.bonds_since(guard, record, since, tags)?;
        step("fill.tied");
        let plan = Plan::new(self, guard, &config);
        let (filled, node) = self.fill_bound(plan, record, since, value, requested)?;
        // SAFETY: the version was committed under the guard, which keeps it.
        Some((filled, unsafe { NodeRef::new(node.as_ref()) }))
    }

    /// Returns the bonds of a loaded value: these tags, or the bonds of the value that it replaces.
    /// Returns `None` if any of this changed after `since`.
    #[allow(clippy::option_option)] // The outer one says whether the load is refused.
    fn bonds_since<'g>(
        &'g self,
        guard: &'g R::Guard<'_>,
        record: RecordRef<'g, K, V>,
        since: u64,
        tags: Option<Vec<(u32, Tag)>>,
    ) -> Option<Option<Box<Bonds>>> {
        let Some(tags) = tags else {
            return self.store.inherited_bonds(guard, record, since).ok();
        };
        if self.store.has_changed(record, since) {
            return None;
        }
        let mut ties = BondsBuilder::new(&self.store);
        for (hash, tag) in &tags {
            ties.add_tag(self.store.find_or_create_tag(guard, *hash, tag), since);
            step("load.tag_found");
            if self.tag_marks.is_noted_since(*hash, since) {
                return None;
            }
        }
        Some(if tags.is_empty() { None } else { ties.into_bonds(guard) })
    }

    /// Makes the commit of a fill, which takes effect only if neither the key was written nor one
    /// of the tags invalidated after `since`.
    fn fill_bound<'g, 'r>(
        &'r self,
        mut plan: Plan<'g, 'r, K, V, S, R>,
        record: RecordRef<'g, K, V>,
        since: u64,
        value: &mut Parcel<V>,
        requested: RequestedTerms,
    ) -> Option<(Filled, NonNull<Node<V>>)> {
        let mut preconditions = vec![(record, Precondition::UnchangedSince(since))];
        let is_tied = requested.bonds.is_some();
        if let Some(bonds) = &requested.bonds {
            demand_tags(&mut preconditions, record, bonds, since);
        }
        plan.push(record, Some(value), Some(requested), false, None);
        let decided = self.run(&mut plan, &preconditions);
        let Some(commit) = decided.commit() else {
            decided.take_values(|_, taken| taken.give_back(value));
            return None;
        };
        let (hash, version) = (Some(record.hash()), Some(commit.version()));
        self.observers().record(EventKind::Loaded, hash, version);
        let moment = Moment::new(&self.timer);
        let is_valid = !is_tied || self.is_newest(record, commit, &moment);
        let (_, node, _) = decided.writes().next().expect("there is one write");
        let filled = Filled { version: Version::from_u64(commit.version()), is_valid };
        Some((filled, NonNull::from(node.get())))
    }
}

impl<K, V, S, R> Load<'_, K, V, S, R, 1>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Ends the load as [`finish`](Self::finish) does. The loader may have decided the terms of the
    /// value. Also returns the version of the commit that cached the value, unless the load was
    /// refused.
    pub fn finish_on_terms<E>(
        mut self,
        loaded: Result<(V, Option<LoadedTerms>), E>,
    ) -> Result<(V, Option<Version>), E> {
        let engine = self.engine();
        self.set_failing(true); // as in `finish`
        let (value, terms) = loaded.inspect_err(|_| self.claims.note_failure(self.begun))?;
        let Self { leader, claims, begun, .. } = &mut self;
        let filled = on_behalf_of(leader, || {
            let (lease, mut offered) = (claims.each[0].lease(), Parcel::empty());
            offered.put_clone(&value);
            let filled = match terms {
                Some(terms) => engine.fill_on_terms(lease, &mut offered, terms),
                None => engine.fill_many([lease], slice::from_mut(&mut offered)),
            };
            claims.note_load_time(*begun);
            filled
        });
        let ended = match filled {
            Some(filled) if filled.is_valid => {
                step("load.filled");
                let [value] = array(self.share(boxed([value]), filled.version));
                (value, Some(filled.version))
            }
            _ => {
                self.set_failing(false);
                drop(self);
                (value, None) // its loader read it before the change
            }
        };
        engine.tend_after_several();
        Ok(ended)
    }
}
