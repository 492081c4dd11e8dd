//! Errors of failed loads that later callers get, for a time of their own. They are the values of a
//! second cache, in which the group of a load is known by its first key.

use super::{Engine, EngineSettings};
use crate::commit::{ReadAt, Resolved};
use crate::reclaim::Reclaim;
use crate::sync::time::Timer;
use std::any::Any;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

/// The most errors that are remembered.
const MOST: u64 = 65_536;

/// How errors are remembered.
pub struct ErrorSettings<K> {
    pub time: Duration,
    pub clone: fn(&K) -> K,
}

/// An error, and the number of the newest commit when its load began.
type Remembered = (u64, Arc<dyn Any + Send + Sync>);

/// The errors of failed loads.
pub(super) struct RememberedErrors<K, R: Reclaim> {
    by_key: Engine<K, Remembered, foldhash::fast::RandomState, R>,
    clone: fn(&K) -> K,
}

impl<K, R> RememberedErrors<K, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    R: Reclaim,
{
    pub fn new(settings: &ErrorSettings<K>, timer: &Timer) -> Self {
        let by_key = Engine::new(
            EngineSettings {
                time_to_live: Some(settings.time),
                max_capacity: Some(MOST),
                timer: timer.clone(),
                ..EngineSettings::default()
            },
            foldhash::fast::RandomState::default(),
        );
        Self { by_key, clone: settings.clone }
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns a clone of `key`, if the error of its load is to be remembered.
    pub fn key_of_error(&self, key: &K) -> Option<K> {
        Some((self.errors.as_ref()?.clone)(key))
    }

    /// Remembers the error of a load of this key, before which `since` was the newest commit.
    pub fn remember_error(&self, key: K, since: u64, error: Arc<dyn Any + Send + Sync>) {
        if let Some(errors) = &self.errors {
            errors.by_key.insert(key, (since, error), None);
        }
    }

    /// Returns the error of a load of `key`, if it is remembered, has this type, and the cache
    /// knows of no change since.
    pub fn remembered_error<E: Send + Sync + 'static>(&self, key: &K) -> Option<Arc<E>> {
        let errors = &self.errors.as_ref()?.by_key;
        let (since, error) = errors.look_up::<K, _, true>(key, |found| found.value().clone())?;
        let guard = self.pin();
        let cleared = self.store.watermark(self.store.live(&guard));
        let newest = self.store.find(&guard, self.hash(key), key).map_or(0, |record| {
            let newest = self.store.order.resolve(record, ReadAt::newest(record.live()));
            newest.map_or(0, Resolved::number)
        });
        drop(guard);
        if cleared.max(newest) > since { None } else { error.downcast().ok() }
    }
}
