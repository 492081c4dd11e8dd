//! Tests against a real server. They are part of the crate, because they plant defects.
//!
//! Without PostgreSQL the tests say so and do nothing: see `server.rs`.

mod facts;
mod faults;
mod promises;
mod proxy;
mod server;
mod settings;
mod stress;
mod traps;
mod wire;

use crate::planted::Defect;
use crate::{Builder, Fence, Lsn, PgCache, PgWireError, ReplicationConfig, Row, Unsent};
use server::{Client, Server, text};
use std::time::{Duration, Instant};

/// A table, and the number of a user.
type Key = (&'static str, i64);

/// Three tables with rows that belong together, and a publication of them.
const TABLES: &str = "
    CREATE TABLE users (id bigint PRIMARY KEY, revision bigint NOT NULL);
    CREATE TABLE profiles (user_id bigint PRIMARY KEY, revision bigint NOT NULL);
    CREATE TABLE feeds (user_id bigint, place bigint, revision bigint NOT NULL,
                        PRIMARY KEY (user_id, place));
    CREATE TABLE apart (id bigint PRIMARY KEY);
    CREATE PUBLICATION app FOR TABLE users, profiles, feeds;
    INSERT INTO users SELECT id, 1 FROM generate_series(0, 9) id;
    INSERT INTO profiles SELECT id, 1 FROM generate_series(0, 9) id;
    INSERT INTO feeds SELECT id, 0, 1 FROM generate_series(0, 9) id;";

fn config(port: u16) -> ReplicationConfig {
    ReplicationConfig::new("127.0.0.1", "postgres", "", "postgres", "coeval", "app").with_port(port)
}

fn keys_of(row: &Row<'_>, keys: &mut Vec<Key>) -> Result<(), Unsent> {
    let (kind, column) = match row.table() {
        "users" => ("user", "id"),
        "profiles" => ("profile", "user_id"),
        "feeds" => ("feed", "user_id"),
        _ => return Ok(()),
    };
    keys.extend(row.get(column)?.and_then(|id| id.parse().ok()).map(|id| (kind, id)));
    Ok(())
}

/// A builder with a short heartbeat, so that tests are short, and with long other times, so that
/// they pass on a machine that is busy.
fn builder(port: u16) -> Builder<Key> {
    PgCache::<Key, i64>::builder(config(port))
        .keys(keys_of)
        .max_staleness(Duration::from_secs(10))
        .heartbeat(Duration::from_millis(20))
        .dead_after(Duration::from_secs(10))
}

async fn connect(builder: Builder<Key>) -> PgCache<Key, i64> {
    builder.connect(coeval::Cache::new()).await.unwrap()
}

async fn with_defect(server: &Server, defect: Option<Defect>) -> PgCache<Key, i64> {
    connect(builder(server.port()).plant(defect)).await
}

fn table(key: Key) -> String {
    let (table, id) = match key.0 {
        "user" => ("users", "id"),
        "profile" => ("profiles", "user_id"),
        _ => ("feeds", "user_id"),
    };
    format!("SELECT max(revision) FROM {table} WHERE {id} = {}", key.1)
}

/// Reads the revisions of keys by one statement, so with one snapshot. 0: there is no row.
async fn read<const N: usize>(
    client: &Client,
    keys: [Key; N],
) -> Result<(Fence, [i64; N]), PgWireError> {
    let columns = keys.map(|key| format!("({})", table(key))).join(", ");
    let rows = client.rows(&format!("SELECT ({}), {columns}", crate::FENCE)).await?;
    let fence = text(&rows[0], 0).unwrap().parse().unwrap();
    let value = |at: usize| text(&rows[0], at + 1).map_or(0, |text| text.parse().unwrap());
    Ok((fence, std::array::from_fn(value)))
}

/// Reads keys through the cache.
async fn get<const N: usize>(
    cache: &PgCache<Key, i64>,
    client: &Client,
    keys: [Key; N],
) -> [i64; N] {
    cache.get_many(keys, read(client, keys)).await.unwrap()
}

fn group(id: i64) -> [Key; 3] {
    [("user", id), ("profile", id), ("feed", id)]
}

/// The statements that raise the revision of a group by one transaction.
fn raise(id: i64) -> String {
    format!(
        "BEGIN;
         UPDATE users SET revision = revision + 1 WHERE id = {id};
         UPDATE profiles SET revision = revision + 1 WHERE user_id = {id};
         UPDATE feeds SET revision = revision + 1 WHERE user_id = {id};
         COMMIT;"
    )
}

/// Where the server's log ends.
async fn position(client: &Client) -> Lsn {
    let rows = client.rows("SELECT pg_current_wal_insert_lsn()").await.unwrap();
    Lsn::parse(text(&rows[0], 0).unwrap()).unwrap()
}

/// Waits until this holds, and fails with the name of what did not come about.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "not within twenty seconds: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Makes a test for each of these functions, with a server of its own that has `TABLES`. More
/// settings of the server stand in brackets.
macro_rules! on_a_server {
    ($($(#[$attribute:meta])* async fn $name:ident
        ($server:ident: &mut Server $(, [$($setting:literal),*])?) $body:block)*) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $name() {
                async fn test($server: &mut crate::tests::server::Server) $body
                let settings: &[&str] = &[$($($setting),*)?];
                crate::tests::with_server(stringify!($name), settings, async |server| {
                    test(server).await;
                });
            }
        )*
    };
}
pub(crate) use on_a_server;

fn with_server(test: &str, settings: &[&str], run: impl AsyncFn(&mut Server)) {
    let mut server = match Server::start(settings) {
        Ok(server) => server,
        Err(why) => {
            eprintln!("skipped: {test}: {why}");
            return;
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        server.tell(TABLES).await;
        run(&mut server).await;
    });
}
