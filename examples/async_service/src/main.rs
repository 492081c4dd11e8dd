//! A web service whose handlers load through the cache, and a load test of it in the same program:
//! `cargo run -p async-service`.
//!
//! `GET /profile/{id}` shows a profile that is derived from a user. `PUT /user/{id}` changes the
//! user. The load test checks two claims. A request that begins after a change was answered never
//! returns an older profile. The service reads a profile from the database at most once per change,
//! not once per request.

mod client;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};
use client::Connection;
use coeval::Cache;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::net::TcpListener;

const USERS: usize = 4;

/// The users, each with the number of its last change. Access is slow.
#[derive(Default)]
struct Database {
    users: [AtomicU64; USERS],
    reads: AtomicU64,
}

impl Database {
    async fn read(&self, id: usize) -> Result<u64, StatusCode> {
        self.reads.fetch_add(1, SeqCst);
        let user = self.users.get(id).ok_or(StatusCode::NOT_FOUND)?.load(SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(user)
    }

    fn change(&self, id: usize) -> Result<u64, StatusCode> {
        let user = self.users.get(id).ok_or(StatusCode::NOT_FOUND)?;
        Ok(user.fetch_add(1, SeqCst) + 1)
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    User(usize),
    Profile(usize),
}

struct Service {
    database: Database,
    cache: Cache<Key, u64>,
}

impl Service {
    fn new() -> Arc<Self> {
        let cache = Cache::builder().max_capacity(10_000).related(|key, related| {
            if let Key::User(id) = key {
                related.invalidate(Key::Profile(*id));
            }
        });
        Arc::new(Self { database: Database::default(), cache: cache.build() })
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/profile/{id}", get(show_profile))
            .route("/user/{id}", put(change_user))
            .with_state(self)
    }
}

/// If the client disconnects, this future is dropped, and another caller that wants the profile
/// loads it.
async fn show_profile(
    State(service): State<Arc<Service>>,
    Path(id): Path<usize>,
) -> Result<String, StatusCode> {
    let load = service.database.read(id);
    let profile = service.cache.try_get_with_async(Key::Profile(id), load).await;
    profile.map(|profile| profile.to_string()).map_err(|status| *status)
}

async fn change_user(
    State(service): State<Arc<Service>>,
    Path(id): Path<usize>,
) -> Result<String, StatusCode> {
    let number = service.database.change(id)?;
    // First change the source, then the cache. One commit ends the user and everything derived from
    // it. This is not an insert: when two requests change a user at the same time, the insert of
    // the earlier change could come last.
    service.cache.batch().invalidate(Key::User(id)).commit();
    Ok(number.to_string())
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let service = Service::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(axum::serve(listener, service.clone().router()).into_future());

    crowd(&service, address).await;
    mixed(&service, address).await;
    let mut connection = Connection::open(address).await;
    assert_eq!(connection.request("GET", "/profile/77").await.0, 404);
    assert_eq!(service.cache.stats().loads_failed, 1);
    println!("\n{}", service.cache.stats());
}

/// Many clients request one profile that is not cached, at the same time.
async fn crowd(service: &Arc<Service>, address: SocketAddr) {
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut connection = Connection::open(address).await;
        clients.push(tokio::spawn(async move { connection.request("GET", "/profile/0").await }));
    }
    for client in clients {
        assert_eq!(client.await.expect("no panic"), (200, 0));
    }
    let reads = service.database.reads.load(SeqCst);
    println!("200 requests for a profile that was not cached: {reads} read of the database");
    assert_eq!(reads, 1);
}

/// Requests for profiles, with a change of a user now and then.
async fn mixed(service: &Arc<Service>, address: SocketAddr) {
    const CLIENTS: u64 = 32;
    const REQUESTS: u64 = 100;
    let told: Arc<[AtomicU64; USERS]> = Arc::default();
    let before = service.database.reads.load(SeqCst);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let told = told.clone();
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                let (mut changes, mut stale) = (0, 0);
                for turn in 0..REQUESTS {
                    let id = ((client + turn) % USERS as u64) as usize;
                    if (client * 7 + turn) % 50 == 0 {
                        let path = format!("/user/{id}");
                        let (status, number) = connection.request("PUT", &path).await;
                        assert_eq!(status, 200);
                        told[id].fetch_max(number, SeqCst);
                        changes += 1;
                    } else {
                        let told = told[id].load(SeqCst);
                        let path = format!("/profile/{id}");
                        let (status, profile) = connection.request("GET", &path).await;
                        assert_eq!(status, 200);
                        stale += u64::from(profile < told);
                    }
                }
                (changes, stale)
            })
        })
        .collect();
    let (mut changes, mut stale) = (0, 0);
    for client in clients {
        let (changed, seen) = client.await.expect("no panic");
        (changes, stale) = (changes + changed, stale + seen);
    }
    let reads = service.database.reads.load(SeqCst) - before;
    println!(
        "{} requests, {changes} of them changes: {reads} reads, {stale} stale answers",
        CLIENTS * REQUESTS
    );
    assert_eq!(stale, 0);
    let refused = service.cache.stats().loads_refused;
    // One read for each change, one for each profile at first, and one for each load that a change
    // overtook.
    assert!(reads <= changes + USERS as u64 + refused, "{reads} reads, {refused} of them refused");
}
