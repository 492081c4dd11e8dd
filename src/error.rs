//! The errors: one small type for each family of operations.

use crate::version::Version;
use std::any::Any;
use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

/// An invalid setting of a [`Builder`](crate::Builder).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuildError {
    /// `initial_capacity` asks for more entries than an index can hold.
    InitialCapacity(usize),
    /// `time_to_live` is zero: no look-up would find a value.
    TimeToLive,
    /// `time_to_idle` is zero: no look-up would find a value.
    TimeToIdle,
    /// `refresh_after` is zero: every look-up that can load would load.
    RefreshAfter,
    /// `load_timeout` is zero: every caller would load.
    LoadTimeout,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InitialCapacity(entries) => write!(
                f,
                "initial_capacity({entries}) is more than an index can hold; \
                 leave it out, and the cache grows as needed"
            ),
            Self::TimeToLive => f.write_str(
                "time_to_live(0) lets no look-up find a value; leave it out to keep entries",
            ),
            Self::RefreshAfter => {
                f.write_str("refresh_after(0) makes every look-up load; leave it out to load once")
            }
            Self::LoadTimeout => f.write_str(
                "load_timeout(0) makes every caller load; \
                 leave it out to wait as long as a load takes",
            ),
            Self::TimeToIdle => f.write_str(
                "time_to_idle(0) lets no look-up find a value; leave it out to keep entries",
            ),
        }
    }
}

impl Error for BuildError {}

/// Why a `compare_and_set` changed nothing. It returns the caller's value.
#[non_exhaustive]
pub enum Conflict {
    /// The key holds a version other than the expected one.
    Changed {
        /// The version that it holds.
        found: Version,
        /// The value that was not set.
        value: Returned,
    },
    /// The key is absent, but a version was expected.
    Absent {
        /// The value that was not set.
        value: Returned,
    },
}

/// A value that is returned to the caller; see [`Conflict::into_value`].
pub struct Returned(Box<dyn Any + Send + Sync>);

impl Conflict {
    pub(crate) fn new<V: Send + Sync + 'static>(found: Option<Version>, value: Box<V>) -> Self {
        let value = Returned(value);
        match found {
            Some(found) => Self::Changed { found, value },
            None => Self::Absent { value },
        }
    }

    /// Returns the version that the key holds; `None` if the key is absent.
    #[must_use]
    pub fn found(&self) -> Option<Version> {
        match self {
            Self::Changed { found, .. } => Some(*found),
            Self::Absent { .. } => None,
        }
    }

    /// Returns the value that was not set. `None` only if `V` is not the cache's value type.
    #[must_use]
    pub fn into_value<V: 'static>(self) -> Option<V> {
        let (Self::Changed { value, .. } | Self::Absent { value }) = self;
        value.0.downcast().ok().map(|value| *value)
    }
}

impl fmt::Debug for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { found, .. } => {
                f.debug_struct("Changed").field("found", found).finish_non_exhaustive()
            }
            Self::Absent { .. } => f.debug_struct("Absent").finish_non_exhaustive(),
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { found, .. } => {
                write!(f, "the key holds {found} now; read it again and retry from that version")
            }
            Self::Absent { .. } => {
                write!(f, "the key is absent now; retry with None to set it only if absent")
            }
        }
    }
}

impl Error for Conflict {}

/// Why a [transaction](crate::Cache::transact) changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransactError<E> {
    /// The closure returned this error.
    Aborted(E),
    /// On each try, another commit changed what the transaction had read.
    Conflict,
}

impl<E: fmt::Display> fmt::Display for TransactError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted(error) if f.alternate() => {
                write!(f, "the transaction was aborted: {error:#}")
            }
            Self::Aborted(error) => write!(f, "the transaction was aborted: {error}"),
            Self::Conflict => f.write_str(
                "on each try, another commit changed what the transaction had read; \
                 try it again later, or read less in it",
            ),
        }
    }
}

/// For any error that can be shown: one of your own, a boxed one, an `anyhow::Error`, a text. The
/// message contains the message of that error, and the `{:#}` form its `{:#}` form. The source is
/// that of a boxed error.
impl<E: fmt::Debug + fmt::Display + 'static> Error for TransactError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Aborted(error) => source_of_boxed(error),
            Self::Conflict => None,
        }
    }
}

/// A fill of a lease was refused. The key was written, removed or cleared after the lease was
/// taken, so the value read for it may be out of date. The error returns the value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outdated<V>(V);

impl<V> Outdated<V> {
    pub(crate) fn new(value: V) -> Self {
        Self(value)
    }

    /// Returns the value that was not set.
    #[must_use]
    pub fn into_value(self) -> V {
        self.0
    }
}

impl<V> fmt::Debug for Outdated<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outdated(..)")
    }
}

impl<V> fmt::Display for Outdated<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the key changed after the lease was taken; \
             take another lease and read the source again",
        )
    }
}

impl<V> Error for Outdated<V> {}

/// A cache was named to a [`Domain`](crate::Domain) of which it is no part: it belongs to another
/// domain or to none, or it was made after the view or the transaction began. The error returns
/// what was passed with the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ForeignCache<T = ()>(T);

impl<T> ForeignCache<T> {
    pub(crate) fn new(passed: T) -> Self {
        Self(passed)
    }

    /// Returns what was passed with the cache, such as a key and a value.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for ForeignCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForeignCache(..)")
    }
}

impl<T> fmt::Display for ForeignCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the cache is not of this domain, or was made after the view or the transaction began; \
             build it with `Builder::domain`",
        )
    }
}

impl<T> Error for ForeignCache<T> {}

/// A look-up of a [`BriefView`](crate::BriefView) met a version that is gone. The closure passes
/// the error on with `?`, and is then called again with a view that misses nothing. The lifetime is
/// that of the view, so that no other view gets its error:
///
/// ```compile_fail
/// let (names, ages) = (coeval::Cache::from([(1, "one")]), coeval::Cache::from([("one", 1)]));
/// let age = names.view_briefly(|of_names| {
///     Ok(ages.view_briefly(|of_ages| {
///         let name = of_names.get(&1)?; // The inner closure passes on an error of the outer view.
///         Ok(of_ages.get(name.unwrap())?.copied())
///     }))
/// });
/// ```
pub struct Overtaken<'v>(PhantomData<fn(&'v ()) -> &'v ()>);

impl Overtaken<'_> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl fmt::Debug for Overtaken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overtaken")
    }
}

impl fmt::Display for Overtaken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version that the brief view needs is gone; the closure is called again")
    }
}

impl Error for Overtaken<'_> {}

/// Why a key was not loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed.
    Failed(E),
    /// The load would wait for another load that waits for this one, perhaps through further loads.
    Cycle,
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) if f.alternate() => write!(f, "the loader failed: {error:#}"),
            Self::Failed(error) => write!(f, "the loader failed: {error}"),
            Self::Cycle => f.write_str(
                "loads wait for each other in a cycle; \
                 change the loader of one key, so that it does not ask for a key that needs it",
            ),
        }
    }
}

/// For any error that can be shown: one of your own, a boxed one, an `anyhow::Error`, a text. The
/// message contains the message of that error, and the `{:#}` form its `{:#}` form. The source is
/// that of a boxed error.
impl<E: fmt::Debug + fmt::Display + 'static> Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => source_of_boxed(error),
            Self::Cycle => None,
        }
    }
}

/// Returns the source of an error that is boxed or shared. A boxed error is no `Error` itself, so
/// an implementation for all types that can be shown cannot ask any other error for its source.
fn source_of_boxed(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    if let Some(error) = error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        return error.source();
    }
    if let Some(error) = error.downcast_ref::<std::sync::Arc<dyn Error + Send + Sync>>() {
        return error.source();
    }
    error.downcast_ref::<Box<dyn Error>>()?.source()
}

impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Returned(..)")
    }
}
