//! The database: three tables in a file of SQLite, which a few connections share.

use crate::rows::{Feed, Id, Page, Profile, User};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// The most connections.
const CONNECTIONS: usize = 4;

const TABLES: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, revision INTEGER NOT NULL);
    CREATE TABLE profiles (id INTEGER PRIMARY KEY, text TEXT NOT NULL, revision INTEGER NOT NULL);
    CREATE TABLE feeds (id INTEGER PRIMARY KEY, lines TEXT NOT NULL, revision INTEGER NOT NULL);";

/// Why there is no page.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    NoSuchUser,
    /// The database is down, or too slow.
    Database(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchUser => f.write_str("there is no such user"),
            Self::Database(error) => write!(f, "the database: {error}"),
        }
    }
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// A handle of the database. Its calls block no thread of the runtime.
#[derive(Clone)]
pub struct Database {
    pool: Arc<Pool>,
}

struct Pool {
    file: PathBuf,
    patience: Duration,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Database {
    /// Does not ask the database yet: the service starts without it if it has to.
    pub fn new(file: PathBuf, patience: Duration) -> Self {
        let (turns, idle) = (Arc::new(Semaphore::new(CONNECTIONS)), Mutex::default());
        Self { pool: Arc::new(Pool { file, patience, turns, idle }) }
    }

    /// Reads a page, as of one instant.
    pub async fn page(&self, id: Id) -> Result<Page, Trouble> {
        self.with(move |connection| {
            let transaction = connection.transaction()?;
            read(&transaction, id)
        })
        .await
    }

    /// Renames a user, and returns the page after that.
    pub async fn rename(&self, id: Id, name: String) -> Result<Page, Trouble> {
        self.with(move |connection| rename(connection, id, &name)).await
    }

    /// Lets a connection do this, on a thread that may wait.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let pool = self.pool.clone();
        // Whoever has waited for so long fails, so that no queue grows while the database is down.
        let turn = tokio::time::timeout(pool.patience, pool.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Trouble::Database("no connection is free".into()))?;
        let turn = turn.expect("nobody closes the semaphore");
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut connection = pool.take()?;
            let worked = work(&mut connection);
            pool.give_back(connection);
            worked
        });
        worked.await.unwrap_or_else(|panic| Err(Trouble::Database(panic.to_string())))
    }
}

impl Pool {
    fn take(&self) -> Result<Connection, Trouble> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => Ok(connect(&self.file, self.patience)?),
        }
    }

    fn give_back(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// Opens a connection, which waits for so long while others have the database locked.
pub fn connect(file: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(patience)?;
    Ok(connection)
}

/// Makes the tables, with so many users in them.
pub fn create(file: &Path, users: Id) -> rusqlite::Result<()> {
    let mut connection = Connection::open(file)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    for id in 0..users {
        transaction.execute("INSERT INTO users VALUES (?1, 'user ' || ?1, 1)", [id])?;
        transaction
            .execute("INSERT INTO profiles VALUES (?1, 'the profile of user ' || ?1, 1)", [id])?;
        transaction
            .execute("INSERT INTO feeds VALUES (?1, 'user ' || ?1 || ' is new', 1)", [id])?;
    }
    transaction.commit()
}

/// Renames a user: one transaction changes the three rows. Returns the page after that.
pub fn rename(connection: &mut Connection, id: Id, name: &str) -> Result<Page, Trouble> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (table, change) in [
        ("users", "name = ?2"),
        ("profiles", "text = 'the profile of ' || ?2"),
        ("feeds", "lines = ?2 || ' is new here'"),
    ] {
        let update = format!("UPDATE {table} SET {change}, revision = revision + 1 WHERE id = ?1");
        transaction.execute(&update, (id, name))?;
    }
    let page = read(&transaction, id)?;
    transaction.commit()?;
    Ok(page)
}

fn read(connection: &Connection, id: Id) -> Result<Page, Trouble> {
    let row = |table: &str, text: &str| {
        let query = format!("SELECT {text}, revision FROM {table} WHERE id = ?1");
        let row = connection.query_row(&query, [id], |row| Ok((row.get(0)?, row.get(1)?)));
        row.optional()?.ok_or(Trouble::NoSuchUser)
    };
    let (name, revision) = row("users", "name")?;
    let user = User { name, revision };
    let (text, revision) = row("profiles", "text")?;
    let profile = Profile { text, revision };
    let (lines, revision) = row("feeds", "lines")?;
    Ok(Page { user, profile, feed: Feed { lines, revision } })
}
