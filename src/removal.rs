//! The causes for which a value leaves the cache.

use std::fmt;

/// Why a value is no longer in the cache.
///
/// ```
/// use coeval::RemovalCause;
///
/// assert!(RemovalCause::Size.was_evicted());
/// assert!(!RemovalCause::Explicit.was_evicted());
/// assert_eq!(RemovalCause::Related.to_string(), "related");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// The user removed or invalidated it.
    Explicit,
    /// A write of its key put another value in its place.
    Replaced,
    /// Its deadline passed.
    Expired,
    /// The capacity bound evicted it.
    Size,
    /// Another key, a tag or an input. A write of another key removed or replaced the value in its
    /// own commit; its tag was invalidated, or what it was derived from has changed; or a monitor
    /// found it older than its key.
    Related,
}

impl RemovalCause {
    pub(crate) const ALL: [Self; 5] =
        [Self::Explicit, Self::Replaced, Self::Expired, Self::Size, Self::Related];

    /// Returns whether the cache removed the value by itself, for time or for room
    /// ([`Expired`](Self::Expired) and [`Size`](Self::Size)): no write asked for it.
    #[must_use]
    pub const fn was_evicted(self) -> bool {
        matches!(self, Self::Expired | Self::Size)
    }
}

impl fmt::Display for RemovalCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Explicit => "explicit",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Size => "size",
            Self::Related => "related",
        })
    }
}
