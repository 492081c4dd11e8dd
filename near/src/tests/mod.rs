//! Tests against real servers. They are part of the crate, because they plant defects.
//!
//! `COEVAL_SERVERS` names the programs to test with, separated by colons; without it, those of
//! `redis-server` and `valkey-server` that are in `PATH`. Without any, the tests say so and do
//! nothing.

mod cluster;
mod facts;
mod failover;
mod faults;
mod load;
mod promises;
mod proxy;
mod server;
mod stress;
mod tags;
mod wire;

use crate::{Builder, NearCache, Raw};
use redis::aio::MultiplexedConnection;
use server::Server;
use std::time::{Duration, Instant};

/// A builder with a short heartbeat, so that tests are short, and with long other times, so that
/// they pass on a machine that is busy.
fn builder(url: &str) -> Builder<String, Raw> {
    let long = Duration::from_secs(10);
    NearCache::<String>::builder(url)
        .codec(Raw)
        .max_staleness(long)
        .heartbeat(Duration::from_millis(10))
        .connection_timeout(long)
        .response_timeout(long)
}

async fn near(server: &Server) -> NearCache<String> {
    builder(&server.url()).connect().await.unwrap()
}

/// Waits until this holds, and fails with the name of what did not come about.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "not within twenty seconds: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until all that the server did before this call is applied to the L1.
async fn settle(near: &NearCache<String>) {
    let begin = Instant::now();
    until("a reply", || near.status().age < begin.elapsed()).await;
}

/// Kills the connections with tracking, and no others.
async fn kill_trackers(connection: &mut MultiplexedConnection) {
    let list: String = redis::cmd("CLIENT").arg("LIST").query_async(connection).await.unwrap();
    for client in list.lines().filter(|line| line.contains(" flags=t ")) {
        let id = client.split(' ').next().unwrap().strip_prefix("id=").unwrap();
        server::tell(connection, &format!("CLIENT KILL ID {id}")).await;
    }
}

/// Makes a test for each of these functions, which it runs with each server that there is.
macro_rules! on_each_server {
    ($($(#[$attribute:meta])* async fn $name:ident($server:ident: &mut Server) $body:block)*) => {
        $(
            $(#[$attribute])*
            #[test]
            fn $name() {
                async fn test($server: &mut crate::tests::server::Server) $body
                crate::tests::server::with_each(stringify!($name), async |server| {
                    test(server).await;
                });
            }
        )*
    };
}
pub(crate) use on_each_server;
