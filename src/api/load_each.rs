//! Loading any number of keys, each by itself, by one call of a loader.

use super::cache::Cache;
use super::give::{LoadRefusal, panic_on_cycle};
use super::keys::IntoKey;
use crate::engine::{Claims, Load, LoadDecision, one};
use crate::error::LoadError;
use crate::loading::Joined;
use crate::reclaim::Reclaim;
use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::mem::take;
use std::panic::Location;

/// The most keys that a loader is given at a time. It runs on behalf of each of them, one within
/// the other, which takes room on the stack.
const AT_ONCE: usize = 1024;

/// A load that the caller has begun, with the place of its key.
pub(super) type Begun<'e, K, V, S, R> = (usize, Load<'e, K, V, S, R, 1>);

/// Loads that the caller has begun, and places of keys that are to be looked at later.
type BegunAndLater<'e, K, V, S, R> = (Vec<Begun<'e, K, V, S, R>>, Vec<usize>);

/// A load that the caller has to run for a key, or why the key cannot be loaded.
type Followed<'e, K, V, S, R, E> = Result<Option<Begun<'e, K, V, S, R>>, LoadRefusal<E>>;

/// # Loading each of several keys
/// These methods load those keys of a list that are absent, by one call of the loader. Unlike the
/// keys of a [group](Self::get_many_with), these keys need not belong together. Each is loaded once
/// for all callers, whichever lists it is in, and set by a commit of its own.
///
/// First the caller's loader is called with the absent keys that no other caller loads. Then the
/// caller waits for the other callers' loads. If one of these fails, the loader is called again. It
/// is called with at most 1,024 keys at a time.
impl<K, V, S, R> Cache<K, V, S, R>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns the values of `keys`, cloned, in their order. Loads those that are absent, or due to
    /// be [refreshed](crate::Builder::refresh_after): the loader is given their keys, each once,
    /// and returns a value for each, in the same order.
    ///
    /// The values that are present are as of one instant. A loaded value was current during the
    /// call. If its key is written, removed or cleared meanwhile, that value is not cached, and the
    /// others are.
    ///
    /// ```
    /// let cache = coeval::Cache::<u64, String>::new();
    /// cache.insert(2, "two".to_string());
    /// let ids = vec![1, 2, 3, 1];
    /// let names = cache.get_each_with(&ids, |missing| {
    ///     assert_eq!(missing, [1, 3]); // SELECT … WHERE id IN (1, 3)
    ///     missing.iter().map(|id| format!("#{id}")).collect::<Vec<_>>()
    /// });
    /// assert_eq!(names, ["#1", "two", "#3", "#1"]);
    /// assert_eq!(cache.get(&3), Some("#3".to_string()));
    /// ```
    ///
    /// # Panics
    /// Panics as [`get_with`](Self::get_with) does, or if the loader does not return a value for
    /// each key.
    #[track_caller]
    pub fn get_each_with<I, M, L>(&self, keys: I, mut load: impl FnMut(&[K]) -> L) -> Vec<V>
    where
        I: IntoIterator<Item: IntoKey<K, M>>,
        L: IntoIterator<Item = V>,
    {
        let load = |keys: &[K]| Ok::<_, Infallible>(load(keys));
        match self.load_each_key(keys.into_iter().map(IntoKey::into_key).collect(), load) {
            Ok(values) => values,
            Err(LoadRefusal::Cycle(key)) => panic_on_cycle(&key, Some(Location::caller())),
        }
    }

    /// Returns the values of `keys` as [`get_each_with`](Self::get_each_with) does, with a loader
    /// that may fail. What was loaded before a failure stays in the cache.
    ///
    /// # Panics
    /// Panics if the loader does, or if it does not return a value for each key.
    ///
    /// # Errors
    /// [`LoadError`]: the error of the loader, or a cycle.
    pub fn load_each<I, M, L, E>(
        &self,
        keys: I,
        load: impl FnMut(&[K]) -> Result<L, E>,
    ) -> Result<Vec<V>, LoadError<E>>
    where
        I: IntoIterator<Item: IntoKey<K, M>>,
        L: IntoIterator<Item = V>,
    {
        Ok(self.load_each_key(keys.into_iter().map(IntoKey::into_key).collect(), load)?)
    }

    fn load_each_key<L, E>(
        &self,
        keys: Vec<K>,
        mut load: impl FnMut(&[K]) -> Result<L, E>,
    ) -> Result<Vec<V>, LoadRefusal<E>>
    where
        L: IntoIterator<Item = V>,
    {
        let mut values = self.get_many(&keys);
        let (first, mut places) = distinct(&keys);
        loop {
            let (mut begun, mut later) = self.begin_loads(&keys, &mut values, places);
            if begun.is_empty() {
                let Some(&place) = later.first() else { break };
                let decision = self.join_or_lead([keys[place].clone()]);
                begun.extend(follow(decision, place, &mut values)?);
                later.remove(0);
            }
            let mut loaded = Ok(Vec::new());
            if !begun.is_empty() {
                let places = places_of(&begun);
                within(&mut begun, &mut || {
                    let missing = keys_at(&keys, &places);
                    loaded = load(&missing).map(|all| value_for_each(all, &missing));
                });
            }
            self.end_loads(begun, loaded, &mut values)?;
            places = later;
        }
        Ok(in_order(&keys, &first, values))
    }

    /// Begins the loads of the keys at these places that nobody else loads. Returns them, and the
    /// places of keys that are to be looked at later.
    pub(super) fn begin_loads(
        &self,
        keys: &[K],
        values: &mut Vec<Option<V>>,
        places: Vec<usize>,
    ) -> BegunAndLater<'_, K, V, S, R> {
        let (begun, later) = (Vec::new(), Vec::new());
        let mut pass = Pass { cache: self, keys, values: take(values), begun, later };
        pass.begin(&mut places.into_iter(), 0);
        let Pass { mut begun, later, .. } = pass;
        *values = pass.values;
        begun.reverse();
        (begun, later)
    }

    /// Ends loads with what the loader returned for them.
    pub(super) fn end_loads<E>(
        &self,
        mut begun: Vec<Begun<'_, K, V, S, R>>,
        loaded: Result<Vec<V>, E>,
        values: &mut [Option<V>],
    ) -> Result<(), LoadRefusal<E>> {
        match loaded {
            Ok(_) if begun.is_empty() => Ok(()),
            Ok(loaded) => {
                let (places, loads): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
                let ended = self.engine().finish_each(loads, loaded);
                for (place, value) in places.into_iter().zip(ended) {
                    values[place] = Some(value);
                }
                Ok(())
            }
            Err(error) => {
                let mut are_present = true;
                while let Some((place, load)) = begun.pop() {
                    match values[place].take() {
                        None => drop(load.finish(Err(()))),
                        old => {
                            let mut load = Some(load);
                            within(&mut begun, &mut || {
                                let load = load.take().expect("called once");
                                values[place] = load.finish_or_keep(Err(())).ok().map(one);
                            });
                            drop(old);
                        }
                    }
                    are_present &= values[place].is_some();
                }
                // As for one key: if a reload fails, the caller gets what the keys hold by then.
                if are_present { Ok(()) } else { Err(LoadRefusal::Failed(error)) }
            }
        }
    }
}

/// The first place of each key, and these places.
pub(super) fn distinct<K: Hash + Eq>(keys: &[K]) -> (HashMap<&K, usize>, Vec<usize>) {
    let mut first = HashMap::new();
    let is_first = |&place: &usize| *first.entry(&keys[place]).or_insert(place) == place;
    let places = (0..keys.len()).filter(is_first).collect();
    (first, places)
}

/// The values of all keys, from those at the first place of each.
pub(super) fn in_order<K: Hash + Eq, V: Clone>(
    keys: &[K],
    first: &HashMap<&K, usize>,
    mut values: Vec<Option<V>>,
) -> Vec<V> {
    for (place, key) in keys.iter().enumerate() {
        let first = first[key];
        if place != first {
            values[place] = values[first].clone();
        }
    }
    values.into_iter().map(|value| value.expect("each key was found or loaded")).collect()
}

/// The places of the keys of these loads.
pub(super) fn places_of<K, V, S, R: Reclaim>(begun: &[Begun<'_, K, V, S, R>]) -> Vec<usize> {
    begun.iter().map(|(place, _)| *place).collect()
}

/// Clones of the keys at these places. They are made on behalf of the loads, because `Clone` may
/// use the cache.
pub(super) fn keys_at<K: Clone>(keys: &[K], places: &[usize]) -> Vec<K> {
    places.iter().map(|place| keys[*place].clone()).collect()
}

/// What a loader returned for these keys.
pub(super) fn value_for_each<K, V>(loaded: impl IntoIterator<Item = V>, keys: &[K]) -> Vec<V> {
    let values: Vec<V> = loaded.into_iter().collect();
    assert_eq!(values.len(), keys.len(), "the loader returns a value for each key");
    values
}

/// Follows the decision about the key at a place: it was found, or is to be loaded.
pub(super) fn follow<'e, K, V, S, R: Reclaim, E>(
    decision: LoadDecision<'e, K, V, S, R, 1>,
    place: usize,
    values: &mut [Option<V>],
) -> Followed<'e, K, V, S, R, E> {
    match decision {
        LoadDecision::Found(found) => {
            values[place] = found.into_iter().next();
            Ok(None)
        }
        LoadDecision::Load(load) => Ok(Some((place, load))),
        LoadDecision::Cycle(key) => Err(LoadRefusal::Cycle(key)),
    }
}

/// One pass over keys, which begins the loads of those that nobody else loads.
///
/// Claims and look-ups run user code (`Hash`, `Eq`, `Clone`). Once the pass has begun a load, they
/// run on its behalf: user code that waited for it would wait for its own thread, and is told so.
struct Pass<'p, 'e, K, V, S, R: Reclaim> {
    cache: &'e Cache<K, V, S, R>,
    keys: &'p [K],
    values: Vec<Option<V>>,
    /// The loads, the last one first.
    begun: Vec<Begun<'e, K, V, S, R>>,
    /// The places of absent keys that other callers load, or for which there was no room.
    later: Vec<usize>,
}

impl<'e, K, V, S, R> Pass<'_, 'e, K, V, S, R>
where
    K: Clone + Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Begins the loads of keys at these places, on behalf of the `depth` loads begun before.
    fn begin(&mut self, places: &mut dyn Iterator<Item = usize>, depth: usize) {
        if depth == AT_ONCE {
            let values = &self.values;
            return self.later.extend(places.filter(|place| values[*place].is_none()));
        }
        if let Some(mut begun) = self.begin_next(places, depth == 0) {
            begun.1.during(|| self.begin(places, depth + 1));
            self.begun.push(begun);
        }
    }

    /// Begins the load of the first of these keys that nobody else loads. Not inlined, so that the
    /// frames of `begin`, one within the other, stay small.
    #[inline(never)]
    fn begin_next(
        &mut self,
        places: &mut dyn Iterator<Item = usize>,
        is_first: bool,
    ) -> Option<Begun<'e, K, V, S, R>> {
        for place in places {
            let key = &self.keys[place];
            if self.values[place].is_some() {
                if self.cache.engine().wants_refresh(key)
                    && let Some(reload) = self.claim(key, is_first).refresh(None)
                {
                    return Some((place, reload));
                }
                continue;
            }
            let claims = self.claim(key, is_first);
            // If another caller loads the key, this one waits later, when no caller waits for it.
            let Joined::Leader(leader) = claims.join() else {
                self.later.push(place);
                continue;
            };
            match claims.lead(leader) {
                LoadDecision::Found(found) => self.values[place] = found.into_iter().next(),
                LoadDecision::Load(load) => return Some((place, load)),
                LoadDecision::Cycle(_) => unreachable!("a leader waits for nobody"),
            }
        }
        None
    }

    /// Claims a key. Within another load there is no maintenance, which might call the listener.
    fn claim(&self, key: &K, is_first: bool) -> Claims<'e, K, V, S, R, 1> {
        match is_first {
            true => self.cache.engine().claim_all([key.clone()]),
            false => self.cache.engine().claim_beside(key.clone()),
        }
    }
}

/// Runs `act` on behalf of all these loads.
pub(super) fn within<K, V, S, R: Reclaim>(
    loads: &mut [Begun<'_, K, V, S, R>],
    act: &mut dyn FnMut(),
) where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
{
    match loads {
        [] => act(),
        [(_, load), rest @ ..] => load.during(|| within(rest, act)),
    }
}
