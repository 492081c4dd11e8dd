//! On which terms a value is to be kept, as the caller says who writes it.

use super::Tag;
use std::time::Duration;

/// On which terms a value is kept that a [batch](crate::Batch::insert_with) or a
/// [transaction](crate::Transaction::insert_with) writes: how long, and with which tags.
///
/// What is not said is as the cache's settings have it, and there are no tags; with [`as_it_was`](Self::as_it_was) it is
/// as with the value that the write replaces.
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
/// // The session changes, and ends when it would have.
/// cache.batch().insert_with("session", 2, Terms::as_it_was()).commit();
/// assert_eq!(cache.get("session"), Some(2));
/// clock.advance(Duration::from_secs(15));
/// assert_eq!(cache.get("session"), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "they are for a write"]
pub struct Terms {
    pub(crate) is_as_it_was: bool,
    pub(crate) time_to_live: Option<Duration>,
    pub(crate) time_to_idle: Option<Duration>,
    pub(crate) tags: Option<Vec<Tag>>,
}

impl Terms {
    /// As the cache's settings have it, without tags.
    pub fn new() -> Self {
        Self::default()
    }

    /// As with the value that the write replaces: until the same deadline, with the same time to idle (of which the write is
    /// a use), the same time to be refreshed, and the same tags. If the key is absent, as [`new`](Self::new). What is said
    /// besides comes before it.
    ///
    /// The value that is replaced is what the same batch or transaction has written last, if it has written the key before.
    /// Else, in a transaction, it is what the key holds when that is committed: the transaction reads it, and so runs again
    /// if it changes meanwhile. In a batch it is what the key holds when its commit is put together; if a tag of that is
    /// invalidated before the commit, the new value has ended with it.
    pub fn as_it_was() -> Self {
        Self { is_as_it_was: true, ..Self::default() }
    }

    /// Absent again after this time. With zero it is never seen.
    pub fn time_to_live(self, time: Duration) -> Self {
        Self { time_to_live: Some(time), ..self }
    }

    /// Absent again when it was not used for this time.
    pub fn time_to_idle(self, time: Duration) -> Self {
        Self { time_to_idle: Some(time), ..self }
    }

    /// With these [tags](crate::Cache#tags), and no others.
    pub fn tags<T: Into<Tag>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        Self { tags: Some(tags.into_iter().map(Into::into).collect()), ..self }
    }
}
