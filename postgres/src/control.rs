//! A session beside the stream, by which the server is asked how far it is.

use crate::error::Error;
use crate::fence::{FENCE, Fence};
use crate::source::{Session, column, literal};
use pgwire_replication::ReplicationConfig;
use std::time::Duration;

/// A session that never starts a stream.
pub(crate) struct Control {
    session: Session,
    /// How long an answer may take.
    patience: Duration,
}

impl Control {
    pub async fn connect(config: &ReplicationConfig, patience: Duration) -> Result<Self, Error> {
        let session = Session::connect(config).await?;
        let mut control = Self { session, patience };
        // A commit of this session waits until it is in the log, and not for standbys.
        control.ask("SET synchronous_commit = local").await?;
        control.ask("SET default_transaction_read_only = off").await?; // `flush` writes
        for name in config.publication.names() {
            control.check(name).await?;
        }
        Ok(control)
    }

    /// A stream of a publication that is not there begins without an error, and breaks at the first
    /// change.
    async fn check(&mut self, publication: &str) -> Result<(), Error> {
        let query = format!(
            "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication \
             WHERE pubname = {}",
            literal(publication)
        );
        match self.ask(&query).await?.as_deref() {
            Some("t") => Ok(()),
            _ => Err(Error::Publication(publication.to_owned())),
        }
    }

    /// Returns which transactions are visible now, and a position behind all of them.
    pub async fn fence(&mut self) -> Result<Fence, Error> {
        let text = self.ask(FENCE).await?;
        let text = text.ok_or_else(|| Error::Protocol("a fence without a value".to_owned()))?;
        Ok(text.parse()?)
    }

    /// Has the log flushed, and so sent, up to here: commits a transaction that changes nothing.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.ask("SELECT pg_logical_emit_message(true, 'coeval', '')").await.map(drop)
    }

    /// The first value that a statement returns.
    async fn ask(&mut self, statement: &str) -> Result<Option<String>, Error> {
        let answer = tokio::time::timeout(self.patience, self.session.0.simple_query(statement));
        let rows = answer.await.map_err(|_| Error::Silent(self.patience))??;
        Ok(column(&rows, 0).map(ToOwned::to_owned))
    }
}
