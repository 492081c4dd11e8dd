//! Loads that an executor's job begins later, unless another caller needs the values first.

use super::Engine;
use super::age::FailedLoad;
use super::load::{Claims, Load, LoadOutcome};
use crate::loading::HandedOut;
use crate::reclaim::Reclaim;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// A load that begins later, possibly on another thread, unless another caller has begun it by
/// then. It keeps the engine alive.
pub struct DetachedLoad<K, V, S: 'static, R: Reclaim, const N: usize>
where
    K: 'static,
    V: 'static,
{
    // The order matters: these fields refer to the engine and are dropped before it.
    handed: HandedOut<'static, usize, LoadOutcome<V>, R>,
    claims: Claims<'static, K, V, S, R, N>,
    engine: Arc<Engine<K, V, S, R>>,
}

/// A detached load that has begun.
pub struct RunningLoad<K, V, S: 'static, R: Reclaim, const N: usize>
where
    K: 'static,
    V: 'static,
{
    // The order matters: the load refers to the engine and is dropped before it.
    load: Load<'static, K, V, S, R, N>,
    engine: Arc<Engine<K, V, S, R>>,
}

#[cfg(feature = "async")]
impl<K, V, S, R: Reclaim, const N: usize> RunningLoad<K, V, S, R, N> {
    /// Does the same as [`Load::on_behalf`].
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
    /// Turns this into a load that begins later. It keeps `engine`, which must be its own. Returns
    /// `None` if another caller already wants the keys and loads them.
    pub fn detach(self, engine: Arc<Engine<K, V, S, R>>) -> Option<DetachedLoad<K, V, S, R, N>> {
        assert!(std::ptr::eq(self.engine(), &raw const *engine));
        // SAFETY: everything that the load refers to lies in that engine. The engine does not move,
        // and outlives the load because the load keeps it.
        let load = unsafe { std::mem::transmute::<Self, Load<'static, K, V, S, R, N>>(self) };
        let Load { leader, claims, .. } = load;
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
    /// Begins the load. Returns `None` if another caller has taken it over.
    pub fn begin(self) -> Option<RunningLoad<K, V, S, R, N>> {
        let Self { handed, claims, engine } = self;
        let Some(leader) = handed.begin() else {
            drop(claims);
            drop(engine); // after everything that refers to it
            return None;
        };
        Some(RunningLoad { load: Load::new(Some(leader), claims), engine })
    }
}

impl<K, V, S, R, const N: usize> RunningLoad<K, V, S, R, N>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Runs the loader, or a part of it.
    pub fn during<O>(&mut self, load: impl FnOnce() -> O) -> O {
        self.load.during(load)
    }

    /// Ends the load, as [`Load::finish`] does.
    pub fn finish<E>(self, loaded: Result<Box<[V]>, E>) {
        let Self { load, engine } = self;
        drop(load.finish(loaded));
        drop(engine); // after everything that refers to it
    }

    /// Ends the load, as [`Load::finish_or_present`] does.
    pub fn finish_or_present<E>(
        self,
        loaded: Result<Box<[V]>, E>,
    ) -> Result<Box<[V]>, FailedLoad<V, E>> {
        let Self { load, engine } = self;
        let ended = load.finish_or_present(loaded);
        drop(engine); // as above
        ended
    }
}
