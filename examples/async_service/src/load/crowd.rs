//! Many clients at once, and what they saw.

use super::client::Connection;
use super::known::Known;
use crate::routes::Answer;
use crate::rows::{Id, Page};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CLIENTS: u64 = 16;
/// The time between two requests of a client.
const REST: Duration = Duration::from_millis(2);
/// One request in so many is a change.
const CHANGES: u64 = 200;

/// Which pages are asked for.
#[derive(Clone, Copy)]
pub enum Pick {
    /// Each, in turn.
    Each,
    /// Some far more often than others.
    Hot,
}

/// When the clients stop.
#[derive(Clone, Copy)]
pub enum Until {
    Time(Instant),
    /// After so many requests of all clients.
    Requests(u64),
}

/// What clients saw.
#[derive(Default)]
pub struct Seen {
    /// Requests for a page that got none.
    pub errors: u64,
    /// Pages whose parts were not of one revision.
    pub torn: u64,
    /// Pages that were older than a change which the service had answered before.
    pub overtaken: u64,
    /// Pages of which the service said that they may be old.
    pub stale: u64,
    /// Changes that were made, and that were not.
    pub changed: u64,
    pub refused: u64,
    /// The longest time for which the database had had a newer page.
    pub oldest: Duration,
    /// How long each request took.
    times: Vec<Duration>,
}

#[derive(Clone)]
pub struct Crowd {
    address: SocketAddr,
    known: Arc<Known>,
    may_change: bool,
}

impl Crowd {
    pub fn new(address: SocketAddr, known: Arc<Known>) -> Self {
        Self { address, known, may_change: true }
    }

    /// The clients change nothing.
    pub fn read_only(mut self) -> Self {
        self.may_change = false;
        self
    }

    /// Lets the clients do their work, and returns what they saw.
    pub async fn run(&self, pick: Pick, until: Until) -> Seen {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| tokio::spawn(self.clone().client(client, pick, until)))
            .collect();
        let mut all = Seen::default();
        for client in clients {
            all.add(client.await.expect("no client panics"));
        }
        all
    }

    async fn client(self, client: u64, pick: Pick, until: Until) -> Seen {
        let (mut seen, mut random) = (Seen::default(), client);
        let mut connection = None;
        // Together the clients do each request once.
        for request in (client..).step_by(CLIENTS as usize) {
            let is_over = match until {
                Until::Time(end) => Instant::now() >= end,
                Until::Requests(most) => request >= most,
            };
            if is_over {
                break;
            }
            random = next_random(random);
            let users = self.known.users();
            let id = match pick {
                Pick::Each => request as Id % users,
                Pick::Hot => {
                    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
                    (share * share * users as f64) as Id
                }
            };
            let is_change = self.may_change && (random >> 33) % CHANGES == 0;
            let asked = self.ask(&mut connection, id, is_change, &mut seen).await;
            if asked.is_err() {
                seen.errors += 1;
                connection = None;
            }
            tokio::time::sleep(REST).await;
        }
        seen
    }

    /// Sends one request, and judges the answer.
    async fn ask(
        &self,
        connection: &mut Option<Connection>,
        id: Id,
        is_change: bool,
        seen: &mut Seen,
    ) -> io::Result<()> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(Connection::open(self.address).await?),
        };
        if is_change {
            let name = format!("user {id} by request");
            match connection.put(&format!("/user/{id}"), &name).await? {
                (200, page) => {
                    seen.changed += 1;
                    self.known.tell(id, serde_json::from_str::<Page>(&page)?.user.revision);
                }
                _ => seen.refused += 1,
            }
            return Ok(());
        }
        let (told, begun) = (self.known.told(id), Instant::now());
        let (status, body) = connection.get(&format!("/page/{id}")).await?;
        seen.times.push(begun.elapsed());
        if status != 200 {
            seen.errors += 1;
            return Ok(());
        }
        let Answer { page, served, .. } = serde_json::from_str(&body)?;
        let revision = page.user.revision;
        seen.stale += u64::from(served == "stale");
        seen.torn += u64::from([page.profile.revision, page.feed.revision] != [revision; 2]);
        seen.overtaken += u64::from(revision < told);
        seen.oldest = seen.oldest.max(self.known.age(id, revision, begun));
        Ok(())
    }
}

impl Seen {
    pub const HEAD: &str = "requests  errors  torn  overtaken  stale  changes (refused)  \
                            oldest ms  p99 ms  slowest ms";

    fn add(&mut self, other: Self) {
        self.errors += other.errors;
        self.torn += other.torn;
        self.overtaken += other.overtaken;
        self.stale += other.stale;
        self.changed += other.changed;
        self.refused += other.refused;
        self.oldest = self.oldest.max(other.oldest);
        self.times.extend(other.times);
        self.times.sort_unstable();
    }

    /// The time within which this share of the requests was answered.
    pub fn percentile(&self, share: f64) -> Duration {
        let at = (self.times.len() as f64 * share) as usize;
        self.times.get(at).or(self.times.last()).copied().unwrap_or_default()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errors, torn, overtaken, stale, changed, refused, oldest, times } = self;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let changes = format!("{changed} ({refused})");
        write!(
            f,
            "{:>8}  {errors:>6}  {torn:>4}  {overtaken:>9}  {stale:>5}  {changes:>17}  \
             {:>9.0}  {:>6.1}  {:>10.1}",
            times.len(),
            ms(*oldest),
            ms(self.percentile(0.99)),
            ms(self.percentile(1.0))
        )
    }
}

pub fn next_random(random: u64) -> u64 {
    random.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F)
}
