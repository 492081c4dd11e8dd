//! The promises, each with the defects that would break it.

use super::proxy::{Network, Proxy};
use super::server::Server;
use super::stress::{Seen, duration, stress, stress_during};
use super::{builder, near, on_each_server, settle, until};
use crate::multi::OwnWrite;
use crate::planted::Defect;
use crate::{Local, NearCache, OnDisconnect};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

on_each_server! {
    async fn whole(server: &mut Server) {
        all_is_whole(stress(server, &server.url(), None).await, 200);
    }

    async fn times_that_never_end_are_accepted(server: &mut Server) {
        let patient = builder(&server.url()).connection_timeout(Duration::MAX);
        let near = patient.response_timeout(Duration::MAX).connect().await.unwrap();
        assert_eq!(near.get("key").await.unwrap(), None);
        let slow = builder(&server.url()).heartbeat(Duration::MAX).dead_after(Duration::MAX);
        assert_eq!(slow.connect().await.unwrap().get("key").await.unwrap(), None);
    }

    async fn a_time_that_is_zero_is_named(server: &mut Server) {
        let url = server.url();
        let zero = Duration::ZERO;
        let tiny = NearCache::builder(&url).codec(crate::Raw).max_staleness(Duration::from_nanos(1));
        for (builder, what) in [
            (tiny, "max_staleness must be 4 ns at least"),
            (builder(&url).max_staleness(zero), "max_staleness must not be zero"),
            (builder(&url).heartbeat(zero), "heartbeat must not be zero"),
            (builder(&url).dead_after(zero), "dead_after must not be zero"),
            (builder(&url).connection_timeout(zero), "connection_timeout must not be zero"),
            (builder(&url).response_timeout(zero), "response_timeout must not be zero"),
            (builder(&url).load_timeout(zero), "load_timeout must not be zero"),
        ] {
            let message = builder.connect().await.unwrap_err().to_string();
            assert!(message.starts_with(what), "{message}");
        }
    }

    async fn whole_in_an_l1_that_evicts_and_expires(server: &mut Server) {
        let mut caches = Vec::new();
        for _ in 0..2 {
            let small = builder(&server.url()).max_capacity(6);
            let near = small.time_to_live(Duration::from_millis(3)).connect().await.unwrap();
            caches.push(near);
        }
        let during = tokio::time::sleep(duration());
        all_is_whole(stress_during(server, &caches, true, during).await, 20);
    }

    async fn whole_with_threads_for_io_in_the_server(server: &mut Server) {
        server.kill();
        server.restart_with(&["--io-threads", "3"]);
        all_is_whole(stress(server, &server.url(), None).await, 20);
    }

    async fn whole_on_a_network_that_splits_frames_at_every_byte(server: &mut Server) {
        let proxy = Proxy::start(server.port()).await;
        proxy.set(Network::SplitsReplies);
        all_is_whole(stress(server, &proxy.url(), None).await, 20);
    }

    async fn whole_on_a_network_that_delays_parts(server: &mut Server) {
        let proxy = Proxy::start(server.port()).await;
        proxy.set(Network::DelaysParts);
        all_is_whole(stress(server, &proxy.url(), None).await, 20);
    }

    async fn defect_hits_unchecked_tears_groups(server: &mut Server) {
        let seen = stress(server, &server.url(), Some(Defect::HitsUnchecked)).await;
        assert!(seen.torn_groups > 0, "{seen:?}");
    }

    async fn defect_no_marks_tears_and_leaves_stale_entries(server: &mut Server) {
        let seen = stress(server, &server.url(), Some(Defect::NoMarks)).await;
        assert!(seen.torn_groups > 0 && seen.torn_views > 0 && seen.stale > 0, "{seen:?}");
    }

    async fn own_writes(server: &mut Server) {
        assert_eq!(own_writes_not_seen(server, None).await, 0);
    }

    async fn defect_no_second_drop_hides_own_writes(server: &mut Server) {
        assert!(own_writes_not_seen(server, Some(Defect::NoSecondDrop)).await > 0);
    }

    async fn bounded_age(server: &mut Server) {
        for mode in [OnDisconnect::Refuse, OnDisconnect::ServeWithinMaxStaleness] {
            let oldest = oldest_served(server, mode, None).await;
            assert!(oldest > Duration::ZERO, "the entry was served for a while");
            assert!(oldest <= BOUND, "{oldest:?}");
        }
    }

    async fn defect_no_bound_serves_what_is_too_old(server: &mut Server) {
        let oldest = oldest_served(server, OnDisconnect::Refuse, Some(Defect::NoBound)).await;
        assert!(oldest > BOUND, "{oldest:?}");
    }

    async fn nothing_resurrected(server: &mut Server) {
        assert_eq!(resurrected(server, None).await, [false; 5]);
    }

    async fn defect_no_marks_resurrects(server: &mut Server) {
        // What an earlier connection has read is still refused: it belongs to that connection.
        let expected = [true, true, true, false, false];
        assert_eq!(resurrected(server, Some(Defect::NoMarks)).await, expected);
    }

    async fn reconnect(server: &mut Server) {
        for mode in [OnDisconnect::Refuse, OnDisconnect::ServeWithinMaxStaleness] {
            assert!(!old_after_reconnect(server, mode, None).await);
        }
    }

    async fn defect_break_ignored_serves_what_was_before(server: &mut Server) {
        let defect = Some(Defect::BreakIgnored);
        assert!(old_after_reconnect(server, OnDisconnect::Refuse, defect).await);
    }

    async fn deadlines_of_the_server_are_kept(server: &mut Server) {
        assert!(!served_after_deadline(server, None).await);
    }

    async fn defect_deadline_ignored_serves_what_is_over(server: &mut Server) {
        assert!(served_after_deadline(server, Some(Defect::DeadlineIgnored)).await);
    }
}

fn all_is_whole(seen: Seen, at_least: u64) {
    eprintln!("{seen:?}");
    assert_eq!(seen, Seen { reads: seen.reads, ..Seen::default() });
    // Few, if the machine is busy.
    assert!(seen.reads > at_least, "{seen:?}");
}

/// How often a read after an own write showed something else, although nobody else writes.
async fn own_writes_not_seen(server: &Server, defect: Option<Defect>) -> u64 {
    // The push for an own write comes after the reply; here often much later.
    let proxy = Proxy::start(server.port()).await;
    proxy.set(Network::DelaysParts);
    let near = builder(&proxy.url()).plant(defect).connect().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..4 {
        let (near, stop) = (near.clone(), Arc::clone(&stop));
        readers.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                for key in ["own:0", "own:1", "own:2", "own:3"] {
                    near.get(key).await.unwrap();
                }
                tokio::task::yield_now().await;
            }
        }));
    }
    let mut writers = Vec::new();
    for writer in 0..2 {
        writers.push(tokio::spawn(write_and_look(near.clone(), writer)));
    }
    let mut not_seen = 0;
    for writer in writers {
        not_seen += writer.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    not_seen
}

async fn write_and_look(near: NearCache<String>, writer: usize) -> u64 {
    let keys = [format!("own:{writer}"), format!("own:{}", writer + 2)];
    let mut not_seen = 0;
    let begin = Instant::now();
    for round in 0.. {
        if begin.elapsed() > Duration::from_millis(1_500) {
            break;
        }
        let value = round.to_string();
        if round % 2 == 0 {
            near.multi().set(&keys[0], &value).set(&keys[1], &value).exec().await.unwrap();
        } else {
            exec_beside_a_read(&near, &keys, &value).await;
        }
        for key in &keys {
            let local = near.get_local(key);
            not_seen += u64::from(local.is_known() && local.present().as_ref() != Some(&value));
            not_seen += u64::from(near.get(key).await.unwrap().as_ref() != Some(&value));
        }
    }
    not_seen
}

/// What `exec` does, with reads that come when it has begun, and just before it is sent.
async fn exec_beside_a_read(near: &NearCache<String>, keys: &[String], value: &str) {
    let core = near.core();
    let write = OwnWrite::begin(core, keys.to_vec());
    for key in keys {
        near.get(key).await.unwrap();
    }
    let mut pipe = redis::pipe();
    pipe.atomic().cmd("MSET");
    for key in keys {
        pipe.arg(key).arg(value);
    }
    let mut connection = core.route(0).await.unwrap().link.connection().unwrap();
    pipe.exec_async(&mut connection).await.unwrap();
    drop(write);
}

/// The bound on the age of what is served.
const BOUND: Duration = Duration::from_millis(200);

/// How long after a change an entry was still served, when the network had become silent before.
async fn oldest_served(server: &Server, mode: OnDisconnect, defect: Option<Defect>) -> Duration {
    let proxy = Proxy::start(server.port()).await;
    let near = builder(&proxy.url())
        .on_disconnect(mode)
        .max_staleness(BOUND)
        .dead_after(BOUND * 2)
        .plant(defect)
        .connect()
        .await
        .unwrap();
    server.tell("SET age old").await;
    assert_eq!(near.get("age").await.unwrap().as_deref(), Some("old"));
    settle(&near).await;
    proxy.set(Network::Withholds);
    let mut connection = server.other().await;
    // Before the change: what is served until then may be served.
    let before = Instant::now();
    super::server::tell(&mut connection, "SET age new").await;
    let mut oldest = Duration::ZERO;
    while before.elapsed() < BOUND * 3 {
        if near.get_local("age") == Local::Present("old".to_owned()) {
            oldest = before.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Restored, it delivers what it has withheld, to connections given up meanwhile, too.
    proxy.set(Network::Passes);
    if defect.is_none() {
        until("a read after the network is back", || near.status().serves_hits).await;
        assert_eq!(near.get("age").await.unwrap().as_deref(), Some("new"));
    }
    oldest
}

/// Whether what was read before is known after: an invalidation of its key, one by its own process,
/// one of everything, a break; and whether what an earlier connection has read is known later.
async fn resurrected(server: &Server, defect: Option<Defect>) -> [bool; 5] {
    let near = builder(&server.url()).plant(defect).connect().await.unwrap();
    let core = near.core();
    let route = core.route(0).await.unwrap();
    let never = crate::held::NEVER;
    let mut found = [false; 5];
    for (at, change) in ["SET key 2", "", "FLUSHALL", "CLIENT KILL TYPE normal"].iter().enumerate()
    {
        // So that the server tells of a change.
        if let Some(mut connection) = core.route(0).await.unwrap().link.connection() {
            super::server::tell(&mut connection, "GET key").await;
        }
        let mark = core.mark("key", &route);
        let before = near.status();
        match at {
            1 => near.multi().del("key").exec().await.unwrap(),
            _ => drop(server.tell(change).await),
        }
        until("the invalidation", || {
            let now = near.status();
            now.pushes > before.pushes || now.connections > before.connections
        })
        .await;
        core.install(mark, &route, Some("1".to_owned()), never);
        found[at] = near.get_local("key").is_known();
    }
    let mark = core.mark("key", &route);
    core.install(mark, &route, Some("1".to_owned()), never);
    found[4] = near.get_local("key").is_known();
    if defect.is_none() {
        assert_eq!(near.cache().len(), 0, "nor is it in the L1");
        let route = core.route(0).await.unwrap();
        core.install(core.mark("key", &route), &route, Some("1".to_owned()), never);
        assert!(near.get_local("key").is_known(), "what nothing has overtaken is installed");
    }
    found
}

/// Whether what was read before a break is served after it, once there is a new connection.
async fn old_after_reconnect(server: &Server, mode: OnDisconnect, defect: Option<Defect>) -> bool {
    let near = builder(&server.url()).on_disconnect(mode).plant(defect).connect().await.unwrap();
    server.tell("MSET one old two old").await;
    near.get_many(&["one", "two"]).await.unwrap();
    assert!(near.view().unwrap().get("one").is_known());
    let mut other = server.other().await;
    // By one connection that is spared: nobody is told of the change.
    super::server::tell(&mut other, "CLIENT KILL TYPE normal SKIPME yes").await;
    super::server::tell(&mut other, "MSET one new two new").await;
    until("a new connection", || near.status().connections == 2 && near.status().connected).await;
    let view = near.view().unwrap();
    let is_old = |local: Local<&String>| local.present().is_some_and(|value| value == "old");
    let found = is_old(view.get("one")) || is_old(view.get("two"));
    found || near.get("one").await.unwrap().as_deref() == Some("old")
}

/// Whether a hit was served after its deadline on the server, which deletes nothing by itself.
async fn served_after_deadline(server: &Server, defect: Option<Defect>) -> bool {
    let near = builder(&server.url()).plant(defect).connect().await.unwrap();
    server.tell("DEBUG SET-ACTIVE-EXPIRE 0").await;
    server.tell("SET brief value PX 100").await;
    let set = Instant::now();
    near.get("brief").await.unwrap();
    let was_known = near.get_local("brief").is_known();
    assert!(was_known || set.elapsed() > Duration::from_millis(90), "a hit before the deadline");
    // The server counts whole milliseconds, and the last one still has the value.
    tokio::time::sleep(Duration::from_millis(102).saturating_sub(set.elapsed())).await;
    let known = near.get_local("brief").is_known() || near.view().unwrap().get("brief").is_known();
    let many = near.get_many(&["brief", "absent"]).await.unwrap();
    assert!(known || many[0].is_none());
    server.tell("DEBUG SET-ACTIVE-EXPIRE 1").await;
    known
}

on_each_server! {
    async fn keys_have_a_prefix_on_the_server_only(server: &mut Server) {
        let near = builder(&server.url()).key_prefix("app:").connect().await.unwrap();
        near.multi().set("key", &"1".to_owned()).exec().await.unwrap();
        let found: String =
            redis::cmd("GET").arg("app:key").query_async(&mut server.other().await).await.unwrap();
        assert_eq!(found, "1");
        assert_eq!(near.get("key").await.unwrap().as_deref(), Some("1"));
        server.tell("SET app:key 2").await;
        settle(&near).await;
        assert_eq!(near.get_local("key"), Local::Unknown);
        assert_eq!(near.get("key").await.unwrap().as_deref(), Some("2"));
    }

    async fn a_transaction_sets_and_removes(server: &mut Server) {
        let near = near(server).await;
        let value = "1".to_owned();
        near.multi().set("one", &value).set("two", &value).exec().await.unwrap();
        let long = Duration::from_secs(60);
        near.multi().del("one").set_with_ttl("two", &value, long).exec().await.unwrap();
        assert_eq!(near.get_many(&["one", "two"]).await.unwrap(), [None, Some(value)]);
        let left: i64 =
            redis::cmd("PTTL").arg("two").query_async(&mut server.other().await).await.unwrap();
        assert!((50_000..=60_000).contains(&left), "{left}");
        near.multi().exec().await.unwrap();
    }

    async fn known_absence_is_a_hit_until_the_key_is_set(server: &mut Server) {
        let near = near(server).await;
        assert_eq!(near.get("nothing").await.unwrap(), None);
        assert_eq!(near.get_local("nothing"), Local::Absent);
        server.tell("SET nothing something").await;
        settle(&near).await;
        assert_eq!(near.get("nothing").await.unwrap().as_deref(), Some("something"));
    }

    async fn compare_and_set_counts_each_step_once(server: &mut Server) {
        server.tell("DEL count").await;
        let mut tasks = Vec::new();
        for _ in 0..2 {
            let near = near(server).await;
            tasks.push(tokio::spawn(async move {
                let mut done = 0;
                while done < 50 {
                    let found = near.get("count").await.unwrap();
                    let next = found.as_ref().map_or(0, |it| it.parse::<u32>().unwrap()) + 1;
                    let next = next.to_string();
                    let set = near.compare_and_set("count", found.as_ref(), &next).await.unwrap();
                    done += u32::from(set);
                    if set {
                        let local = near.get("count").await.unwrap().unwrap();
                        assert!(local.parse::<u32>().unwrap() >= next.parse::<u32>().unwrap());
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(near(server).await.get("count").await.unwrap().as_deref(), Some("100"));
    }

    async fn compare_and_set_says_when_a_key_ends(server: &mut Server) {
        async fn left(server: &Server) -> i64 {
            let mut other = server.other().await;
            redis::cmd("PTTL").arg("session").query_async(&mut other).await.unwrap()
        }
        let near = near(server).await;
        let [old, new] = ["old", "new"].map(str::to_owned);
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
        let set = near.compare_and_set_with_ttl("session", None, &old, minute);
        assert!(set.await.unwrap());
        assert!((1..=60_000).contains(&left(server).await));
        let set = near.compare_and_set_with_ttl("session", Some(&old), &new, hour);
        assert!(set.await.unwrap());
        assert_eq!(near.get("session").await.unwrap().as_ref(), Some(&new));
        assert!((60_001..=3_600_000).contains(&left(server).await));
        let set = near.compare_and_set_with_ttl("session", Some(&old), &old, minute);
        assert!(!set.await.unwrap());
        assert!(!near.compare_and_set("session", Some(&old), &old).await.unwrap());
        assert!((60_001..=3_600_000).contains(&left(server).await), "it was not set");
        assert!(near.compare_and_set("session", Some(&new), &old).await.unwrap());
        assert_eq!(left(server).await, -1);
        // It ends here, too.
        let short = Duration::from_millis(1);
        let set = near.compare_and_set_with_ttl("session", Some(&old), &new, short);
        assert!(set.await.unwrap());
        tokio::time::sleep(short * 10).await;
        assert_eq!(near.get("session").await.unwrap(), None);
    }

    async fn the_blocking_form_does_the_same(server: &mut Server) {
        let url = server.url();
        let near = tokio::task::spawn_blocking(move || {
            let near = builder(&url).connect_blocking().unwrap();
            let value = "1".to_owned();
            near.exec(near.near().multi().set("one", &value).del("two")).unwrap();
            assert_eq!(near.get("one").unwrap(), Some(value.clone()));
            assert_eq!(near.get_many(&["one", "two"]).unwrap(), [Some(value.clone()), None]);
            assert_eq!(near.get("two").unwrap(), None);
            assert!(near.compare_and_set("two", None, &value).unwrap());
            assert!(!near.compare_and_set("two", None, &value).unwrap());
            let minute = Duration::from_secs(60);
            assert!(!near.compare_and_set_with_ttl("two", None, &value, minute).unwrap());
            let set = near.compare_and_set_with_ttl("two", Some(&value), &value, minute);
            assert!(set.unwrap());
            let loaded = near.get_with("three", || Ok::<_, ()>("loaded".to_owned())).unwrap();
            assert_eq!(loaded, "loaded");
            near
        })
        .await
        .unwrap();
        assert!(matches!(server.tell("PTTL two").await, redis::Value::Int(1..=60_000)));
        server.tell("SET one 2").await;
        until("the push", || !near.near().get_local("one").is_known()).await;
        drop(near); // its runtime ends, though this is a thread of another one
    }
}
