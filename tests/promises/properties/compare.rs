//! The comparison of a cache and its model.

use super::pair::{Open, Pair, View};
use super::program::{KEYS, weight};
use super::state::Held;
use coeval::reclaim::Reclaim;
use std::collections::BTreeMap;
use std::panic::resume_unwind;

/// Ends the program without a message of the panic hook, because shrinking runs a program many
/// times.
pub fn fail(what: String) -> ! {
    resume_unwind(Box::new(what))
}

macro_rules! agree {
    ($cache:expr, $model:expr, $($what:tt)+) => {
        let (cache, model) = ($cache, $model);
        if cache != model {
            let what = format!($($what)+);
            $crate::properties::compare::fail(format!("{what}: {cache:?} instead of {model:?}"));
        }
    };
}
pub(crate) use agree;

impl<R: Reclaim> Pair<R> {
    /// Compares everything that can be read without a change.
    pub fn compare(&mut self) {
        self.hear();
        for key in 0..KEYS {
            let is_held = self.model.get(key).is_some();
            agree!(self.cache.contains_key(&key), is_held, "whether it contains {key}");
        }
        self.compare_sizes();
        let view = self.cache.view();
        self.learn(&view);
        shows(&view, &self.model.present(), "a view of now");
        drop(view);
        for Open { view, shown, opened } in &self.views {
            shows(view, &shown.all(*opened), "a view");
        }
        self.compare_leases();
        self.newest = self.newest.max(self.newest.map(|_| self.cache.version()));
        self.compared = (self.model.stamp, self.newest);
    }

    /// Processes what the cache reports, and what it has evicted or swept without a report.
    pub fn hear(&mut self) {
        self.listen();
        for key in 0..KEYS {
            match (self.model.get(key).is_some(), self.cache.contains_key(&key)) {
                (true, false) if !self.model.is_missing(key) => {
                    fail(format!("{key} has gone without a report"));
                }
                (false, true) if !self.model.is_back(key) => fail(format!("{key} is present")),
                _ => {}
            }
        }
    }

    /// Checks that the listener heard of exactly the values that have left.
    fn listen(&mut self) {
        if !self.model.settings.is_heard {
            self.model.leaves.clear();
            return;
        }
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        for (key, value, cause, version) in heard {
            let slot = self.model.state.slot(key).clone();
            if !self.model.left(key, value, cause, version) {
                let what = format!("{value} left {key} by {version}: {cause}");
                fail(format!("the listener reported that {what}; the model has {slot:?}"));
            }
        }
        if !self.model.is_reported() {
            fail(format!("nothing was heard of {:?}", self.model.leaves));
        }
    }

    /// Only the cache knows the version of a value that was loaded or derived; the model learns it
    /// here.
    fn learn(&mut self, view: &View<R>) {
        let (stamp, before) = self.compared;
        for key in self.model.present().into_keys() {
            let slot = self.model.state.slot_mut(key);
            let Some(held) = slot.held.as_mut().filter(|held| held.version.is_none()) else {
                continue;
            };
            held.version = view.get_versioned(&key).map(|(_, version)| version);
            let is_later = held.version > before || slot.written <= stamp;
            agree!(is_later, true, "{:?} is later than {before:?}", held.version);
            self.newest = self.newest.max(held.version);
        }
    }

    fn compare_leases(&mut self) {
        for (lease, at) in self.leases.iter().zip(0..) {
            let leased = &self.model.leases[at];
            let expected = match leased.is_outdated {
                true => Some(true),
                false => self.model.is_outdated(leased.key, leased.since),
            };
            let found = lease.is_outdated();
            agree!(found, expected.unwrap_or(found), "a lease on {}", leased.key);
            self.model.leases[at].is_outdated = found;
        }
    }

    fn compare_sizes(&self) {
        let (cache, model) = (&self.cache, &self.model);
        let weigh = |held: &Held| match model.settings.is_weighed {
            true => u64::from(weight(held.value)),
            false => 1,
        };
        // A value that has expired or ended counts until it is removed, which the listener reports.
        let (most, least) = (model.in_memory().map(weigh).sum(), || model.present());
        let least = |most: u64| match model.settings.is_heard {
            true => most,
            false => least().values().map(weigh).sum(),
        };
        let size = cache.weighted_size();
        if !(least(most)..=most).contains(&size) {
            fail(format!("weighted_size is {size}, not {} to {most}", least(most)));
        }
        let most = model.in_memory().count();
        let least = if model.settings.is_heard { most } else { model.present().len() };
        let len = cache.len();
        if !(least..=most).contains(&len) {
            fail(format!("len is {len}, not {least} to {most}"));
        }
        if let Some(capacity) = model.settings.capacity
            && size > capacity
        {
            fail(format!("weighted_size is {size}, of {capacity}"));
        }
    }
}

/// Checks that the view shows this and nothing else.
pub fn shows<R: Reclaim>(view: &View<R>, shown: &BTreeMap<u64, Held>, what: &str) {
    for key in 0..KEYS {
        let held = shown.get(&key);
        let expected = held.map(|held| (held.value, held.version));
        // For a derived value that ended and is valid again, no one has learnt the version.
        let is_known = held.is_none_or(|held| held.version.is_some());
        let found = view.get_versioned(&key);
        let found = found.map(|(value, version)| (*value, is_known.then_some(version)));
        agree!(found, expected, "{what}, key {key}");
    }
    let listed: BTreeMap<_, _> = view.iter().map(|(key, value)| (*key, *value)).collect();
    let expected: BTreeMap<_, _> = shown.iter().map(|(key, held)| (*key, held.value)).collect();
    agree!((view.len(), listed), (expected.len(), expected), "{what}, listed");
}
