//! A small service: a user, a profile and a feed in three tables of PostgreSQL, read as one group.
//! `cargo run --release -p coeval-postgres --example service [SECONDS]`
//!
//! It starts a server of its own, and counts the pages that show parts of different age: once
//! through `PgCache`, and once through a cache of the same kind that is used as usual, which ends
//! an entry for each changed row and reads what is absent key by key. Both have the same stream.

#[allow(dead_code)]
#[path = "../src/tests/server.rs"]
mod server;

use coeval_postgres::{
    CommitStream, Event, FENCE, Fence, Lsn, PgCache, PgStream, PgWireError, ReplicationConfig, Row,
    Unsent,
};
use server::{Client, Server, text};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Few, so that readers and editors meet.
const USERS: i64 = 12;
const EDITORS: i64 = 4;

const TABLES: &str = "
    CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, edition bigint NOT NULL);
    CREATE TABLE profiles (user_id bigint PRIMARY KEY, about text NOT NULL,
                           edition bigint NOT NULL);
    CREATE TABLE posts (user_id bigint, place bigint, title text NOT NULL, edition bigint NOT NULL,
                        PRIMARY KEY (user_id, place));
    INSERT INTO users SELECT id, 'user ' || id, 0 FROM generate_series(0, 11) id;
    INSERT INTO profiles SELECT id, 'about ' || id, 0 FROM generate_series(0, 11) id;
    INSERT INTO posts SELECT id, place, 'post ' || place, 0
        FROM generate_series(0, 11) id, generate_series(0, 4) place;
    CREATE PUBLICATION service FOR TABLE users, profiles, posts;";

/// What an entry is, and whose.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    User(i64),
    Profile(i64),
    Feed(i64),
}

/// A part of a page, ready to be shown, and by which edit it came about.
#[derive(Clone)]
struct Part {
    text: Arc<str>,
    edition: i64,
}

type Page = [Part; 3];

fn keys_of_page(user: i64) -> [Key; 3] {
    [Key::User(user), Key::Profile(user), Key::Feed(user)]
}

/// Which entries a changed row concerns.
fn keys_of_row(row: &Row<'_>, keys: &mut Vec<Key>) -> Result<(), Unsent> {
    let (column, key): (_, fn(i64) -> Key) = match row.table() {
        "users" => ("id", Key::User),
        "profiles" => ("user_id", Key::Profile),
        "posts" => ("user_id", Key::Feed),
        _ => return Ok(()),
    };
    keys.extend(row.get(column)?.and_then(|id| id.parse().ok()).map(key));
    Ok(())
}

/// The statement that reads an entry: its text and its edition.
fn statement(key: Key) -> String {
    match key {
        Key::User(id) => format!("SELECT name, edition FROM users WHERE id = {id}"),
        Key::Profile(id) => format!("SELECT about, edition FROM profiles WHERE user_id = {id}"),
        Key::Feed(id) => format!(
            "SELECT string_agg(title, ', ' ORDER BY place), max(edition) FROM posts \
             WHERE user_id = {id}"
        ),
    }
}

/// Reads keys with one snapshot, and says with which one.
async fn parts<const N: usize>(
    client: &Client,
    keys: [Key; N],
) -> Result<(Fence, [Part; N]), PgWireError> {
    client.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let rows = client.rows(FENCE).await?;
    let fence = text(&rows[0], 0).and_then(|text| text.parse().ok());
    let mut parts = Vec::with_capacity(N);
    for key in keys {
        let rows = client.rows(&statement(key)).await?;
        let edition = text(&rows[0], 1).and_then(|text| text.parse().ok());
        parts.push(Part {
            text: text(&rows[0], 0).unwrap_or("").into(),
            edition: edition.expect("a number"),
        });
    }
    client.run("COMMIT").await?;
    let parts = parts.try_into().unwrap_or_else(|_| unreachable!("one part a key"));
    Ok((fence.expect("the value of FENCE is a fence"), parts))
}

/// Changes all of a user's page by one transaction, and returns where it stands in the log.
async fn edit(client: &Client, user: i64) -> Result<Lsn, PgWireError> {
    let edit = format!(
        "BEGIN;
         UPDATE users SET edition = edition + 1 WHERE id = {user};
         UPDATE profiles SET edition = edition + 1 WHERE user_id = {user};
         UPDATE posts SET edition = edition + 1 WHERE user_id = {user};
         COMMIT;"
    );
    client.run(&edit).await?;
    let rows = client.rows("SELECT pg_current_wal_insert_lsn()").await?;
    let position = text(&rows[0], 0).and_then(|text| Lsn::parse(text).ok());
    Ok(position.expect("a position in the log"))
}

/// How pages are read.
#[derive(Clone)]
enum Pages {
    ByTransaction(PgCache<Key, Part>),
    RowByRow(coeval::Cache<Key, Part>),
}

impl Pages {
    async fn page(&self, client: &Client, user: i64) -> Result<Page, PgWireError> {
        let keys = keys_of_page(user);
        match self {
            Self::ByTransaction(cache) => cache.get_many(keys, parts(client, keys)).await,
            Self::RowByRow(cache) => {
                let mut page = Vec::new();
                for key in keys {
                    let load = async { parts(client, [key]).await.map(|(_, [part])| part) };
                    let loaded = cache.try_get_with_async(key, load).await;
                    page.push(loaded.map_err(|error| Arc::into_inner(error).expect("ours"))?);
                }
                Ok(page.try_into().unwrap_or_else(|_| unreachable!("three keys")))
            }
        }
    }
}

/// What readers saw.
#[derive(Default)]
struct Seen {
    pages: AtomicU64,
    torn: AtomicU64,
    /// An editor who came back to the page and did not find the edit.
    missed: AtomicU64,
}

fn count(counter: &AtomicU64, add: bool) {
    counter.fetch_add(u64::from(add), Ordering::Relaxed);
}

fn is_torn([user, profile, feed]: &Page) -> bool {
    user.edition != profile.edition || profile.edition != feed.edition
}

/// A number that differs from call to call.
fn next(state: &mut u64, bound: i64) -> i64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) as i64) % bound
}

async fn visit(pages: Pages, client: Client, seen: Arc<Seen>, stop: Arc<AtomicBool>, at: u64) {
    let mut state = at;
    while !stop.load(Ordering::Relaxed) {
        let page = pages.page(&client, next(&mut state, USERS)).await.expect("the server runs");
        count(&seen.pages, true);
        count(&seen.torn, is_torn(&page));
        tokio::task::yield_now().await;
    }
}

/// Edits pages that nobody else edits, and looks whether the edit is there.
async fn work(pages: Pages, client: Client, seen: Arc<Seen>, stop: Arc<AtomicBool>, at: u64) {
    let mut state = at;
    while !stop.load(Ordering::Relaxed) {
        let user = next(&mut state, USERS / EDITORS) * EDITORS + at as i64;
        let before = pages.page(&client, user).await.expect("the server runs");
        let position = edit(&client, user).await.expect("the server runs");
        if let Pages::ByTransaction(cache) = &pages {
            cache.wait_for(position).await;
        }
        let after = pages.page(&client, user).await.expect("the server runs");
        count(&seen.missed, after[0].edition <= before[0].edition);
    }
}

/// Lets three readers and four editors use the service for a while.
async fn load(server: &Server, pages: Pages, seconds: u64) -> Seen {
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let mut tasks = Vec::new();
    for at in 0..3 {
        let task = visit(pages.clone(), server.client().await, seen.clone(), stop.clone(), at);
        tasks.push(tokio::spawn(task));
    }
    for at in 0..EDITORS as u64 {
        let task = work(pages.clone(), server.client().await, seen.clone(), stop.clone(), at);
        tasks.push(tokio::spawn(task));
    }
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no task has failed");
    }
    Arc::into_inner(seen).expect("the tasks have ended")
}

fn show(name: &str, seen: &Seen, seconds: u64) {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (pages, torn) = (load(&seen.pages), load(&seen.torn));
    println!(
        "{name:<28} {:>9} pages a second {torn:>8} torn {:>6} own edits missed",
        pages / seconds,
        load(&seen.missed)
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let server = match Server::start(&[]) {
        Ok(server) => server,
        Err(why) => {
            println!("There is no PostgreSQL to show this with: {why}");
            return Ok(());
        }
    };
    server.tell(TABLES).await;
    println!("{}", server.ask("SELECT version()").await);
    let config =
        ReplicationConfig::new("127.0.0.1", "postgres", "", "postgres", "service", "service")
            .with_port(server.port());

    let begin = Instant::now();
    let cache = PgCache::<Key, Part>::builder(config.clone())
        .keys(keys_of_row)
        .connect(coeval::Cache::builder().max_capacity(10_000).build())
        .await?;
    println!("The first stream was there after {:?}.", begin.elapsed());
    let [user, profile, feed] = Pages::ByTransaction(cache.clone())
        .page(&server.client().await, 7)
        .await?
        .map(|part| part.text);
    println!("A page: {user}; {profile}; {feed}.");
    let seen = load(&server, Pages::ByTransaction(cache.clone()), seconds).await;
    show("coeval-postgres", &seen, seconds);

    let usual = coeval::Cache::new();
    let mut stream = PgStream::connect(&config, keys_of_row).await?;
    let ended = usual.clone();
    let follow = tokio::spawn(async move {
        while let Ok(event) = stream.next().await {
            if let Event::Changed(key) = event {
                ended.invalidate(&key);
            }
        }
    });
    let seen = load(&server, Pages::RowByRow(usual), seconds).await;
    show("row by row, key by key", &seen, seconds);
    follow.abort();
    println!("{:#?}", cache.status());
    Ok(())
}
