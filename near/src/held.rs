//! What the L1 holds for a key.

/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// What the L1 holds for a key: what the server had, with what tells whether it may still be used.
///
/// The methods of [`NearCache`](crate::NearCache) check all of that. Who reads the L1 directly,
/// through [`NearCache::cache`](crate::NearCache::cache), gets an entry that was whole with its
/// neighbours, but is not protected from being older than `max_staleness`, or than its deadline on
/// the server.
#[derive(Clone, Debug)]
pub struct Held<V> {
    pub(crate) value: Option<V>,
    /// Until when the server keeps it, at most, on the clock of the cache.
    pub(crate) until: u64,
    /// The term in which it was read; see `Terms`.
    pub(crate) term: u64,
    /// Differs for each reply that was installed.
    pub(crate) stamp: u64,
}

impl<V> Held<V> {
    /// Returns the value, or `None` if the server has none for the key.
    pub fn value(&self) -> Option<&V> {
        self.value.as_ref()
    }
}

/// What this process knows of a key without asking the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Local<V> {
    // The first two stand in the order of an `Option`, from which they are made.
    /// The server has no value for the key.
    Absent,
    /// The server has this value.
    Present(V),
    /// Nothing that may be used: ask the server.
    Unknown,
}

impl<V> Local<V> {
    /// Returns the value, if one is known.
    pub fn present(self) -> Option<V> {
        match self {
            Self::Present(value) => Some(value),
            Self::Unknown | Self::Absent => None,
        }
    }

    /// Returns whether the key is known, present or absent.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    pub(crate) fn from_known(value: Option<V>) -> Self {
        value.map_or(Self::Absent, Self::Present)
    }
}
