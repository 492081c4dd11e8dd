//! What was restored from a file, and what was not; and why a file cannot be restored.

use crate::error::BuildError;
use crate::saved::Trouble;
use crate::version::Version;
use std::fmt;
use std::io;
use std::time::Duration;

/// What was restored from a file, and what was not; the result of
/// [`Builder::restore`](crate::Builder::restore) and of [`Restoring`](crate::Restoring).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The version that was saved. The new cache continues from it.
    pub version: Version,
    /// How long ago that was, by the system's clock.
    pub age: Duration,
    /// The entries that were restored.
    pub restored: u64,
    /// The entries whose deadline has passed since.
    pub expired: u64,
    /// The entries for which the new cache has no room: the coldest ones.
    pub left_out: u64,
    /// The entries that were superseded while the cache was in use already
    /// ([`Builder::restore_later`](crate::Builder::restore_later)): a key of their group was
    /// written, removed, cleared or loaded, or one of its tags was invalidated.
    pub superseded: u64,
    /// The entries that `Deserialize` refused.
    pub unreadable: u64,
    /// The broken or missing blocks, as far as the blocks around them show.
    pub broken_blocks: u64,
    /// The entries in broken or missing blocks; `None` if the end of the file, which has the number
    /// of all entries, is missing.
    pub lost: Option<u64>,
}

impl RestoreReport {
    /// Returns whether the whole file was read: nothing in it was broken, missing or unreadable.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        (self.unreadable, self.broken_blocks, self.lost) == (0, 0, Some(0))
    }
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, age, restored, expired, left_out, unreadable, broken_blocks, .. } =
            self;
        write!(f, "{restored} entries restored of {version}, saved {age:.0?} ago")?;
        write!(f, "; {expired} expired, {left_out} left out")?;
        if self.superseded > 0 {
            write!(f, ", {} superseded", self.superseded)?;
        }
        if self.is_whole() {
            return Ok(());
        }
        write!(f, "; {unreadable} unreadable, {broken_blocks} broken blocks")?;
        match self.lost {
            Some(lost) => write!(f, " with {lost} entries"),
            None => f.write_str(", cut off"),
        }
    }
}

/// Why a file cannot be restored at all.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// A setting of the new cache makes no sense.
    Build(BuildError),
    /// The file cannot be read.
    Io(io::Error),
    /// The file is no saved cache.
    NotSaved,
    /// The file has a format that this version of the library does not know.
    Format(u32),
    /// The beginning of the file, which says what it is, is broken or missing.
    Header,
    /// The file has keys and values of other types, by the name of their
    /// [schema](crate::Builder::schema).
    Schema {
        /// The name in the file.
        found: String,
        /// The name that the builder has.
        expected: String,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Build(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the saved cache cannot be read: {error}"),
            Self::NotSaved => f.write_str("the file is no saved cache"),
            Self::Format(format) => write!(f, "the saved cache has the unknown format {format}"),
            Self::Header => f.write_str("the header of the saved cache is broken"),
            Self::Schema { found, expected } => {
                write!(f, "the saved cache has the schema {found:?}, not {expected:?}")
            }
        }
    }
}

impl std::error::Error for RestoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Build(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Trouble> for RestoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Io(error) => Self::Io(error),
            Trouble::NotSaved => Self::NotSaved,
            Trouble::Format(format) => Self::Format(format),
            Trouble::Header => Self::Header,
        }
    }
}
