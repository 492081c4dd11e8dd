//! The terms that a caller sets for a value.

use super::Tag;
use std::time::Duration;

/// The terms of a value that a [batch](crate::Batch::insert_with) or a
/// [transaction](crate::Transaction::insert_with) writes: how long it is kept, when it is due for
/// reloading, what it weighs, and its tags.
///
/// Terms that are not set follow the cache's settings, and there are no tags. After
/// [`as_it_was`](Self::as_it_was), they follow the value that the write replaces.
///
/// ```
/// use coeval::{Cache, ManualClock, Terms};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let cache = Cache::builder().manual_clock(&clock).build();
/// let minute = Terms::new().time_to_live(Duration::from_secs(60)).tags(["user:7"]);
/// cache.batch().insert_with("session", 1, minute).commit();
/// clock.advance(Duration::from_secs(45));
/// // The session changes, but its deadline stays.
/// cache.batch().insert_with("session", 2, Terms::as_it_was()).commit();
/// assert_eq!(cache.get("session"), Some(2));
/// clock.advance(Duration::from_secs(15));
/// assert_eq!(cache.get("session"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[must_use = "terms have an effect only in a write"]
pub struct Terms {
    pub(crate) is_as_it_was: bool,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) time_to_idle: Option<Duration>,
    pub(crate) refresh_after: Option<Duration>,
    pub(crate) weight: Option<u32>,
    pub(crate) tags: Option<Vec<Tag>>,
}

impl Terms {
    /// Creates the terms of the cache's settings, without tags.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the terms of the value that the write replaces: the same deadline, the same time to
    /// idle (the write counts as a use), the same refresh time, and the same tags. If the weight of
    /// that value was [given](Self::weight), it stays as well; otherwise the weigher says what the
    /// new value weighs. If the key is absent, the terms are those of [`new`](Self::new). Terms
    /// that are set in addition take precedence.
    ///
    /// If the same batch or transaction has written the key before, the replaced value is the one
    /// it wrote last. Otherwise:
    /// - In a transaction, it is the value of the key at the commit. The transaction reads the key,
    ///   and so runs again if the key changes meanwhile.
    /// - In a batch, it is the value of the key when the commit is prepared. If one of its tags is
    ///   invalidated between that and the commit, the new value ends with the tag.
    pub fn as_it_was() -> Self {
        Self { is_as_it_was: true, ..Self::default() }
    }

    /// Sets the time after which the key is absent again. With zero, the value is never visible.
    pub fn time_to_live(self, time: Duration) -> Self {
        Self { time_to_live: Some(time), ..self }
    }

    /// Sets the time without use after which the key is absent again.
    pub fn time_to_idle(self, time: Duration) -> Self {
        Self { time_to_idle: Some(time), ..self }
    }

    /// Sets the time after which the value is due for [reloading](crate::Builder::refresh_after).
    /// With zero, it is due at once.
    ///
    /// ```
    /// use coeval::{Cache, ManualClock, Terms};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().manual_clock(&clock).build();
    /// let terms = Terms::new().refresh_after(Duration::from_secs(60));
    /// cache.batch().insert_with("rate", 1, terms).commit();
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(cache.get_with("rate", || 2), 2);
    /// ```
    pub fn refresh_after(self, time: Duration) -> Self {
        Self { refresh_after: Some(time), ..self }
    }

    /// Sets the weight, in place of what the [weigher](crate::Builder::weigher) says, which is
    /// called all the same. Has no effect in a cache without a weigher, where each entry weighs 1.
    pub fn weight(self, weight: u32) -> Self {
        Self { weight: Some(weight), ..self }
    }

    /// Sets the [tags](crate::Cache#tags), in place of all others.
    pub fn tags<T: Into<Tag>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        Self { tags: Some(tags.into_iter().map(Into::into).collect()), ..self }
    }
}
