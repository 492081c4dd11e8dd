//! What goes wrong in production.

use super::proxy::{Network, Proxy};
use super::server::{Server, tell};
use super::stress::{Chance, Seen, duration, stress_during};
use super::{builder, kill_trackers, near, on_each_server, settle, until};
use crate::{Error, Local, NearCache, OnDisconnect};
use std::future::pending;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// `count` keys with values, as somebody else sets them.
async fn fill(server: &Server, count: usize, value: &str) -> Vec<String> {
    let keys: Vec<String> = (0..count).map(|at| format!("many:{at}")).collect();
    let mut connection = server.other().await;
    for part in keys.chunks(1_000) {
        let mut command = redis::cmd("MSET");
        for key in part {
            command.arg(key).arg(value);
        }
        command.exec_async(&mut connection).await.unwrap();
    }
    keys
}

async fn read_all(near: &NearCache<String>, keys: &[String]) {
    for part in keys.chunks(1_000) {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        near.get_many(&part).await.unwrap();
    }
}

fn known(near: &NearCache<String>, keys: &[String]) -> usize {
    keys.iter().filter(|key| near.get_local(key).is_known()).count()
}

/// One fault after the other, by chance.
async fn go_wrong(server: &Server, proxy: &Proxy) {
    let mut chance = Chance(4242);
    let mut other = server.other().await;
    let begin = Instant::now();
    while begin.elapsed() < duration() {
        match chance.below(8) {
            0 => kill_trackers(&mut other).await,
            1 => drop(tell(&mut other, "FLUSHALL").await),
            2 => drop(tell(&mut other, "CLIENT PAUSE 30 ALL").await),
            3 => proxy.set(Network::Withholds),
            4 => proxy.set(Network::WithholdsReplies),
            5 => proxy.set(Network::SplitsReplies),
            _ => proxy.set(Network::DelaysParts),
        }
        tokio::time::sleep(Duration::from_millis(chance.below(250) as u64)).await;
        proxy.set(Network::Passes);
        tokio::time::sleep(Duration::from_millis(chance.below(50) as u64)).await;
    }
}

/// A runtime that a test can end.
pub fn another_runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

/// Has the status say, and each call, that the runtime is gone.
pub async fn has_no_runtime(near: &NearCache<String>, key: &str) {
    let failure = || near.status().last_failure.unwrap_or_default();
    until("the reason", || failure().contains("runtime")).await;
    let read = timeout(Duration::from_secs(20), near.get(key)).await.expect("at once");
    let write = near.multi().del(key).exec();
    let write = timeout(Duration::from_secs(20), write).await.expect("at once");
    for error in [read.unwrap_err(), write.unwrap_err()] {
        assert!(matches!(error, Error::Down { .. }), "{error:?}");
        assert!(error.to_string().contains("runtime"), "{error}");
    }
}

on_each_server! {
    async fn whole_through_all_faults(server: &mut Server) {
        let proxy = Proxy::start(server.port()).await;
        let mut caches = Vec::new();
        for mode in [OnDisconnect::Refuse, OnDisconnect::ServeWithinMaxStaleness] {
            let near = builder(&proxy.url())
                .on_disconnect(mode)
                .connection_timeout(Duration::from_millis(50))
                .response_timeout(Duration::from_millis(50))
                .max_staleness(Duration::from_secs(1))
                .dead_after(Duration::from_millis(100));
            caches.push(near.connect().await.unwrap());
        }
        let seen = stress_during(server, &caches, false, go_wrong(server, &proxy)).await;
        let links: Vec<u64> = caches.iter().map(|near| near.status().connections).collect();
        eprintln!("{seen:?}, connections: {links:?}");
        let expected = Seen { reads: seen.reads, failed: seen.failed, ..Seen::default() };
        assert_eq!(seen, expected);
        assert!(seen.reads > 20 && seen.failed > 0, "{seen:?}");
        assert!(links.iter().all(|links| *links > 1), "{links:?}");
    }

    async fn a_server_that_is_killed_and_comes_back_empty(server: &mut Server) {
        for mode in [OnDisconnect::Refuse, OnDisconnect::ServeWithinMaxStaleness] {
            let near = builder(&server.url()).on_disconnect(mode).connect().await.unwrap();
            server.tell("MSET one 1 two 1").await;
            near.get_many(&["one", "two"]).await.unwrap();
            server.kill();
            until("the break", || !near.status().connected).await;
            if mode == OnDisconnect::Refuse {
                // The break is noted, then the L1 is cleared.
                until("the clearing", || near.cache().is_empty()).await;
                assert_eq!(near.get_local("one"), Local::Unknown);
                assert!(near.view().is_none());
            }
            server.restart();
            until("a connection", || near.status().connected).await;
            assert!(!near.get_local("one").is_known() && !near.get_local("two").is_known());
            assert_eq!(near.get_many(&["one", "two"]).await.unwrap(), [None, None]);
        }
    }

    async fn a_server_that_is_down_costs_a_bounded_wait(server: &mut Server) {
        let wait = Duration::from_millis(100);
        let near = builder(&server.url()).connection_timeout(wait).connect().await.unwrap();
        server.kill();
        until("the break", || !near.status().connected).await;
        until("an attempt", || near.status().last_failure.is_some()).await;
        let begin = Instant::now();
        let error = near.get("key").await.unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, Error::Down { .. }), "{error:?}");
        assert!(begin.elapsed() < wait * 5, "{:?}", begin.elapsed());
        assert!(message.starts_with("no connection to the server within 100ms; "), "{message}");
        let write = near.multi().set("key", &"1".to_owned()).exec().await.unwrap_err();
        assert!(matches!(write, Error::Down { .. }), "{write:?}");
        let failed = builder(&server.url()).connect().await.unwrap_err();
        assert!(matches!(failed, Error::Connect(_)), "{failed:?}");
        let message = failed.to_string();
        assert!(message.starts_with("could not connect to the server: "), "{message}");
        let failed = builder("nowhere").connect().await.unwrap_err();
        assert!(matches!(failed, Error::Connect(_)), "{failed:?}");
        server.restart();
        assert!(matches!(near.get("key").await, Ok(None) | Err(Error::Down { .. })));
        until("a connection", || near.status().connected).await;
        assert_eq!(near.get("key").await.unwrap(), None);
    }

    async fn a_killed_connection_is_replaced(server: &mut Server) {
        let near = near(server).await;
        for round in 1..=5 {
            near.get("key").await.unwrap();
            assert!(near.get_local("key").is_known());
            server.tell("CLIENT KILL TYPE normal SKIPME yes").await;
            until("a new connection", || near.status().connections > round).await;
            until("hits", || near.status().serves_hits).await;
            assert!(!near.get_local("key").is_known());
        }
        // The new connection is told of changes.
        near.get("key").await.unwrap();
        server.tell("SET key told").await;
        settle(&near).await;
        assert_eq!(near.get_local("key"), Local::Unknown);
    }

    async fn a_pause_costs_a_bounded_wait(server: &mut Server) {
        let answer = Duration::from_millis(100);
        let near = builder(&server.url())
            .response_timeout(answer)
            .max_staleness(answer * 2)
            .dead_after(Duration::from_secs(10))
            .connect()
            .await
            .unwrap();
        server.tell("SET key 1").await;
        near.get("key").await.unwrap();
        server.tell("CLIENT PAUSE 700 ALL").await;
        let begin = Instant::now();
        let read = near.get("another").await.unwrap_err();
        assert!(matches!(read, Error::Lost(_)), "{read:?}");
        let write = near.multi().set("key", &"2".to_owned()).exec().await.unwrap_err();
        assert!(matches!(write, Error::Unknown(_)), "{write:?}");
        assert!(begin.elapsed() < answer * 6, "{:?}", begin.elapsed());
        // Own writes without an outcome leave nothing behind.
        assert_eq!(near.get_local("key"), Local::Unknown);
        until("no hits, since nothing is heard", || !near.status().serves_hits).await;
        until("hits", || near.status().serves_hits).await;
        assert_eq!(near.status().connections, 1, "a pause is no break");
        assert_eq!(near.get("key").await.unwrap().as_deref(), Some("2"), "it was done after all");
    }

    async fn a_pause_of_writes_lets_reads_pass(server: &mut Server) {
        let near = near(server).await;
        server.tell("SET key 1 PX 50").await;
        near.get("key").await.unwrap();
        server.tell("CLIENT PAUSE 400 WRITE").await;
        tokio::time::sleep(Duration::from_millis(60)).await;
        // It is over, and the server tells nobody.
        assert_eq!(near.get_local("key"), Local::Unknown);
        assert_eq!(near.get_many(&["key", "other"]).await.unwrap(), [None, None]);
        server.tell("CLIENT UNPAUSE").await;
    }

    async fn a_network_that_swallows_everything(server: &mut Server) {
        let proxy = Proxy::start(server.port()).await;
        let near = builder(&proxy.url())
            .connection_timeout(Duration::from_millis(500))
            .dead_after(Duration::from_millis(500))
            .connect()
            .await
            .unwrap();
        server.tell("SET key 1").await;
        near.get("key").await.unwrap();
        let core = near.core();
        let first = core.route(0).await.unwrap();
        // A read in flight, whose reply comes when its connection has long been replaced.
        proxy.set(Network::WithholdsReplies);
        let late = core.mark("late", &first);
        let mut connection = first.link.connection().unwrap();
        let in_flight = tokio::spawn(async move { tell(&mut connection, "GET key").await });
        until("the break is noticed", || !near.status().connected).await;
        server.tell("SET key 2").await;
        assert!(near.get("key").await.is_err());
        proxy.set(Network::Passes);
        until("a new connection", || near.status().connections >= 2).await;
        until("hits", || near.status().serves_hits).await;
        assert_eq!(in_flight.await.unwrap(), redis::Value::BulkString(b"1".to_vec()));
        core.install(late, &first, Some("1".to_owned()), crate::held::NEVER);
        assert_eq!(near.get_local("late"), Local::Unknown);
        assert_eq!(near.get("key").await.unwrap().as_deref(), Some("2"));
        // A caller of the old connection gets its answer. It may be later than what is known by the
        // new one, which has yet to be told.
        let mut get = redis::pipe();
        get.cmd("GET").arg("another");
        assert!(near.get_local("key").is_known());
        assert!(core.send(&first, &get).await.is_ok_and(|answer| !answer.is_direct));
        assert!(!near.get_local("key").is_known());
    }

    async fn flushall_ends_all_entries_at_once(server: &mut Server) {
        let near = near(server).await;
        let count = 100_000;
        let keys = fill(server, count, "1").await;
        read_all(&near, &keys).await;
        assert_eq!(known(&near, &keys), count);
        let looking = tokio::spawn({
            let (near, keys) = (near.clone(), keys.clone());
            async move {
                let (first, last) = (&keys[0], &keys[keys.len() - 1]);
                loop {
                    let view = near.view().unwrap();
                    let [first, last] = [view.get(first).is_known(), view.get(last).is_known()];
                    assert_eq!(first, last, "half of a flush");
                    if !first {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            }
        });
        server.tell("FLUSHALL").await;
        settle(&near).await;
        assert_eq!(known(&near, &keys), 0);
        looking.await.unwrap();
        assert_eq!(near.get(&keys[0]).await.unwrap(), None);
    }

    async fn what_the_server_evicts_is_dropped(server: &mut Server) {
        let near = near(server).await;
        let keys = fill(server, 300, &"x".repeat(10_000)).await;
        read_all(&near, &keys).await;
        assert_eq!(known(&near, &keys), 300);
        let mut connection = server.other().await;
        let info: String =
            redis::cmd("INFO").arg("memory").query_async(&mut connection).await.unwrap();
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        let limit = used.parse::<u64>().unwrap() - 1_000_000;
        tell(&mut connection, "CONFIG SET maxmemory-policy allkeys-random").await;
        tell(&mut connection, &format!("CONFIG SET maxmemory {limit}")).await;
        // The server evicts when it is given a command that may need memory.
        for at in 0..20 {
            tell(&mut connection, &format!("SET filler{at} 1")).await;
        }
        tell(&mut connection, "CONFIG SET maxmemory 0").await;
        settle(&near).await;
        let mut evicted = 0;
        for key in &keys {
            let exists: bool =
                redis::cmd("EXISTS").arg(key).query_async(&mut connection).await.unwrap();
            evicted += usize::from(!exists);
            assert!(exists || !near.get_local(key).is_known(), "{key}");
        }
        assert!(evicted > 0);
        assert_eq!(known(&near, &keys), 300 - evicted);
    }

    async fn what_expires_on_the_server_is_dropped_in_time(server: &mut Server) {
        let near = near(server).await;
        let mut connection = server.other().await;
        for at in 0..100 {
            let time = 50 + at % 10 * 10;
            tell(&mut connection, &format!("SET brief:{at} 1 PX {time}")).await;
        }
        let begin = Instant::now();
        let keys: Vec<String> = (0..100).map(|at| format!("brief:{at}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        while begin.elapsed() < Duration::from_millis(250) {
            // Read before the L1 is: what has no value on the server by then has none here.
            let truth: Vec<Option<String>> =
                redis::cmd("MGET").arg(&keys).query_async(&mut connection).await.unwrap();
            for (key, truth) in keys.iter().zip(truth) {
                let local = near.get_local(key);
                assert!(truth.is_some() || local.present().is_none(), "{key}");
            }
            near.get_many(&keys).await.unwrap();
        }
        assert!(near.get_many(&keys).await.unwrap().iter().all(Option::is_none));
    }

    async fn a_thousand_tasks_on_one_key_make_one_read(server: &mut Server) {
        let proxy = Proxy::start(server.port()).await;
        let near = builder(&proxy.url()).connect().await.unwrap();
        server.tell("SET hot 1").await;
        proxy.set(Network::Withholds);
        let tasks: Vec<_> = (0..1_000)
            .map(|_| {
                let near = near.clone();
                tokio::spawn(async move { near.get("hot").await.unwrap() })
            })
            .collect();
        until("the first is under way", || near.status().reads == 1).await;
        proxy.set(Network::Passes);
        for task in tasks {
            assert_eq!(task.await.unwrap().as_deref(), Some("1"));
        }
        assert_eq!(near.status().reads, 1);
    }

    async fn a_caller_who_gives_up_holds_up_nobody(server: &mut Server) {
        let proxy = Proxy::start(server.port()).await;
        let near = builder(&proxy.url()).connect().await.unwrap();
        server.tell("SET key 1").await;
        near.get("key").await.unwrap();
        proxy.set(Network::Withholds);
        let short = Duration::from_millis(10);
        assert!(tokio::time::timeout(short, near.get("other")).await.is_err());
        let value = "2".to_owned();
        let write = near.multi().set("key", &value).exec();
        assert!(tokio::time::timeout(short, write).await.is_err());
        assert_eq!(near.get_local("key"), Local::Unknown, "its outcome is unknown");
        proxy.set(Network::Passes);
        assert_eq!(near.get("other").await.unwrap(), None);
        // Sent before, on the same connection, so done before.
        assert_eq!(near.get("key").await.unwrap().as_deref(), Some("2"));
    }

    async fn other_types_and_unreadable_bytes_are_errors(server: &mut Server) {
        let near = near(server).await;
        server.tell("LPUSH list 1").await;
        let error = near.get("list").await.unwrap_err();
        assert!(matches!(error, Error::Server(_)), "{error:?}");
        assert_eq!(near.get_many(&["list", "nothing"]).await.unwrap(), [None, None]);
        // Also if it is the only one that is asked for.
        assert_eq!(near.get_local("nothing"), Local::Absent);
        assert_eq!(near.get_many(&["nothing", "list"]).await.unwrap(), [None, None]);
        assert_eq!(near.get_many(&["list"]).await.unwrap(), [None]);
        assert_eq!(near.get_local("list"), Local::Unknown);
        let mut other = server.other().await;
        redis::cmd("SET").arg("bytes").arg(b"\xff").exec_async(&mut other).await.unwrap();
        assert!(matches!(near.get("bytes").await.unwrap_err(), Error::Codec(_)));
        assert_eq!(near.get_local("bytes"), Local::Unknown);
    }

    async fn the_end_of_the_runtime_is_told(server: &mut Server) {
        server.tell("SET key 1").await;
        for mode in [OnDisconnect::Refuse, OnDisconnect::ServeWithinMaxStaleness] {
            let runtime = another_runtime();
            let builder = builder(&server.url()).on_disconnect(mode);
            let builder = builder.max_staleness(Duration::from_millis(300));
            let connect = builder.connection_timeout(Duration::MAX).connect();
            let near = runtime.spawn(connect).await.unwrap().unwrap();
            assert_eq!(near.get("key").await.unwrap().as_deref(), Some("1"));
            let mut load = Box::pin(near.get_with("load", pending::<Result<String, ()>>()));
            assert!(timeout(Duration::from_millis(10), &mut load).await.is_err());
            runtime.shutdown_background();
            until("the end", || !near.status().connected).await;
            drop(load); // its right cannot be given back
            has_no_runtime(&near, "other").await;
            until("no hits", || !near.status().serves_hits).await;
            assert_eq!(near.get_local("key"), Local::Unknown);
        }
    }

    async fn a_call_that_waits_for_a_connection_ends_with_the_runtime(server: &mut Server) {
        let runtime = another_runtime();
        let connect = builder(&server.url()).connection_timeout(Duration::MAX).connect();
        let near = runtime.spawn(connect).await.unwrap().unwrap();
        server.kill();
        until("the break", || !near.status().connected).await;
        let mut get = Box::pin(near.get("key"));
        assert!(timeout(Duration::from_millis(10), &mut get).await.is_err());
        runtime.shutdown_background();
        let error = timeout(Duration::from_secs(20), get).await.expect("it ends").unwrap_err();
        assert!(error.to_string().contains("runtime"), "{error}");
        has_no_runtime(&near, "key").await;
    }

    async fn the_connection_ends_with_the_last_handle(server: &mut Server) {
        async fn connections(server: &Server) -> usize {
            let mut other = server.other().await;
            let clients: String =
                redis::cmd("CLIENT").arg("LIST").query_async(&mut other).await.unwrap();
            clients.lines().filter(|line| line.contains("flags=t")).count()
        }
        let near = near(server).await;
        let other_handle = near.clone();
        drop(near);
        other_handle.get("key").await.unwrap();
        assert_eq!(connections(server).await, 1);
        drop(other_handle);
        let begin = Instant::now();
        while connections(server).await > 0 {
            assert!(begin.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
