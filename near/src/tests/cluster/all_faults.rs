//! Readers beside writers in a cluster in which everything goes wrong, one thing after the other:
//! slots move, connections break, nodes are killed, paused, flushed and replaced by their replicas;
//! and meanwhile the network of one node after the other does what networks do.

use super::nodes::{Nodes, node_of, send};
use crate::slots::slot_of;
use crate::tests::proxy::{Network, Proxy};
use crate::tests::server::Server;
use crate::tests::stress::{
    Chance, Counts, FUNCTION, GROUPS, Seen, WAYS, change, duration, keys, read, stale_after_quiet,
};
use crate::tests::{builder, on_each_server, until};
use crate::{NearCache, OnDisconnect};
use redis::Pipeline;
use redis::aio::MultiplexedConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The first two nodes are killed; they have no replica that could take over and lose writes. The
/// last two are a primary and its replica, which take over from each other by request.
const PAIR: [usize; 2] = [2, 3];

/// What goes wrong, in turn.
const FAULTS: usize = 7;

/// For so long after its election, a node of Redis 7.0 takes over again without another one, with
/// the votes of the last: for a moment only, and what it is told then is lost. It is four times the
/// time for which nodes wait for each other here.
const OLD_VOTES: Duration = Duration::from_secs(9);

/// How often each fault came.
type Faults = [u64; FAULTS];

/// The nodes, and what has become of them.
struct Damaged {
    nodes: Nodes,
    chance: Chance,
    /// Which of the pair is the primary.
    primary: usize,
    /// When each of the pair took over.
    elected: [Option<Instant>; 2],
    /// Where the slot of each group is: the place of a node, 2 for the pair.
    at: [usize; GROUPS],
    /// The pair has no network but that which the caches have: it passes while they change roles.
    is_calm: Arc<AtomicBool>,
    faults: Faults,
}

impl Damaged {
    async fn start(server: &Server) -> Self {
        let mut nodes = Nodes::start(server).await;
        nodes.add_fourth(server).await;
        nodes.follow(PAIR[1], PAIR[0]).await;
        for at in 0..3 {
            let mut load = redis::cmd("FUNCTION");
            load.arg("LOAD").arg("REPLACE").arg(FUNCTION);
            load.exec_async(&mut nodes.others[at].clone()).await.unwrap();
        }
        let at = std::array::from_fn(|group| node_of(&keys(group)[0]));
        let is_calm = Arc::new(AtomicBool::new(false));
        Self {
            nodes,
            chance: Chance(4242),
            primary: PAIR[0],
            elected: [None; 2],
            at,
            is_calm,
            faults: [0; FAULTS],
        }
    }

    fn node(&self, place: usize) -> usize {
        if place == 2 { self.primary } else { place }
    }

    async fn pause(&mut self, most: usize) {
        tokio::time::sleep(Duration::from_millis(self.chance.below(most) as u64)).await;
    }

    /// Has everything go wrong, each at least once.
    async fn go_wrong(mut self) -> Self {
        let begin = Instant::now();
        for round in 0.. {
            if begin.elapsed() >= duration() && round >= FAULTS {
                break;
            }
            // Slots move in between.
            self.move_slot().await;
            let any = self.chance.below(3);
            let any = self.node(any);
            let mut is_done = true;
            match round % FAULTS {
                0 => self.nodes.kill_trackers(any).await,
                1 => self.kill().await,
                2 => drop(self.nodes.tell(any, "CLIENT PAUSE 30 ALL").await),
                3 => is_done = self.fail_over().await,
                4 => drop(self.nodes.tell(any, "FLUSHALL").await),
                5 => self.halt(any).await,
                _ => self.move_slot().await,
            }
            self.faults[round % FAULTS] += u64::from(is_done);
            self.pause(60).await;
        }
        self
    }

    async fn move_slot(&mut self) {
        let group = self.chance.below(GROUPS);
        let slot = slot_of(keys(group)[0].as_bytes());
        let to = (self.at[group] + 1 + self.chance.below(2)) % 3;
        let (from, new) = (self.node(self.at[group]), self.node(to));
        if self.chance.below(2) == 0 || !self.nodes.move_at_once(slot, from, new).await {
            self.nodes.begin_move(slot, from, new).await;
            self.pause(5).await;
            self.nodes.end_move(slot, from, new).await;
        }
        self.at[group] = to;
    }

    /// A node dies, and comes back without its keys.
    async fn kill(&mut self) {
        let at = self.chance.below(2);
        self.nodes.server(at).kill();
        self.pause(300).await;
        self.nodes.restart(at);
        self.nodes.reconnect(at).await;
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(FUNCTION);
        load.exec_async(&mut self.nodes.others[at].clone()).await.unwrap();
    }

    /// A node stands still for longer than the caches wait for it.
    async fn halt(&mut self, at: usize) {
        self.nodes.server(at).signal("-STOP");
        tokio::time::sleep(Duration::from_millis(150)).await;
        self.nodes.server(at).signal("-CONT");
    }

    /// The replica takes over, and has all that was written. Returns false if it may not yet.
    async fn fail_over(&mut self) -> bool {
        let at = usize::from(self.primary == PAIR[0]);
        if self.elected[at].is_some_and(|then| then.elapsed() < OLD_VOTES) {
            return false;
        }
        let new = PAIR[at];
        let slots = (0..GROUPS).map(|group| slot_of(keys(group)[0].as_bytes()));
        let owned: Vec<(usize, usize)> =
            slots.zip(self.at).map(|(slot, at)| (slot, self.node(at))).collect();
        self.nodes.agree(&owned).await;
        self.is_calm.store(true, Ordering::Relaxed);
        self.nodes.fail_over_to(new).await;
        self.elected[at] = Some(Instant::now());
        self.is_calm.store(false, Ordering::Relaxed);
        self.primary = new;
        true
    }
}

/// The network of one node after the other does what networks do.
async fn shake(networks: Arc<Vec<Proxy>>, is_calm: Arc<AtomicBool>, stop: Arc<AtomicBool>) {
    let mut chance = Chance(99);
    let modes = [
        Network::Withholds,
        Network::WithholdsReplies,
        Network::SplitsReplies,
        Network::DelaysParts,
    ];
    while !stop.load(Ordering::Relaxed) {
        let network = &networks[chance.below(networks.len())];
        let mode = modes[chance.below(modes.len())];
        network.set(if is_calm.load(Ordering::Relaxed) { Network::Passes } else { mode });
        tokio::time::sleep(Duration::from_millis(chance.below(250) as u64)).await;
        network.set(Network::Passes);
        tokio::time::sleep(Duration::from_millis(chance.below(100) as u64)).await;
    }
}

/// Somebody else, who writes to nodes whatever becomes of them.
struct Writer {
    ports: Vec<u16>,
    connections: Vec<Option<MultiplexedConnection>>,
}

impl Writer {
    fn new(ports: Vec<u16>) -> Self {
        let connections = vec![None; ports.len()];
        Self { ports, connections }
    }

    async fn connect(&mut self, at: usize) -> Option<MultiplexedConnection> {
        if self.connections[at].is_none() {
            let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.ports[at]));
            let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
            let connect = client.unwrap();
            let connect = connect.get_multiplexed_async_connection_with_config(&config).await;
            self.connections[at] = connect.ok();
        }
        self.connections[at].clone()
    }

    /// Asks nodes in turn until one has done it. What a node that dies has done is gone.
    async fn write(&mut self, commands: &Pipeline, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            for is_asking in [false, true] {
                for at in 0..self.ports.len() {
                    let Some(connection) = self.connect(at).await else { continue };
                    match send(connection, commands, is_asking).await {
                        Ok(_) => return,
                        Err(error) if error.is_connection_dropped() || error.is_io_error() => {
                            self.connections[at] = None;
                        }
                        Err(_) => {}
                    }
                }
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }
}

async fn write(mut to: Writer, stop: Arc<AtomicBool>, clock: Arc<AtomicU64>, writer: usize) {
    let mut chance = Chance(writer as u64 + 77);
    while !stop.load(Ordering::Relaxed) {
        let group = chance.below(GROUPS / 2) * 2 + writer;
        let value = clock.fetch_add(1, Ordering::Relaxed).to_string();
        to.write(&change(&keys(group), &value, chance.below(WAYS[1])), &stop).await;
        tokio::time::sleep(Duration::from_micros(chance.below(600) as u64)).await;
    }
}

/// Caches that reach the nodes by networks.
async fn caches(networks: &[Proxy]) -> Vec<NearCache<String>> {
    let urls: Vec<String> = networks.iter().map(Proxy::url).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let mut caches = Vec::new();
    for mode in [OnDisconnect::Refuse, OnDisconnect::ServeWithinMaxStaleness] {
        let begin = Instant::now();
        let near = loop {
            let builder = builder(urls[0]).cluster(&urls[1..]).on_disconnect(mode);
            let builder = builder
                .heartbeat(Duration::from_millis(30))
                .max_staleness(Duration::from_secs(1))
                .connection_timeout(Duration::from_millis(500))
                .response_timeout(Duration::from_millis(100))
                .dead_after(Duration::from_millis(100));
            match builder.connect().await {
                Ok(near) => break near,
                // A busy machine may need longer than the caches wait.
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(60), "{error}"),
            }
        };
        until("all nodes are connected", || near.status().connected).await;
        caches.push(near);
    }
    caches
}

async fn stress(damaged: Damaged, networks: Vec<Proxy>) -> (Seen, Faults) {
    let caches = caches(&networks).await;
    let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let networks = Arc::new(networks);
    let shaking = shake(networks.clone(), damaged.is_calm.clone(), stop.clone());
    let mut tasks = vec![tokio::spawn(shaking)];
    for (at, near) in caches.iter().flat_map(|near| [near, near]).enumerate() {
        let reading = read(near.clone(), counts.clone(), stop.clone(), at as u64 + 1);
        tasks.push(tokio::spawn(reading));
    }
    let clock = Arc::new(AtomicU64::new(1));
    let ports: Vec<u16> = (0..4).map(|at| damaged.nodes.port(at)).collect();
    for writer in 0..2 {
        let to = Writer::new(ports.clone());
        tasks.push(tokio::spawn(write(to, stop.clone(), clock.clone(), writer)));
    }
    let mut damaged = damaged.go_wrong().await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    damaged.nodes.others.remove(PAIR[usize::from(damaged.primary == PAIR[0])]);
    for near in &caches {
        until("all nodes are connected again", || near.status().connected).await;
    }
    let truth = async |key: &str| damaged.nodes.truth(key).await;
    let stale = stale_after_quiet(&caches, truth).await;
    let seen = counts.seen(stale);
    let status: Vec<_> = caches.iter().map(NearCache::status).collect();
    let links: Vec<u64> = status.iter().map(|it| it.connections).collect();
    let installed: Vec<u64> = status.iter().map(|it| it.installed).collect();
    eprintln!(
        "{seen:?}, installed {installed:?}, connections {links:?}, faults {:?}",
        damaged.faults
    );
    assert!(installed.iter().all(|count| *count > 20), "{installed:?}");
    assert!(links.iter().all(|count| *count > 4), "{links:?}");
    (seen, damaged.faults)
}

on_each_server! {
    async fn whole_through_all_faults_of_a_cluster(server: &mut Server) {
        let damaged = Damaged::start(server).await;
        let mut networks = Vec::new();
        for at in 0..4 {
            let network = Proxy::start(damaged.nodes.port(at)).await;
            damaged.nodes.announce(at, network.port()).await;
            networks.push(network);
        }
        let (seen, faults) = stress(damaged, networks).await;
        assert_eq!(seen, Seen { reads: seen.reads, failed: seen.failed, ..Seen::default() });
        assert!(seen.reads > 20 && faults.iter().all(|count| *count > 0), "{seen:?} {faults:?}");
    }
}
