//! Each promise of the crate, and a defect with which its test fails.

use super::proxy::{Network, Proxy};
use super::server::Server;
use super::stress::{Seen, duration, stress, stress_both};
use super::{
    Key, builder, config, connect, get, group, keys_of, on_a_server, position, raise, read, until,
    with_defect,
};
use crate::planted::Defect;
use crate::{Fence, PgCache};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

const LONG: Duration = Duration::from_secs(20);

/// How often a transaction of three rows was seen half applied: some of its entries gone and some
/// not. Nothing is read from the server meanwhile, so each entry only goes.
async fn halves(cache: &PgCache<Key, i64>, server: &Server) -> u32 {
    let (reader, writer) = (server.client().await, server.client().await);
    let mut halves = 0;
    for _ in 0..50 {
        get(cache, &reader, group(1)).await;
        let watched = cache.cache().clone();
        let watch = tokio::task::spawn_blocking(move || {
            let mut halves = 0;
            loop {
                let present = watched.get_many(&group(1)).iter().flatten().count();
                if present == 0 {
                    return halves;
                }
                halves += u32::from(present < 3);
            }
        });
        writer.run(&raise(1)).await.unwrap();
        halves += timeout(LONG, watch).await.unwrap().unwrap();
    }
    halves
}

/// Reads a group, whose transaction commits between the read and its end. Returns whether the old
/// values are served afterwards.
async fn serves_what_was_overtaken(server: &Server, defect: Option<Defect>) -> bool {
    let cache = with_defect(server, defect).await;
    let (reader, writer) = (server.client().await, server.client().await);
    let before = cache.status().transactions;
    let load = async {
        let loaded = read(&reader, group(1)).await.unwrap();
        writer.run(&raise(1)).await.unwrap();
        until("the change is applied", || cache.status().transactions > before).await;
        Ok::<_, ()>(loaded)
    };
    let old = cache.get_many(group(1), load).await.unwrap();
    let now = cache.get_local(&group(1));
    now == Some(old)
}

/// Reads a group of which the server tells a change before it makes it visible. Returns whether the
/// old values are served when it is visible.
async fn serves_what_was_hidden(server: &Server, defect: Option<Defect>) -> bool {
    let cache = with_defect(server, defect).await;
    let (reader, writer) = (server.client().await, server.client().await);
    let [old, ..] = get(&cache, &reader, group(1)).await;
    server.tell("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    server.ask("SELECT pg_reload_conf()").await;
    sleep(Duration::from_millis(300)).await;
    let before = cache.status().transactions;
    let commit = tokio::spawn(async move { writer.run(&raise(1)).await.unwrap() });
    until("the change is applied", || cache.status().transactions > before).await;
    assert_eq!(get(&cache, &reader, group(1)).await, [old; 3], "nobody sees the change yet");
    server.tell("ALTER SYSTEM RESET synchronous_standby_names").await;
    server.ask("SELECT pg_reload_conf()").await;
    timeout(LONG, commit).await.unwrap().unwrap();
    let hidden = cache.status().hidden;
    assert!(defect.is_some() || hidden > 0, "{hidden}");
    let now = get(&cache, &reader, group(1)).await;
    now == [old; 3]
}

/// Reads one entry of a group anew while the network withholds a change of the group. Returns
/// whether a view has it beside entries that the change replaced.
async fn tears_if_the_stream_is_late(server: &Server, defect: Option<Defect>) -> bool {
    let proxy = Proxy::start(server.port()).await;
    let cache = connect(builder(proxy.port()).plant(defect)).await;
    let (reader, writer) = (server.client().await, server.client().await);
    get(&cache, &reader, group(1)).await;
    cache.cache().remove(&("user", 1)); // as an eviction does
    proxy.set(Network::Withholds);
    writer.run(&raise(1)).await.unwrap();
    let _ = timeout(Duration::from_millis(300), get(&cache, &reader, [("user", 1)])).await;
    let view = cache.view().unwrap();
    let known: Vec<_> = group(1).iter().filter_map(|key| view.get(key).copied()).collect();
    assert!(known.contains(&1), "the change was not told of");
    proxy.set(Network::Passes);
    assert_eq!(get(&cache, &reader, [("user", 1)]).await, [2]);
    known.contains(&2)
}

/// Runs readers of two caches with this defect.
async fn stress_with(server: &Server, defect: Option<Defect>) -> Seen {
    let caches = [with_defect(server, defect).await, with_defect(server, defect).await];
    stress(server, &caches, sleep(duration())).await
}

on_a_server! {
    async fn whole_beside_writers(server: &mut Server) {
        let caches = [with_defect(server, None).await, with_defect(server, None).await];
        let [seen, row_by_row] = stress_both(server, &caches, sleep(duration())).await;
        eprintln!("by transactions: {seen:?}\nrow by row: {row_by_row:?}, `stale` not counted");
        for cache in &caches {
            eprintln!("{:?}", cache.status());
        }
        assert_eq!(seen, Seen { reads: seen.reads, ..Seen::default() });
        assert!(seen.reads > 200 && caches.iter().all(|it| it.status().transactions > 50));
        let torn = row_by_row.torn_groups + row_by_row.torn_views + row_by_row.backwards;
        assert!(torn > 0, "the same run shows what is torn");
    }

    async fn whole_if_the_stream_is_late(server: &mut Server) {
        assert!(!tears_if_the_stream_is_late(server, None).await);
    }

    async fn without_waiting_for_the_stream_it_tears(server: &mut Server) {
        assert!(tears_if_the_stream_is_late(server, Some(Defect::NoWait)).await);
    }

    async fn a_transaction_is_one_commit(server: &mut Server) {
        let cache = with_defect(server, None).await;
        assert_eq!(halves(&cache, server).await, 0);
    }

    async fn row_by_row_it_is_not(server: &mut Server) {
        let cache = with_defect(server, Some(Defect::RowByRow)).await;
        assert!(halves(&cache, server).await > 0);
    }

    async fn nothing_is_resurrected(server: &mut Server) {
        assert!(!serves_what_was_overtaken(server, None).await);
    }

    async fn without_a_lease_it_is(server: &mut Server) {
        assert!(serves_what_was_overtaken(server, Some(Defect::NoLease)).await);
    }

    async fn what_is_told_before_it_is_visible_is_not_cached_as_it_was(server: &mut Server) {
        assert!(!serves_what_was_hidden(server, None).await);
    }

    async fn without_asking_the_snapshot_it_is(server: &mut Server) {
        assert!(serves_what_was_hidden(server, Some(Defect::HiddenIgnored)).await);
    }

    async fn own_writes_are_seen(server: &mut Server) {
        let cache = with_defect(server, None).await;
        let (reader, writer) = (server.client().await, server.client().await);
        for round in 2..100 {
            get(&cache, &reader, group(1)).await;
            writer.run(&raise(1)).await.unwrap();
            cache.wait_for(position(&writer).await).await;
            assert_eq!(get(&cache, &reader, group(1)).await, [round; 3]);
        }
        assert!(cache.status().transactions >= 98);
    }

    async fn without_waiting_own_writes_are_missed(server: &mut Server) {
        let cache = with_defect(server, Some(Defect::NoWait)).await;
        let (reader, writer) = (server.client().await, server.client().await);
        let mut missed = 0;
        for round in 2..100 {
            get(&cache, &reader, group(1)).await;
            writer.run(&raise(1)).await.unwrap();
            cache.wait_for(position(&writer).await).await;
            missed += u32::from(get(&cache, &reader, group(1)).await != [round; 3]);
        }
        assert!(missed > 0);
    }

    /// The log of the other transaction is not flushed, and so not sent, as long as nobody commits.
    async fn a_transaction_that_stays_open_holds_nobody_up(server: &mut Server,
        ["bgwriter_delay=10s"]) {
        let cache = with_defect(server, None).await;
        let (reader, writer) = (server.client().await, server.client().await);
        writer.run("BEGIN; INSERT INTO users VALUES (100, 1)").await.unwrap();
        let begin = Instant::now();
        get(&cache, &reader, group(1)).await;
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        assert!(cache.get_local(&group(1)).is_some());
        assert!(cache.status().flushes > 0);
        drop(writer);
    }

    /// A user with few rights, whose sessions only read if they do not ask for more.
    async fn a_user_with_few_rights_is_enough(server: &mut Server,
        ["bgwriter_delay=10s"]) {
        server.tell("CREATE ROLE follower LOGIN REPLICATION").await;
        server.tell("ALTER ROLE follower SET default_transaction_read_only = on").await;
        let mut config = config(server.port());
        config.user = "follower".to_owned();
        let cache = connect(PgCache::<Key, i64>::builder(config).keys(keys_of)).await;
        let (reader, writer) = (server.client().await, server.client().await);
        writer.run("BEGIN; INSERT INTO users VALUES (100, 1)").await.unwrap();
        get(&cache, &reader, group(1)).await;
        assert!(cache.status().flushes > 0);
        writer.run("ROLLBACK").await.unwrap();
        writer.run(&raise(1)).await.unwrap();
        cache.wait_for(position(&writer).await).await;
        assert_eq!(get(&cache, &reader, group(1)).await, [2; 3]);
        assert_eq!(cache.status().streams, 1);
    }

    async fn without_a_flush_it_does(server: &mut Server,
        ["bgwriter_delay=10s"]) {
        let cache = with_defect(server, Some(Defect::NoFlush)).await;
        let (reader, writer) = (server.client().await, server.client().await);
        writer.run("BEGIN; INSERT INTO users VALUES (100, 1)").await.unwrap();
        let wait = timeout(Duration::from_secs(2), get(&cache, &reader, group(1)));
        assert!(wait.await.is_err());
        drop(writer);
    }

    /// Asynchronous commits are visible before they are in the log.
    async fn whole_with_asynchronous_commits(server: &mut Server,
        ["synchronous_commit=off", "wal_writer_delay=50ms"]) {
        let seen = stress_with(server, None).await;
        assert_eq!(seen, Seen { reads: seen.reads, ..Seen::default() });
    }

    async fn truncate_ends_everything(server: &mut Server) {
        let cache = with_defect(server, None).await;
        let (reader, writer) = (server.client().await, server.client().await);
        get(&cache, &reader, group(1)).await;
        writer.run("TRUNCATE feeds").await.unwrap();
        cache.wait_for(position(&writer).await).await;
        assert_eq!(cache.get_local(&[("user", 1)]), None);
        assert_eq!(get(&cache, &reader, group(1)).await, [1, 1, 0]);
        assert_eq!(cache.status().cleared, 1);
    }

    /// A row moves to another user, and the server does not say from whom.
    async fn a_row_whose_key_is_not_sent_ends_everything(server: &mut Server) {
        server.tell(
            "CREATE TABLE posts (id int PRIMARY KEY, user_id bigint, revision bigint);
             INSERT INTO posts VALUES (1, 1, 5); ALTER PUBLICATION app ADD TABLE posts"
        ).await;
        let keys = |row: &crate::Row<'_>, keys: &mut Vec<Key>| {
            if row.table() == "posts" {
                let user = row.get("user_id")?.and_then(|id| id.parse().ok());
                keys.extend(user.map(|id| ("feed", id)));
            }
            Ok(())
        };
        let cache = connect(builder(server.port()).keys(keys)).await;
        let (reader, writer) = (server.client().await, server.client().await);
        get(&cache, &reader, group(1)).await;
        let moved = "UPDATE posts SET user_id = 2 WHERE id = 1";
        writer.run(moved).await.unwrap();
        cache.wait_for(position(&writer).await).await;
        assert_eq!((cache.get_local(&[("feed", 1)]), cache.status().cleared), (None, 1));
        // With the column in the replica identity, only the two users' entries end.
        writer.run("ALTER TABLE posts REPLICA IDENTITY FULL").await.unwrap();
        get(&cache, &reader, group(1)).await;
        writer.run("UPDATE posts SET user_id = 1 WHERE id = 1").await.unwrap();
        cache.wait_for(position(&writer).await).await;
        assert_eq!((cache.get_local(&[("feed", 1)]), cache.status().cleared), (None, 1));
        assert_eq!(cache.get_local(&[("user", 1)]), Some([1]));
    }

    async fn a_failed_load_is_its_caller_s(server: &mut Server) {
        let cache = with_defect(server, None).await;
        let failed = cache.get(("user", 1), async { Err::<(Fence, i64), _>("no") }).await;
        assert_eq!(failed, Err("no"));
        let client = server.client().await;
        assert_eq!(get(&cache, &client, [("user", 1)]).await, [1]);
        let again = cache.get(("user", 1), async { Err::<(Fence, i64), _>("no") }).await;
        assert_eq!(again, Ok(1), "it is cached");
    }

    async fn many_callers_make_one_load(server: &mut Server) {
        let cache = with_defect(server, None).await;
        let mut tasks = Vec::new();
        for _ in 0..100 {
            let (cache, client) = (cache.clone(), server.client());
            let client = if tasks.len() < 10 { Some(client.await) } else { None };
            tasks.push(tokio::spawn(async move {
                cache.get(("user", 1), async {
                    sleep(Duration::from_millis(200)).await;
                    let client = client.as_ref().ok_or("a later caller loads")?;
                    let (fence, [value]) = read(client, [("user", 1)]).await.unwrap();
                    Ok::<_, &str>((fence, value))
                }).await
            }));
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(1));
        }
        assert_eq!(cache.status().loads, 1);
    }
}
