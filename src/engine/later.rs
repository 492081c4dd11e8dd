//! Loads that are begun later: by a job, unless somebody needs the values before.

use super::Engine;
use super::load::{Claims, Load, LoadOutcome};
use crate::loading::HandedOut;
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// A load that begins later, perhaps on another thread, unless somebody else has begun it by then. It keeps the engine.
pub struct DetachedLoad<K, V, S: 'static, R: Reclaim, const N: usize>
where
    K: 'static,
    V: 'static,
{
    // In this order: these refer to the engine.
    handed: HandedOut<'static, usize, LoadOutcome<V>, R>,
    claims: Claims<'static, K, V, S, R, N>,
    engine: Arc<Engine<K, V, S, R>>,
}

/// One that has begun.
pub struct RunningLoad<K, V, S: 'static, R: Reclaim, const N: usize>
where
    K: 'static,
    V: 'static,
{
    // In this order: the load refers to the engine.
    load: Load<'static, K, V, S, R, N>,
    engine: Arc<Engine<K, V, S, R>>,
}

#[cfg(feature = "async")]
impl<K, V, S, R: Reclaim, const N: usize> RunningLoad<K, V, S, R, N> {
    /// As [`Load::beside`].
    pub fn on_behalf<O>(&mut self, act: impl FnOnce() -> O) -> O {
        self.load.on_behalf(act)
    }
}

impl<K, V, S, R, const N: usize> Load<'_, K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// The same load, to be begun later, of the engine that is given, which it keeps. `None` if somebody wants the keys
    /// already, and loads them.
    pub fn detach(self, engine: Arc<Engine<K, V, S, R>>) -> Option<DetachedLoad<K, V, S, R, N>> {
        assert!(std::ptr::eq(self.engine(), &raw const *engine));
        // SAFETY: all that it refers to is in that engine, which stays where it is, and is there longer than the load.
        let load = unsafe { std::mem::transmute::<Self, Load<'static, K, V, S, R, N>>(self) };
        let Load { leader, claims } = load;
        let handed = leader?.hand_out()?;
        Some(DetachedLoad { handed, claims, engine })
    }
}

impl<K, V, S, R, const N: usize> DetachedLoad<K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Begins it. `None` if somebody has taken it over.
    pub fn begin(self) -> Option<RunningLoad<K, V, S, R, N>> {
        let Self { handed, claims, engine } = self;
        let Some(leader) = handed.begin() else {
            drop(claims);
            drop(engine); // Not before.
            return None;
        };
        Some(RunningLoad { load: Load { leader: Some(leader), claims }, engine })
    }
}

impl<K, V, S, R, const N: usize> RunningLoad<K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Runs the load, or a part of it.
    pub fn during<O>(&mut self, load: impl FnOnce() -> O) -> O {
        self.load.during(load)
    }

    /// Ends it, as [`Load::finish`].
    pub fn finish<E>(self, loaded: Result<Box<[V]>, E>) {
        let Self { load, engine } = self;
        drop(load.finish(loaded));
        drop(engine); // Not before.
    }
}
