//! The stream of a PostgreSQL server.

use crate::error::Error;
use crate::pgoutput::{Message, Old, Relation};
use crate::row::{Row, Unsent};
use crate::stream::{CommitStream, Event, Mark};
use pgwire_replication::client::QueryRow;
use pgwire_replication::{Lsn, ReplicationClient, ReplicationConfig, ReplicationEvent};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// Says which keys a changed row concerns.
pub(crate) type KeysOf<K> = dyn Fn(&Row<'_>, &mut Vec<K>) -> Result<(), Unsent> + Send + Sync;

/// A session of the server, which is closed when this is dropped: also one that waits for an answer
/// that never comes.
pub(crate) struct Session(pub ReplicationClient);

impl Session {
    /// A session that waits for statements. Whether there is a server, the first of them tells.
    pub async fn connect(config: &ReplicationConfig) -> Result<Self, Error> {
        let mut config = config.clone();
        config.application_name.get_or_insert_with(|| "coeval".to_owned());
        Ok(Self(ReplicationClient::connect_gated(config).await?))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How often the server is told how far the stream was taken. What it was not told of, it keeps,
/// and a shutdown waits for it.
const STATUS: Duration = Duration::from_millis(200);

/// The commits of a PostgreSQL server, by its logical replication (`pgoutput`).
///
/// It has a temporary slot of its own, which ends with the connection. After a break everything is
/// read again, so a slot that outlives the connection would only keep log that nobody needs.
pub struct PgStream<K> {
    session: Session,
    keys_of: Arc<KeysOf<K>>,
    relations: HashMap<u32, Relation>,
    transaction: u32,
    /// What one message has brought and was not returned yet.
    events: VecDeque<Event<K>>,
    keys: Vec<K>,
    /// All up to this position was returned, and is applied when `next` is called again.
    returned: Lsn,
    start: u64,
    unnamed: u64,
    /// Partitions are published under their parent's name.
    is_via_root: bool,
}

impl<K> PgStream<K> {
    /// Connects, makes a temporary slot, and starts the stream. `keys_of` pushes the keys that a
    /// changed row concerns. It is called with the row as it was and with the row as it is,
    /// whichever there are.
    ///
    /// Waits until all transactions have ended that were writing when the slot was made: only then
    /// does the server know where a stream can begin. Needs a tokio runtime with time and IO.
    ///
    /// The slot's name begins with that of `config`: up to 46 lower case letters, digits and
    /// underscores, of which the first is no digit.
    ///
    /// # Errors
    /// [`Error::Setting`] if the slot cannot have this name. [`Error::Server`] if there is no
    /// server, or if it refuses.
    pub async fn connect(
        config: &ReplicationConfig,
        keys_of: impl Fn(&Row<'_>, &mut Vec<K>) -> Result<(), Unsent> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::connect_shared(config, Arc::new(keys_of)).await
    }

    pub(crate) async fn connect_shared(
        config: &ReplicationConfig,
        keys_of: Arc<KeysOf<K>>,
    ) -> Result<Self, Error> {
        let mut config = config.clone().with_status_interval(STATUS).with_start_lsn(Lsn::ZERO);
        (config.binary, config.stop_at_lsn) = (false, None); // rows are texts, and go on
        check_slot(&config.slot)?;
        config.slot = format!("{}_{:016x}", config.slot, chance());
        let names = config.publication.names();
        let via_root = format!(
            "SELECT 1 FROM pg_publication WHERE pubviaroot AND pubname IN ({})",
            names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ")
        );
        // The server takes them for a list of identifiers, and turns those without quotes into
        // lower case: it would find another publication, or none.
        config.publication =
            names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
        let mut session = Session::connect(&config).await?;
        let is_via_root = !session.0.simple_query(&via_root).await?.is_empty();
        let create = format!(
            "CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT",
            config.slot
        );
        let rows = session.0.simple_query(&create).await?;
        let start = column(&rows, 1).and_then(|text| Lsn::parse(text).ok());
        let start = start.ok_or_else(|| Error::Protocol("a slot without a start".to_owned()))?;
        session.0.start().await?;
        session.0.wait_started().await?;
        Ok(Self {
            session,
            keys_of,
            relations: HashMap::new(),
            transaction: 0,
            events: VecDeque::new(),
            keys: Vec::new(),
            returned: start,
            start: start.as_u64(),
            unnamed: 0,
            is_via_root,
        })
    }

    /// Returns the position where the stream begins: it brings all that is committed after it.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Returns how many rows have changed of which the server does not send what their keys depend
    /// on. Each of these changes ends all entries.
    pub fn unnamed(&self) -> u64 {
        self.unnamed
    }

    /// Takes what one message says.
    fn take(&mut self, message: &[u8]) -> Result<(), Error> {
        let message =
            Message::parse(message).map_err(|error| Error::Protocol(error.to_string()))?;
        match message {
            Message::Relation(mut relation) => {
                relation.null_is_doubtful = self.is_via_root;
                self.relations.insert(relation.oid, relation);
            }
            Message::Insert { relation, new } => {
                self.name(relation, |relation| [None, Some(Row::new(relation, &new, &Old::Same))])?;
            }
            Message::Update { relation, old, new } => self.name(relation, |relation| {
                let before = Row::old(relation, &old, Some(&new));
                [Some(before), Some(Row::new(relation, &new, &old))]
            })?,
            Message::Delete { relation, old } => {
                self.name(relation, |relation| [Some(Row::old(relation, &old, None)), None])?;
            }
            Message::Truncate => self.events.push_back(Event::AllChanged),
            Message::Other => {}
        }
        Ok(())
    }

    /// Notes the keys of a row, before and after.
    fn name<'m>(
        &'m mut self,
        relation: u32,
        rows: impl FnOnce(&'m Relation) -> [Option<Row<'m>>; 2],
    ) -> Result<(), Error> {
        let Some(relation) = self.relations.get(&relation) else {
            return Err(Error::Protocol("a change of a table that was not described".to_owned()));
        };
        let rows = rows(relation);
        // A panic leaves nothing behind but some of the keys.
        let named = catch_unwind(AssertUnwindSafe(|| {
            rows.iter().flatten().try_for_each(|row| (self.keys_of)(row, &mut self.keys))
        }));
        self.events.extend(self.keys.drain(..).map(Event::Changed));
        if !matches!(named, Ok(Ok(()))) {
            self.unnamed += 1;
            self.events.push_back(Event::AllChanged);
        }
        Ok(())
    }
}

impl<K: Send> CommitStream for PgStream<K> {
    type Key = K;
    type Break = Error;

    async fn next(&mut self) -> Result<Event<K>, Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            self.session.0.update_applied_lsn(self.returned);
            match self.session.0.recv().await?.ok_or(Error::Ended)? {
                ReplicationEvent::Begin { xid, .. } => self.transaction = xid,
                ReplicationEvent::XLogData { data, .. } => self.take(&data)?,
                ReplicationEvent::Commit { end_lsn, .. } => {
                    self.returned = end_lsn;
                    let (position, transaction) = (end_lsn.as_u64(), self.transaction);
                    return Ok(Event::Committed(Mark { position, transaction }));
                }
                ReplicationEvent::KeepAlive { wal_end, .. } => {
                    self.returned = self.returned.max(wal_end);
                    return Ok(Event::Reached(wal_end.as_u64()));
                }
                ReplicationEvent::Message { .. } => {}
                ReplicationEvent::StoppedAt { .. } => return Err(Error::Ended),
            }
        }
    }
}

impl<K> fmt::Debug for PgStream<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgStream").field("returned", &self.returned).finish_non_exhaustive()
    }
}

/// Whether the name of a slot can begin so: the server cuts off what is longer than 63 characters.
fn check_slot(name: &str) -> Result<(), Error> {
    let is_allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    let begins = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    if begins && name.len() <= 46 && name.bytes().all(is_allowed) {
        return Ok(());
    }
    Err(Error::Setting(
        "the slot's name must be 1 to 46 lower case letters, digits and underscores, and not begin \
         with a digit",
    ))
}

/// A text as a constant of SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// One column of the first row.
pub(crate) fn column(rows: &[QueryRow], at: usize) -> Option<&str> {
    std::str::from_utf8(rows.first()?.get(at)?.as_ref()?).ok()
}

/// A number that nobody can foresee. A hasher with random keys is the only source of chance in std.
pub(crate) fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}
