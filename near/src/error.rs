//! What can go wrong.

use std::fmt;
use std::time::Duration;

/// An error of a codec, of whatever type it has.
pub type CodecError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call has failed. Nothing of the cache is harmed by any of these.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting makes no sense. The message names it.
    Setting(&'static str),
    /// No first connection came about, or an address makes no sense.
    Connect(redis::RedisError),
    /// There is no connection, and none came about within the time that a call waits for one; or
    /// none can come about, since the runtime in which the cache connected has ended.
    Down {
        /// How long the call waited.
        waited: Duration,
        /// What has failed last, if anything has; see
        /// [`Status::last_failure`](crate::Status::last_failure).
        cause: Option<String>,
    },
    /// The server did not answer in time, or the connection broke, before a read was answered.
    Lost(redis::RedisError),
    /// The connection broke, or the server did not answer in time, after a write was sent. The
    /// write may have been done, or may yet be done. The local entries of its keys are gone.
    Unknown(redis::RedisError),
    /// The server refused. Of a refused transaction, the server has done nothing.
    Server(redis::RedisError),
    /// These keys lie in different slots of the cluster, so they have no state of one server in
    /// common. Nothing was sent. Keys with the same text in braces lie in one slot: `{7}:user` and
    /// `{7}:profile`.
    CrossSlot {
        /// A key, as the server knows it; a tag is one, too.
        first: String,
        /// One in another slot.
        second: String,
    },
    /// Within half of the time that a call waits for an answer, no node of the cluster answered for
    /// the slot: it is on the move, or the cluster is not whole. Nothing was done.
    Unsettled {
        /// The slot.
        slot: u16,
        /// What was said last in place of an answer.
        last: redis::RedisError,
    },
    /// The codec could not write a value, or read the bytes that the server sent.
    Codec(CodecError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(what) => write!(f, "{what}"),
            Self::Connect(error) => write!(f, "could not connect to the server: {error}"),
            Self::Down { waited, cause } => {
                write!(f, "no connection to the server within {waited:?}")?;
                cause.as_ref().map_or(Ok(()), |cause| write!(f, "; the last failure: {cause}"))
            }
            Self::Lost(error) => write!(f, "the read got no answer: {error}"),
            Self::Unknown(error) => {
                write!(f, "the write got no answer, and may have been done: {error}")
            }
            Self::Server(error) => write!(f, "the server refused: {error}"),
            Self::CrossSlot { first, second } => {
                write!(f, "the keys `{first}` and `{second}` lie in different slots of the cluster")
            }
            Self::Unsettled { slot, last } => {
                write!(
                    f,
                    "no node of the cluster answers for the slot {slot}; the last one said: {last}"
                )
            }
            Self::Codec(error) => write!(f, "the codec failed: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Setting(_) | Self::Down { .. } | Self::CrossSlot { .. } => None,
            Self::Connect(error)
            | Self::Lost(error)
            | Self::Unknown(error)
            | Self::Server(error) => Some(error),
            Self::Unsettled { last, .. } => Some(last),
            Self::Codec(error) => Some(&**error),
        }
    }
}

/// Whether the command may have been executed although this error came back.
fn is_without_answer(error: &redis::RedisError) -> bool {
    error.is_timeout()
        || error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
}

impl Error {
    pub(crate) fn of_connect(error: redis::RedisError) -> Self {
        if is_without_answer(&error) { Self::Connect(error) } else { Self::Server(error) }
    }

    pub(crate) fn of_read(error: redis::RedisError) -> Self {
        if is_without_answer(&error) { Self::Lost(error) } else { Self::Server(error) }
    }

    pub(crate) fn of_write(error: redis::RedisError) -> Self {
        if is_without_answer(&error) { Self::Unknown(error) } else { Self::Server(error) }
    }
}
