//! Loads, derivations, and other operations that fill the cache with values read earlier.

use super::compare::{agree, fail};
use super::pair::{Hasher, Pair};
use super::program::{DERIVED, Loader, Meanwhile};
use super::state::Stamp;
use super::ties::{Fate, Reading, Session};
use coeval::reclaim::Reclaim;

type Scope<'s, R> = coeval::Scope<'s, u64, u64, Hasher, R>;

impl<R: Reclaim> Pair<R> {
    pub fn fill(&mut self, which: usize) {
        let (value, lease) = (self.value(), self.leases.remove(which));
        let leased = self.model.leases.remove(which);
        let is_outdated = self.model.is_outdated(leased.key, leased.since);
        let was_outdated = lease.is_outdated();
        match lease.fill(value) {
            Ok(version) => {
                agree!((is_outdated != Some(true), was_outdated), (true, false), "filled");
                self.is_newer(version);
                self.model.fill(leased.key, value, leased.since, Some(version));
            }
            Err(refused) => {
                agree!((is_outdated != Some(false), was_outdated), (true, true), "refused");
                agree!(refused.into_value(), value, "a refused fill gave back");
            }
        }
    }

    /// Starts to count fills.
    fn count_fills(&mut self) {
        let stats = self.cache.stats();
        self.fills = (stats.loads, stats.loads_refused);
    }

    /// Whether the one fill since then was made; `None` if there was none.
    fn was_filled(&self) -> Option<bool> {
        let stats = self.cache.stats();
        match (stats.loads - self.fills.0, stats.loads_refused - self.fills.1) {
            (0, 0) => None,
            (1, 0) => Some(true),
            (0, 1) => Some(false),
            fills => fail(format!("{fills:?} fills made and refused instead of one")),
        }
    }

    /// The end of a load that did not fail. It is refused if it is outdated, as far as the model
    /// can tell.
    fn loaded(&mut self, key: u64, value: u64, since: Stamp, is_outdated: Option<bool>) {
        let is_filled = self.was_filled();
        let expected = is_outdated.map_or(is_filled, |is_outdated| Some(!is_outdated));
        agree!(is_filled, expected, "whether the loaded value of {key} was kept");
        if is_filled == Some(true) {
            self.model.fill(key, value, since, None);
        }
    }

    pub fn load(&mut self, key: u64, loader: Loader, meanwhile: Option<Meanwhile>) {
        self.use_all();
        let (value, cache) = (self.value(), self.cache.clone());
        let shown = self.model.used(key).map(|held| held.value);
        let loads = shown.is_none() || self.model.is_old(key);
        if loads {
            self.model.claim(key);
        }
        let mut since = None;
        let loaded = cache.try_get_with(key, || {
            self.hear();
            since = Some(self.model.stamp);
            self.meanwhile(meanwhile);
            self.count_fills();
            match loader {
                Loader::Loads => Ok(value),
                Loader::Fails => Err(()),
            }
        });
        agree!(since.is_some(), loads, "whether {key} was loaded");
        let own = matches!(loader, Loader::Loads).then_some(value);
        // If the reload of a value fails, the caller gets what the key holds by then.
        let by_then = shown.and_then(|_| self.model.get(key).map(|held| held.value));
        agree!(loaded.ok(), if loads { own.or(by_then) } else { shown }, "a load");
        if let Some(since) = since.filter(|_| own.is_some()) {
            let is_outdated = self.model.is_outdated(key, since);
            self.loaded(key, value, since, is_outdated);
        }
        self.hear();
        self.use_all();
    }

    /// Present keys, and keys written since prewarming began, stay as they are.
    pub fn prewarm(&mut self, keys: &[u64]) {
        let (cache, since) = (self.cache.clone(), self.model.stamp);
        let (mut before, mut left) = (None, keys.iter());
        let mut filled = 0;
        let mut next = |pair: &mut Self| {
            if let Some((key, value)) = before.take() {
                let is_there = pair.model.get(key).is_some();
                if is_there {
                    agree!(pair.was_filled(), None, "a fill of {key}, which is present");
                } else {
                    filled += u64::from(pair.was_filled() == Some(true));
                    // A caller that does not hold a key does not learn that the key was swept in
                    // the meantime.
                    let is_swept = pair.model.is_swept(key, since);
                    let is_outdated = pair.model.is_outdated(key, since).filter(|_| !is_swept);
                    pair.loaded(key, value, since, is_outdated);
                }
                pair.hear();
            }
            pair.count_fills();
            before = left.next().map(|key| (*key, pair.value()));
            before
        };
        let counted = cache.prewarm(std::iter::from_fn(|| next(self)));
        agree!(counted, filled, "how many were prewarmed");
    }

    pub fn derive(&mut self, key: u64, meanwhile: Option<Meanwhile>) {
        self.use_all();
        let cache = self.cache.clone();
        let shown = self.model.used(key).map(|held| held.value);
        if shown.is_none() {
            self.model.claim(key);
        }
        let mut session = None;
        let value = cache.derive(key, |scope| {
            self.hear();
            let session = session.insert(self.model.session());
            let mut reading = Reading::default();
            let value = self.compute(scope, key, session, &mut reading);
            self.model.make(session, reading, key, value);
            self.meanwhile(meanwhile);
            self.count_fills();
            value
        });
        match (shown, session) {
            (Some(shown), None) => {
                agree!(value, shown, "a value that was derived before");
            }
            (None, Some(session)) => self.keep(key, session),
            (shown, _) => fail(format!("derived {value}, with {shown:?} present")),
        }
        self.hear();
        self.use_all();
    }

    /// Derives a key from its inputs. The model reads the same inputs.
    fn compute(
        &mut self,
        scope: &mut Scope<'_, R>,
        key: u64,
        session: &mut Session,
        reading: &mut Reading,
    ) -> u64 {
        let recipe = self.model.settings.recipe(key).clone();
        recipe.make(|input| {
            if recipe.derives && input >= DERIVED {
                return Some(self.derive_within(scope, input, session, reading));
            }
            let found = scope.get(&input);
            let expected = self.model.read(session, reading, input);
            let is_unlike = found != expected;
            if found.is_some() || !is_unlike || !self.model.is_missed(session, reading, input) {
                agree!(found, expected, "reading {input} to derive {key}");
            }
            found
        })
    }

    fn derive_within(
        &mut self,
        scope: &mut Scope<'_, R>,
        key: u64,
        session: &mut Session,
        reading: &mut Reading,
    ) -> u64 {
        let mut shown = self.model.find(session, reading, key);
        let mut is_made = false;
        let value = scope.derive(key, |scope| {
            is_made = true;
            let mut inner = Reading::default();
            if shown.is_some() && self.model.is_missed(session, reading, key) {
                shown = None;
                reading.forget_last();
            }
            let value = self.compute(scope, key, session, &mut inner);
            self.model.make(session, inner, key, value);
            value
        });
        agree!(is_made, shown.is_none(), "whether {key} was derived on the way");
        if is_made {
            agree!(self.model.find(session, reading, key), Some(value), "derived just now");
        } else {
            agree!(Some(value), shown, "{key}, which was read on the way");
        }
        value
    }

    /// The end of a derivation.
    fn keep(&mut self, key: u64, session: Session) {
        let fates = self.model.fates(&session);
        let stats = self.cache.stats();
        let filled = (stats.loads - self.fills.0, stats.loads_refused - self.fills.1);
        if fates.contains(&Fate::Unsure) {
            // The values may or may not have been set, and may be invisible, so all of them are
            // removed. A cache that has forgotten a key does not learn it again from that.
            for made in &session.made {
                self.cache.remove(&made.key);
                self.model.forget(made.key);
                self.model.unsure.push((made.key, made.value));
            }
            return self.hear();
        }
        let count = |fate| fates.iter().filter(|one| **one == fate).count() as u64;
        let (kept, refused) = (count(Fate::Kept), count(Fate::Refused));
        let is_kept = fates.last() == Some(&Fate::Kept);
        self.model.keep(session, &fates);
        // Setting the value may have evicted others, and the presence check came after that.
        let was_there = self.model.get(key).is_some();
        self.hear();
        let is_there = self.model.get(key).is_some();
        let unseen = |is_there: bool| u64::from(is_kept && !is_there);
        let expected = [was_there, is_there].map(|is| (kept - unseen(is), refused + unseen(is)));
        if !expected.contains(&filled) {
            fail(format!("{filled:?} derived values were kept and refused, not {expected:?}"));
        }
    }
}
