//! What goes wrong in production.

use super::proxy::{Network, Proxy};
use super::server::Server;
use super::stress::{Chance, Seen, duration, stress};
use super::{
    Key, builder, config, connect, get, group, keys_of, on_a_server, position, raise, until,
};
use crate::planted::Defect;
use crate::{Error, PgCache};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Ends the sessions of all caches, and no others.
const END_STREAMS: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'coeval'";

/// A cache that gives up soon.
async fn hasty(port: u16, defect: Option<Defect>) -> PgCache<Key, i64> {
    let second = Duration::from_secs(1);
    connect(builder(port).max_staleness(second).dead_after(second).plant(defect)).await
}

/// Whether old values are served once it is more than `max_staleness` after a change that the
/// network has not delivered.
async fn serves_old_values(server: &Server, defect: Option<Defect>) -> bool {
    let proxy = Proxy::start(server.port()).await;
    let bound = Duration::from_millis(500);
    let cache = connect(builder(proxy.port()).max_staleness(bound).plant(defect)).await;
    let (reader, writer) = (server.client().await, server.client().await);
    get(&cache, &reader, group(1)).await;
    proxy.set(Network::Withholds);
    writer.run(&raise(1)).await.unwrap();
    let changed = Instant::now();
    let mut last = changed;
    while changed.elapsed() < 3 * bound {
        let now = Instant::now();
        if cache.get_local(&group(1)) == Some([1; 3]) {
            last = now;
        }
        sleep(Duration::from_millis(1)).await;
    }
    assert!(last > changed, "for a while they are served");
    last - changed > bound
}

/// Whether old values are served after the stream has broken and nothing is known of a change.
async fn serves_past_a_break(server: &Server, defect: Option<Defect>) -> bool {
    let proxy = Proxy::start(server.port()).await;
    let cache = connect(builder(proxy.port()).plant(defect)).await;
    let (reader, writer) = (server.client().await, server.client().await);
    get(&cache, &reader, group(1)).await;
    proxy.set(Network::Cut);
    until("the break is noticed", || cache.status().last_failure.is_some()).await;
    writer.run(&raise(1)).await.unwrap();
    let old = get(&cache, &reader, group(1)).await == [1; 3];
    proxy.set(Network::Passes);
    until("there is a new stream", || cache.status().streams == 2).await;
    old || get(&cache, &reader, group(1)).await == [1; 3]
}

/// One fault after the other, by chance.
async fn go_wrong(server: &Server, proxy: &Proxy) {
    let mut chance = Chance(4242);
    let client = server.client().await;
    let begin = Instant::now();
    while begin.elapsed() < 2 * duration() {
        match chance.below(4) {
            0 => client.run(END_STREAMS).await.unwrap(),
            1 => proxy.set(Network::Withholds),
            2 => proxy.set(Network::Cut),
            _ => proxy.set(Network::Splits),
        }
        let longest = if chance.below(4) == 0 { 1_500 } else { 250 };
        sleep(Duration::from_millis(chance.below(longest) as u64)).await;
        proxy.set(Network::Passes);
        sleep(Duration::from_millis(chance.below(100) as u64)).await;
    }
}

on_a_server! {
    async fn age_is_bounded_if_the_network_is_silent(server: &mut Server) {
        assert!(!serves_old_values(server, None).await);
    }

    async fn without_the_bound_it_is_not(server: &mut Server) {
        assert!(serves_old_values(server, Some(Defect::NoBound)).await);
    }

    /// Nothing changes, and hits go on: the heartbeat knows by itself that all is up to date.
    async fn a_quiet_server_is_not_taken_for_a_dead_one(server: &mut Server) {
        let cache = connect(builder(server.port()).max_staleness(Duration::from_secs(1))).await;
        let client = server.client().await;
        get(&cache, &client, group(1)).await;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(3) {
            assert_eq!(cache.get_local(&group(1)), Some([1; 3]), "{:?}", cache.status());
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(cache.status().streams, 1);
    }

    async fn a_break_clears_the_cache(server: &mut Server) {
        assert!(!serves_past_a_break(server, None).await);
    }

    async fn without_clearing_old_values_are_served(server: &mut Server) {
        assert!(serves_past_a_break(server, Some(Defect::BreakIgnored)).await);
    }

    async fn a_server_that_is_killed_comes_back(server: &mut Server) {
        let cache = hasty(server.port(), None).await;
        let client = server.client().await;
        get(&cache, &client, group(1)).await;
        server.end("-QUIT");
        until("the break is noticed", || cache.get_local(&group(1)).is_none()).await;
        let failed = cache.get_many(group(1), super::read(&client, group(1))).await;
        assert!(failed.is_err(), "the database is down, and nothing is served in its place");
        server.restart();
        server.tell(&raise(1)).await;
        let client = server.client().await;
        assert_eq!(get(&cache, &client, group(1)).await, [2; 3], "with a stream or without");
        until("there is a new stream", || cache.status().streams == 2).await;
        assert_eq!(get(&cache, &client, group(1)).await, [2; 3]);
        assert!(cache.get_local(&group(1)).is_some());
    }

    async fn a_slot_that_is_taken_away_is_a_break(server: &mut Server) {
        let cache = hasty(server.port(), None).await;
        let client = server.client().await;
        get(&cache, &client, group(1)).await;
        let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots";
        client.run(end).await.unwrap();
        until("the break is noticed", || cache.status().last_failure.is_some()).await;
        until("there is a new stream", || cache.status().streams == 2).await;
        client.run(&raise(1)).await.unwrap();
        cache.wait_for(position(&client).await).await;
        assert_eq!(get(&cache, &client, group(1)).await, [2; 3]);
    }

    /// A new stream cannot begin before the transactions end that are writing.
    async fn reads_go_past_the_cache_while_there_is_no_stream(server: &mut Server) {
        let cache = hasty(server.port(), None).await;
        let (client, writer) = (server.client().await, server.client().await);
        writer.run("BEGIN; INSERT INTO users VALUES (100, 1)").await.unwrap();
        client.run(END_STREAMS).await.unwrap();
        until("the break is noticed", || cache.status().last_failure.is_some()).await;
        for revision in 2..20 {
            client.run(&raise(1)).await.unwrap();
            cache.wait_for(position(&client).await).await;
            assert_eq!(get(&cache, &client, group(1)).await, [revision; 3]);
            assert_eq!(cache.get_local(&group(1)), None);
        }
        writer.run("ROLLBACK").await.unwrap();
        until("there is a new stream", || cache.status().streams == 2).await;
        get(&cache, &client, group(1)).await;
        assert_eq!(cache.get_local(&group(1)), Some([19; 3]));
    }

    async fn whole_through_all_faults(server: &mut Server) {
        let proxy = Proxy::start(server.port()).await;
        let caches = [hasty(proxy.port(), None).await, hasty(proxy.port(), None).await];
        let seen = stress(server, &caches, go_wrong(server, &proxy)).await;
        let streams = caches.each_ref().map(|cache| cache.status().streams);
        eprintln!("{seen:?}, streams: {streams:?}");
        assert_eq!(seen, Seen { reads: seen.reads, ..Seen::default() });
        assert!(streams.iter().all(|&streams| streams > 1));
    }

    async fn a_shutdown_is_not_held_up(server: &mut Server) {
        let cache = hasty(server.port(), None).await;
        server.tell(&raise(1)).await;
        let begin = Instant::now();
        server.end("-INT");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        until("the break is noticed", || !cache.status().serves_hits).await;
    }

    async fn what_is_set_up_wrongly_is_told(server: &mut Server) {
        let refused = |config| async {
            let builder = PgCache::<Key, i64>::builder(config).keys(keys_of);
            builder.connect(coeval::Cache::<Key, i64>::new()).await.unwrap_err()
        };
        let mut missing = config(server.port());
        missing.publication = "missing".into();
        let error = refused(missing).await;
        assert!(matches!(&error, Error::Publication(name) if name == "missing"), "{error}");
        server.tell("CREATE PUBLICATION inserts FOR TABLE users WITH (publish = 'insert')").await;
        let mut inserts = config(server.port());
        inserts.publication = "inserts".into();
        let error = refused(inserts).await;
        assert!(matches!(error, Error::Publication(_)), "{error}");
        let mut nobody = config(server.port());
        nobody.user = "nobody".into();
        let error = refused(nobody).await;
        assert!(error.to_string().contains("nobody"), "{error}");
        let error = refused(config(1)).await;
        assert!(matches!(error, Error::Server(_)), "{error}");
        let unnamed = PgCache::<Key, i64>::builder(config(server.port()));
        let error = unnamed.connect(coeval::Cache::<Key, i64>::new()).await.unwrap_err();
        assert!(matches!(error, Error::Setting(_)), "{error}");
    }
}
