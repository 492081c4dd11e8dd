//! Another server becomes the primary: that is a break.

use super::server::Server;
use super::wire::{Wire, push};
use super::{builder, on_each_server, until};
use crate::planted::Defect;
use crate::{Local, NearCache, OnDisconnect};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

on_each_server! {
    async fn fact_a_demoted_primary_keeps_its_connections_and_says_nothing(server: &mut Server) {
        let mut reader = Wire::tracking(server.port());
        reader.ask("GET a");
        demote(server).await;
        assert!(reader.hear().is_empty());
        assert_eq!(reader.ask("GET a"), ["nil"], "it goes on to answer");
        assert!(reader.ask("HELLO")[0].contains("$role $replica"));
    }

    async fn fact_a_replica_pushes_when_it_hears_of_a_change(server: &mut Server) {
        let replica = replica_of(server).await;
        server.tell("SET a 1").await;
        let mut reader = Wire::tracking(replica.port());
        while reader.ask("GET a") != ["$1"] {}
        server.tell("SET a 2").await;
        let mut heard = Vec::new();
        while heard.is_empty() {
            heard = reader.hear();
        }
        assert_eq!(heard, [push("a")]);
        assert_eq!(reader.ask("GET a"), ["$2"]);
    }

    async fn fact_a_replica_hides_what_is_over_without_a_push(server: &mut Server) {
        let replica = replica_of(server).await;
        server.tell("DEBUG SET-ACTIVE-EXPIRE 0").await;
        let mut reader = Wire::tracking(replica.port());
        while reader.ask("GET a").last().unwrap() != "$1" {
            server.tell("SET a 1 PX 500").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        reader.ask("GET a"); // after the pushes for all of these
        loop {
            match &reader.ask("GET a")[..] {
                [value] if value == "$1" => tokio::time::sleep(Duration::from_millis(5)).await,
                [value] if value == "nil" => break,
                other => panic!("{other:?}"),
            }
        }
        server.tell("DEBUG SET-ACTIVE-EXPIRE 1").await;
    }

    async fn a_replica_or_a_part_of_a_cluster_is_refused(server: &mut Server) {
        let replica = replica_of(server).await;
        let refused = builder(&replica.url()).connect().await.unwrap_err().to_string();
        assert!(refused.contains("the server is a replica"), "{refused}");
        server.kill();
        let file = std::env::temp_dir().join(format!("coeval-cluster-{}.conf", server.port()));
        let name = file.to_str().unwrap();
        server.restart_with(&["--cluster-enabled", "yes", "--cluster-config-file", name]);
        let refused = builder(&server.url()).connect().await.unwrap_err().to_string();
        std::fs::remove_file(file).unwrap();
        assert!(refused.contains("part of a cluster"), "{refused}");
    }

    async fn a_demoted_primary_is_a_break(server: &mut Server) {
        let near = read_and_demote(server, None).await;
        until("the break is noticed", || !near.status().connected).await;
        assert_eq!(near.get_local("key"), Local::Unknown);
        let error = near.get("key").await.unwrap_err().to_string();
        assert!(error.contains("the server is a replica"), "{error}");
        // Another primary has changed it meanwhile.
        server.tell("REPLICAOF NO ONE").await;
        server.tell("SET key new").await;
        until("a connection", || near.status().connected).await;
        assert_eq!(near.status().connections, 2);
        assert_eq!(near.get("key").await.unwrap().as_deref(), Some("new"));
    }

    async fn defect_role_ignored_serves_what_a_replica_has(server: &mut Server) {
        let near = read_and_demote(server, Some(Defect::RoleIgnored)).await;
        super::settle(&near).await;
        super::settle(&near).await;
        assert!(near.status().connected && near.get_local("key").is_known());
    }

    async fn bounded_age_through_a_failover(server: &mut Server) {
        let oldest = oldest_after_demotion(server, None).await;
        assert!(oldest <= BOUND, "{oldest:?}");
    }

    async fn defect_reads_confirm_serves_what_is_too_old(server: &mut Server) {
        let oldest = oldest_after_demotion(server, Some(Defect::ReadsConfirm)).await;
        assert!(oldest > BOUND, "{oldest:?}");
    }

    async fn sentinels_lead_to_the_new_primary_when_the_old_one_dies(server: &mut Server) {
        let set = Watched::start(server, None).await;
        set.sentinel_knows_the_replica().await;
        server.kill();
        until("a connection to the new primary", || is_at(&set.near, &set.new)).await;
        set.end_whole().await;
    }

    async fn sentinels_lead_to_the_new_primary_while_the_old_one_is_there(server: &mut Server) {
        let set = Watched::start(server, None).await;
        set.fail_over().await;
        until("a connection to the new primary", || is_at(&set.near, &set.new)).await;
        set.end_whole().await;
    }

    async fn fact_the_old_primary_goes_on_after_sentinels_name_another(server: &mut Server) {
        let set = Watched::start(server, Some(Defect::SentinelsIgnored)).await;
        let mut reader = Wire::tracking(server.port());
        reader.ask("GET key");
        set.fail_over().await;
        assert!(set.new.says("replication", "role:master").await);
        assert_eq!(reader.ask("GET key;SET key 1")[..2], ["nil", "+OK"], "it takes writes, too");
        // So a cache that does not listen to Sentinels stays with it.
        super::settle(&set.near).await;
        super::settle(&set.near).await;
        assert!(is_at(&set.near, server));
    }
}

/// The port of a server that has ended.
fn free_of(server: Server) -> u16 {
    server.port()
}

/// A server that has all that this one has.
async fn replica_of(server: &Server) -> Server {
    let replica = server.another();
    replica.tell(&format!("REPLICAOF 127.0.0.1 {}", server.port())).await;
    follows(&replica).await;
    replica
}

/// A cache that has read a key, on a server that is made a replica of nobody.
async fn read_and_demote(server: &Server, defect: Option<Defect>) -> NearCache<String> {
    let near = builder(&server.url())
        .plant(defect)
        .connection_timeout(Duration::from_millis(100))
        .connect()
        .await
        .unwrap();
    server.tell("SET key old").await;
    near.get("key").await.unwrap();
    assert!(near.get_local("key").is_known());
    demote(server).await;
    near
}

async fn demote(server: &Server) {
    let nowhere = free_of(server.another());
    server.tell(&format!("REPLICAOF 127.0.0.1 {nowhere}")).await;
}

/// The bound on the age of what is served.
const BOUND: Duration = Duration::from_millis(600);

/// How long after a change on the new primary an entry was still served, beside reads that the old
/// one answered.
async fn oldest_after_demotion(server: &Server, defect: Option<Defect>) -> Duration {
    let beat = Duration::from_millis(400);
    let near = builder(&server.url())
        .on_disconnect(OnDisconnect::ServeWithinMaxStaleness)
        .max_staleness(BOUND)
        .heartbeat(beat)
        .plant(defect)
        .connect()
        .await
        .unwrap();
    server.tell("SET key old").await;
    // Long before the next heartbeat.
    let beats = || near.core().serving.confirmed();
    let before = beats();
    until("a heartbeat", || beats() > before).await;
    near.get("key").await.unwrap();
    demote(server).await;
    // From now on, another server may change the key.
    let begin = Instant::now();
    let (mut oldest, mut read) = (Duration::ZERO, 0);
    while begin.elapsed() < BOUND + beat * 2 {
        if near.status().connected {
            read += 1;
            let _ = near.get(&format!("other:{read}")).await;
        }
        let now = begin.elapsed();
        if near.get_local("key").is_known() {
            oldest = now;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(oldest > Duration::ZERO, "the entry was served for a while");
    oldest
}

/// A primary and its replica, a Sentinel that watches over both, and a cache that asks it; beside a
/// writer that keeps two keys equal, by a cache of its own, and a reader.
struct Watched {
    new: Server,
    sentinel: Server,
    /// What accepts connections and does not answer. It is asked, too.
    _silent: std::net::TcpListener,
    near: NearCache<String>,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    torn: AtomicU64,
    written: AtomicU64,
}

impl Watched {
    async fn start(server: &mut Server, defect: Option<Defect>) -> Self {
        // A Sentinel makes an old primary a replica after some seconds. This one it cannot.
        server.kill();
        server.restart_with(&[
            "--rename-command",
            "SLAVEOF",
            "",
            "--rename-command",
            "REPLICAOF",
            "",
        ]);
        let new = replica_of(server).await;
        let sentinel = server.sentinel();
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = format!("redis://127.0.0.1:{}/", free_of(server.another()));
        let at_silent = format!("redis://{}/", silent.local_addr().unwrap());
        let sentinels = [&nobody[..], &at_silent, &sentinel.url()];
        // The host of this address does not matter.
        let builder = || {
            let nowhere = builder("redis://127.0.0.1:1/");
            nowhere
                .sentinels("primary", &sentinels)
                .heartbeat(Duration::from_millis(100))
                .dead_after(Duration::from_secs(1))
        };
        let near = builder().plant(defect).connect().await.unwrap();
        assert!(is_at(&near, server));
        let writing = builder().connect().await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let reader = read_until(near.clone(), Arc::clone(&stop), Arc::clone(&counts));
        let writer = write_until(writing, Arc::clone(&stop), Arc::clone(&counts));
        let tasks = [tokio::spawn(reader), tokio::spawn(writer)];
        Self { new, sentinel, _silent: silent, near, stop, counts, tasks }
    }

    /// A Sentinel refuses to fail over until it knows a replica.
    async fn sentinel_knows_the_replica(&self) {
        let mut sentinel = self.sentinel.other().await;
        let mut replicas = redis::cmd("SENTINEL");
        replicas.arg("REPLICAS").arg("primary");
        let begin = Instant::now();
        while replicas.query_async::<Vec<redis::Value>>(&mut sentinel).await.unwrap().is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(30), "no replica");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Has the Sentinel name the replica.
    async fn fail_over(&self) {
        self.sentinel_knows_the_replica().await;
        let mut sentinel = self.sentinel.other().await;
        let mut failover = redis::cmd("SENTINEL");
        failover.arg("FAILOVER").arg("primary");
        while failover.exec_async(&mut sentinel).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut place = redis::cmd("SENTINEL");
        place.arg("GET-MASTER-ADDR-BY-NAME").arg("primary");
        let begin = Instant::now();
        loop {
            let (_, port): (String, u16) = place.query_async(&mut sentinel).await.unwrap();
            if port == self.new.port() {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "no failover");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Goes on for a while, and looks whether a read was torn.
    async fn end_whole(self) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (reads, written) = (load(&self.counts.reads), load(&self.counts.written));
        until("reads and writes after it", || {
            load(&self.counts.reads) > reads + 50 && load(&self.counts.written) > written + 50
        })
        .await;
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        assert_eq!(load(&self.counts.torn), 0);
    }
}

/// Waits until a replica has all that its primary has.
async fn follows(replica: &Server) {
    let begin = Instant::now();
    while !replica.says("replication", "master_link_status:up").await {
        assert!(begin.elapsed() < Duration::from_secs(30), "no replica");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_at(near: &NearCache<String>, server: &Server) -> bool {
    let link = Arc::clone(near.core().map().link(0));
    link.is_up() && link.place.as_ref().is_some_and(|(_, port)| *port == server.port())
}

async fn read_until(near: NearCache<String>, stop: Arc<AtomicBool>, counts: Arc<Counts>) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(values) = near.get_many(&["a", "b"]).await {
            counts.reads.fetch_add(1, Ordering::Relaxed);
            counts.torn.fetch_add(u64::from(values[0] != values[1]), Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

async fn write_until(near: NearCache<String>, stop: Arc<AtomicBool>, counts: Arc<Counts>) {
    for round in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let value = round.to_string();
        let is_done = near.multi().set("a", &value).set("b", &value).exec().await.is_ok();
        counts.written.fetch_add(u64::from(is_done), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
