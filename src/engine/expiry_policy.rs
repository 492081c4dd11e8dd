//! A policy of the user that decides how long each value is kept.

use super::Engine;
use crate::chain::{RecordRef, Visible};
use crate::dependencies::Moment;
use crate::reclaim::Reclaim;
use crate::sync::time::{NEVER, deadline};
use equivalent::Equivalent;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

/// Decides how long each value is kept; see
/// [`Builder::expire_after`](crate::Builder::expire_after).
///
/// Each method returns the time after which the value becomes absent, from now on. `None` means
/// that it is kept for ever, or as long as the cache's own times say.
///
/// ```
/// use coeval::{Cache, Expiry, ManualClock};
/// use std::time::Duration;
///
/// struct Session {
///     user: &'static str,
///     is_admin: bool,
/// }
///
/// /// Sessions last ten minutes after their last use, those of admins two.
/// struct Sessions;
///
/// impl Expiry<u64, std::sync::Arc<Session>> for Sessions {
///     fn expire_after_create(
///         &self,
///         _: &u64,
///         session: &std::sync::Arc<Session>,
///     ) -> Option<Duration> {
///         Some(Duration::from_secs(if session.is_admin { 120 } else { 600 }))
///     }
///
///     fn expire_after_read(
///         &self,
///         key: &u64,
///         session: &std::sync::Arc<Session>,
///         _: Option<Duration>,
///     ) -> Option<Duration> {
///         self.expire_after_create(key, session)
///     }
/// }
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().expire_after(Sessions).manual_clock(&clock).build();
/// cache.insert(1, Session { user: "ada", is_admin: false }.into());
/// cache.insert(2, Session { user: "bob", is_admin: true }.into());
/// clock.advance(Duration::from_secs(100));
/// assert_eq!(cache.get(&2).map(|session| session.user), Some("bob"));
/// clock.advance(Duration::from_secs(100));
/// assert!(cache.get(&2).is_some() && cache.get(&1).is_some());
/// clock.advance(Duration::from_secs(200));
/// assert_eq!(cache.get(&2).map(|session| session.user), None);
/// assert_eq!(cache.get(&1).map(|session| session.user), Some("ada"));
/// ```
pub trait Expiry<K, V>: Send + Sync {
    /// Decides about a value that is set to an absent key.
    fn expire_after_create(&self, key: &K, value: &V) -> Option<Duration> {
        let _ = (key, value);
        None
    }

    /// Decides about a value that replaces another one, which would have been kept for the time
    /// `left`. By default the deadline stays.
    fn expire_after_update(&self, key: &K, value: &V, left: Option<Duration>) -> Option<Duration> {
        let _ = (key, value);
        left
    }

    /// Decides about a value that was read and would be kept for the time `left`. By default the
    /// deadline stays.
    fn expire_after_read(&self, key: &K, value: &V, left: Option<Duration>) -> Option<Duration> {
        let _ = (key, value);
        left
    }
}

/// How long a present value would still be kept; `None` for ever.
pub(super) struct Lifetime(pub Option<Duration>);

/// The nanoseconds left until a deadline; `None` for ever.
pub(super) fn nanos_left(until: u64, now: u64) -> Option<u64> {
    // The last bit of a deadline may be missing.
    (until < NEVER - 1).then(|| until.saturating_sub(now))
}

/// The time left until a deadline.
pub(super) fn left(until: u64, now: u64) -> Option<Duration> {
    nanos_left(until, now).map(Duration::from_nanos)
}

impl<K, V, S, R: Reclaim> Engine<K, V, S, R> {
    /// Returns how long the value of a record would still be kept, if the record has a value.
    pub(super) fn lifetime_of(&self, record: RecordRef<'_, K, V>) -> Option<Lifetime> {
        let moment = Moment::new(&self.timer);
        let found = self.store.present(record, false, &moment)?;
        let until = found.terms().map_or(NEVER, |terms| terms.deadline());
        Some(Lifetime(left(until, moment.time())))
    }

    /// Lets the policy decide about a value that was read.
    #[inline(always)]
    pub(super) fn note_read(&self, record: RecordRef<'_, K, V>, found: Visible<'_, V>) {
        if self.rules.expiry.is_some() {
            self.ask_after_read(record, found);
        }
    }

    /// Does the same for a look-up that may have found nothing, and may be no use.
    #[inline(always)]
    pub(super) fn note_found<const COUNTS: bool>(
        &self,
        record: Option<RecordRef<'_, K, V>>,
        found: Option<Visible<'_, V>>,
    ) {
        if COUNTS && let (Some(record), Some(found)) = (record, found) {
            self.note_read(record, found);
        }
    }

    #[cold]
    #[inline(never)]
    fn ask_after_read(&self, record: RecordRef<'_, K, V>, found: Visible<'_, V>) {
        let Some(expiry) = &self.rules.expiry else { return };
        let Some(terms) = found.terms().filter(|terms| terms.is_by_policy()) else { return };
        let (now, seen) = (self.timer.now(), terms.deadline());
        let kept = expiry.expire_after_read(record.key(), found.value(), left(seen, now));
        terms.postpone(seen, kept.map_or(NEVER, |time| deadline(now, time)));
    }
}

impl<K, V, S, R> Engine<K, V, S, R>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
    R: Reclaim,
{
    /// Returns how long the value of a key would still be kept without a use, if there is one;
    /// `None` within stands for ever.
    pub fn time_left<Q>(&self, key: &Q) -> Option<Option<Duration>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.lifetime_of_key(self.hash(key), key).map(|Lifetime(left)| left)
    }

    /// Does the same as [`lifetime_of`](Self::lifetime_of), for a key.
    pub(super) fn lifetime_of_key<Q>(&self, hash: u32, key: &Q) -> Option<Lifetime>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let guard = self.pin();
        self.lifetime_of(self.store.find(&guard, hash, key)?)
    }
}
