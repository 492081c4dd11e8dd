//! Events that an operator must know of, and spans of loads and transactions, for subscribers of
//! `tracing`. Events are on cold paths only.
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

    /// Tells that a view has been open for longer than the limit.
    #[cold]
    pub(super) fn tell_view_age(&self, version: u64, age: u64) {
        tracing::event!(
            target: "coeval",
            tracing::Level::WARN,
            cache.name = self.name_in_events(),
            cache.version = version,
            age_ms = age / 1_000_000,
            "a view has been open for longer than the limit"
        );
    }

    /// Makes the span of a load of so many keys, of which the first has this hash.
    pub(super) fn load_span(&self, hash: u32, keys: usize) -> TraceSpan {
        TraceSpan(tracing::debug_span!(
            target: "coeval",
            "load",
            cache.name = self.name_in_events(),
            cache.key_hash = hash,
            keys
        ))
    }

    /// Makes the span of a transaction.
    pub fn transaction_span(&self) -> TraceSpan {
        TraceSpan(tracing::debug_span!(
            target: "coeval",
            "transaction",
            cache.name = self.name_in_events(),
            cache.version = tracing::field::Empty,
            attempts = tracing::field::Empty
        ))
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

/// What happens within a load or a transaction belongs to its span.
#[cfg(feature = "tracing")]
#[derive(Clone)]
pub struct TraceSpan(tracing::Span);

#[cfg(feature = "tracing")]
impl TraceSpan {
    /// Runs `act` within the span.
    pub fn within<T>(&self, act: impl FnOnce() -> T) -> T {
        self.0.in_scope(act)
    }

    /// Notes how a transaction was committed.
    pub fn note_commit(&self, version: Version, attempts: usize) {
        self.0.record("cache.version", version.get());
        self.0.record("attempts", attempts);
    }
}

/// There are no spans.
#[cfg(not(feature = "tracing"))]
#[derive(Clone)]
pub struct TraceSpan;

#[cfg(not(feature = "tracing"))]
impl TraceSpan {
    #[inline(always)]
    pub fn within<T>(&self, act: impl FnOnce() -> T) -> T {
        act()
    }

    #[inline(always)]
    pub fn note_commit(&self, _: Version, _: usize) {}
}

#[cfg(not(feature = "tracing"))]
impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    #[inline(always)]
    pub(super) fn tell_refused(&self, _: u32) {}

    #[inline(always)]
    pub(super) fn tell_listener_panics(&self, _: u64) {}

    #[inline(always)]
    pub(super) fn tell_view_age(&self, _: u64, _: u64) {}

    #[inline(always)]
    pub(super) fn load_span(&self, _: u32, _: usize) -> TraceSpan {
        TraceSpan
    }

    #[inline(always)]
    pub fn transaction_span(&self) -> TraceSpan {
        TraceSpan
    }

    #[inline(always)]
    pub fn tell_finding(&self, _: (u32, Version), _: (u32, Version)) {}
}
