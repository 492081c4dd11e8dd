//! Events that an operator must know of, for subscribers of `tracing`. They are on cold paths only.
//! Without the feature of that name, nothing is told.

use super::Engine;
use crate::reclaim::Reclaim;
use crate::version::Version;

#[cfg(feature = "tracing")]
impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    fn name_in_events(&self) -> &str {
        self.label().unwrap_or_default()
    }

    /// Tells that the fill of a key with this hash was refused.
    #[cold]
    pub(super) fn tell_refused(&self, hash: u32) {
        tracing::event!(
            target: "coeval",
            tracing::Level::INFO,
            cache.name = self.name_in_events(),
            cache.key_hash = hash,
            cache.version = self.version(),
            "a load was refused: its key was written or invalidated meanwhile"
        );
    }

    /// Tells that the listener, or `Clone` on its behalf, has panicked.
    #[cold]
    pub(super) fn tell_listener_panics(&self, panics: u64) {
        if panics > 0 {
            tracing::event!(
                target: "coeval",
                tracing::Level::ERROR,
                cache.name = self.name_in_events(),
                cache.version = self.version(),
                panics,
                "the eviction listener panicked"
            );
        }
    }

    /// Tells that a related entry is older than its key. Takes the hashes and versions of both.
    #[cold]
    pub fn tell_finding(&self, key: (u32, Version), related: (u32, Version)) {
        tracing::event!(
            target: "coeval",
            tracing::Level::WARN,
            cache.name = self.name_in_events(),
            cache.key_hash = key.0,
            cache.version = key.1.get(),
            related.key_hash = related.0,
            related.version = related.1.get(),
            "an entry is older than the key to which it belongs"
        );
    }
}

#[cfg(not(feature = "tracing"))]
impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    #[inline(always)]
    pub(super) fn tell_refused(&self, _: u32) {}

    #[inline(always)]
    pub(super) fn tell_listener_panics(&self, _: u64) {}

    #[inline(always)]
    pub fn tell_finding(&self, _: (u32, Version), _: (u32, Version)) {}
}
