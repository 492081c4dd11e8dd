//! Why an entry left.

/// Why an entry left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// It was removed or invalidated by the user.
    Explicit,
    /// It was overwritten.
    Replaced,
    /// Its deadline passed.
    Expired,
    /// The capacity bound let it go.
    Size,
    /// A relation of another key's write changed it, in that write's commit.
    Related,
}
