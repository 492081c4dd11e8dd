//! Several loads of one key each, which one caller leads at the same time.
//!
//! User code that waited for one of these loads would wait for its own thread. So what may run user
//! code runs on behalf of all of them, which makes such a wait an error, or after the end of all.

use super::Engine;
use super::group::on_behalf_of;
use super::load::{Claims, Load, LoadOutcome};
use crate::chain::Parcel;
use crate::loading::Leader;
use crate::memory::boxed;
use crate::reclaim::Reclaim;
use crate::sync::hook::step;
use std::hash::{BuildHasher, Hash};
use std::slice;

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Claims `key` while the caller leads other loads. Their end does the maintenance.
    pub fn claim_beside(&self, key: K) -> Claims<'_, K, V, S, R, 1> {
        Claims { each: [self.claim_quietly(key)], is_early: false }
    }

    /// Ends these loads as [`Load::finish`] does, each with its value.
    pub fn finish_each(&self, mut loads: Vec<Load<'_, K, V, S, R, 1>>, values: Vec<V>) -> Vec<V> {
        loads.iter().for_each(|load| load.set_failing(true)); // as in `finish`
        let mut filled = Vec::with_capacity(loads.len());
        {
            let parts = loads.iter_mut().map(|load| (&mut load.leader, (&load.claims, load.begun)));
            let (mut leaders, claims): (Vec<_>, Vec<_>) = parts.unzip();
            on_behalf_of_each(&mut leaders, &mut || {
                for ((claims, begun), value) in claims.iter().zip(&values) {
                    let mut offered = Parcel::clones(slice::from_ref(value));
                    filled.push(self.fill_many([claims.each[0].lease()], &mut offered));
                    claims.note_load_time(*begun);
                }
            });
        }
        let ends = loads.into_iter().zip(values).zip(filled);
        let shared: Vec<_> = ends
            .map(|((load, value), filled)| match filled {
                Some(filled) if filled.is_valid => {
                    step("load.filled");
                    load.share_outcome(boxed([value]), filled.version)
                }
                _ => {
                    load.set_failing(false);
                    drop(load);
                    Err(boxed([value])) // its loader read it before the change
                }
            })
            .collect();
        // The values that other callers share are cloned when all loads have ended.
        let values = shared
            .into_iter()
            .map(|outcome| outcome.map_or_else(|values| values, LoadOutcome::into_values));
        let values = values.flat_map(Box::<[V]>::into_iter).collect();
        self.tend_after_several();
        values
    }
}

/// Runs `act` on behalf of all these loads.
fn on_behalf_of_each<T, R: Reclaim>(
    leaders: &mut [&mut Option<Leader<'_, usize, T, R>>],
    act: &mut dyn FnMut(),
) {
    match leaders {
        [] => act(),
        [leader, rest @ ..] => on_behalf_of(leader, || on_behalf_of_each(rest, act)),
    }
}
