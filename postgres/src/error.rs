//! What can go wrong between the cache and the server.

use crate::fence::NoFence;
use pgwire_replication::PgWireError;
use std::fmt;
use std::time::Duration;

/// Why a cache could not be connected, or a stream is over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A setting makes no sense. The message names it.
    Setting(&'static str),
    /// There is no publication of this name, or one that leaves out a kind of change.
    Publication(String),
    /// The connection failed, or the server refused.
    Server(PgWireError),
    /// The server said what it should not say. The message tells what.
    Protocol(String),
    /// The server, or the stream, did not get on within this time.
    Silent(Duration),
    /// More transactions were told of than are kept until a snapshot sees them. That happens if
    /// commits wait for a synchronous standby that does not answer.
    Hidden,
    /// The server has ended the stream.
    Ended,
    /// The task that follows the stream has ended: with its runtime, or by a panic, such as one of
    /// the function that compares keys.
    Stopped,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(what) => f.write_str(what),
            Self::Publication(name) => write!(
                f,
                "there is no publication {name:?} of inserts, updates, deletes and truncations"
            ),
            Self::Server(error) => error.fmt(f),
            Self::Protocol(what) => f.write_str(what),
            Self::Silent(time) => write!(f, "the server did not get on within {time:?}"),
            Self::Hidden => f.write_str("too many transactions are committed and not visible"),
            Self::Ended => f.write_str("the server has ended the stream"),
            Self::Stopped => f.write_str("the task that follows the stream has ended"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Server(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PgWireError> for Error {
    fn from(error: PgWireError) -> Self {
        Self::Server(error)
    }
}

impl From<NoFence> for Error {
    fn from(error: NoFence) -> Self {
        Self::Protocol(error.to_string())
    }
}
