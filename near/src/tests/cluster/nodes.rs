//! Real clusters: three primaries, which share the slots equally.

use crate::send::{asking, values};
use crate::slots::{SLOTS, slot_of};
use crate::tests::server::{Server, tell};
use crate::tests::{builder, kill_trackers, until};
use crate::{Builder, NearCache, Raw};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Pipeline, RedisError, Value};
use std::time::{Duration, Instant};

/// The nodes of a cluster.
pub struct Nodes {
    servers: Vec<Server>,
    buses: Vec<u16>,
    pub ids: Vec<String>,
    pub others: Vec<MultiplexedConnection>,
}

impl Nodes {
    pub async fn start(server: &Server) -> Self {
        Self::start_with(server, &[]).await
    }

    /// With more arguments for each server.
    pub async fn start_with(server: &Server, more: &[&str]) -> Self {
        let mut nodes =
            Self { servers: Vec::new(), buses: Vec::new(), ids: Vec::new(), others: Vec::new() };
        for at in 0..3 {
            nodes.add(server, more).await;
            let (first, end) = (at * SLOTS / 3, (at + 1) * SLOTS / 3);
            let add = format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1);
            nodes.tell(at, &add).await;
            nodes.tell(at, &format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).await;
        }
        for at in 1..3 {
            nodes.meet(at).await;
        }
        nodes.wait_for(&["cluster_state:ok", "known_nodes:3"]).await;
        nodes
    }

    /// Adds an empty fourth node.
    pub async fn add_fourth(&mut self, server: &Server) {
        self.add(server, &[]).await;
        self.meet(3).await;
        self.wait_for(&["known_nodes:4", "cluster_state:ok"]).await;
    }

    /// Waits until all nodes say all of this of the cluster.
    async fn wait_for(&self, texts: &[&str]) {
        let begin = Instant::now();
        for text in texts {
            while !self.all_say(text).await {
                assert!(begin.elapsed() < Duration::from_secs(30), "{text}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Starts a further server, which the nodes do not know.
    pub async fn add(&mut self, server: &Server, more: &[&str]) {
        let timeout = ["--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no"];
        let (node, bus) = server.node(&[&timeout[..], more].concat());
        let mut other = node.other().await;
        let id = redis::cmd("CLUSTER").arg("MYID").query_async(&mut other).await.unwrap();
        self.others.push(other);
        self.ids.push(id);
        self.servers.push(node);
        self.buses.push(bus);
    }

    /// Has the first node meet another one.
    pub async fn meet(&self, at: usize) {
        let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", self.port(at), self.buses[at]);
        self.tell(0, &meet).await;
    }

    pub async fn all_say(&self, text: &str) -> bool {
        for mut other in self.others.clone() {
            let mut info = redis::cmd("CLUSTER");
            let info: String = info.arg("INFO").query_async(&mut other).await.unwrap();
            if !info.contains(text) {
                return false;
            }
        }
        true
    }

    /// Waits until all nodes say this when asked for all nodes.
    pub async fn all_know(&self, text: &str) {
        for mut other in self.others.clone() {
            let begin = Instant::now();
            loop {
                let mut ask = redis::cmd("CLUSTER");
                let said: String = ask.arg("NODES").query_async(&mut other).await.unwrap();
                if said.contains(text) {
                    break;
                }
                assert!(begin.elapsed() < Duration::from_secs(20), "{text}: {said}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    pub fn server(&mut self, at: usize) -> &mut Server {
        &mut self.servers[at]
    }

    /// Starts a node again that was killed, without its keys, but with its slots.
    pub fn restart(&mut self, at: usize) {
        let bus = self.buses[at];
        self.servers[at].restart_node(bus);
    }

    /// The sum over all nodes of a number that INFO has for this name in this part.
    pub async fn count(&self, part: &str, name: &str) -> u64 {
        let mut sum = 0;
        for mut other in self.others.clone() {
            let info: String = redis::cmd("INFO").arg(part).query_async(&mut other).await.unwrap();
            let rest = info.lines().find_map(|line| line.strip_prefix(name));
            let digits = rest.map_or("0", |rest| rest.split(',').next().unwrap());
            sum += digits.parse::<u64>().unwrap();
        }
        sum
    }

    /// Connects to a node again that was restarted.
    pub async fn reconnect(&mut self, at: usize) {
        self.others[at] = self.servers[at].other().await;
    }

    /// Has a node tell others that it is reached at this port.
    pub async fn announce(&self, at: usize, port: u16) {
        self.tell(at, &format!("CONFIG SET cluster-announce-port {port}")).await;
        self.all_know(&format!("127.0.0.1:{port}@")).await;
    }

    /// Makes a node the replica of another one, and waits until it has all that this has.
    pub async fn follow(&mut self, replica: usize, primary: usize) {
        let begin = Instant::now();
        let mut command = redis::cmd("CLUSTER");
        command.arg("REPLICATE").arg(&self.ids[primary]);
        while command.exec_async(&mut self.others[replica]).await.is_err() {
            assert!(begin.elapsed() < Duration::from_secs(30), "it does not follow");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while !self.servers[replica].says("replication", "master_link_status:up").await {
            assert!(begin.elapsed() < Duration::from_secs(30), "no replica");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Has a replica take over, which loses nothing, and waits until it has a replica itself.
    pub async fn fail_over_to(&mut self, replica: usize) {
        let begin = Instant::now();
        let mut other = self.others[replica].clone();
        while !self.servers[replica].says("replication", "role:master").await {
            assert!(begin.elapsed() < Duration::from_secs(60), "no failover");
            let _ = redis::cmd("CLUSTER").arg("FAILOVER").exec_async(&mut other).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while !self.servers[replica].says("replication", "state=online").await {
            assert!(begin.elapsed() < Duration::from_secs(60), "the old one does not follow");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until all nodes say that these slots are on these nodes.
    pub async fn agree(&self, owned: &[(usize, usize)]) {
        let begin = Instant::now();
        for mut other in self.others.clone() {
            let is_known = |said: &str| {
                owned.iter().all(|(slot, at)| owner_of(said, *slot) == Some(&*self.ids[*at]))
            };
            loop {
                let mut ask = redis::cmd("CLUSTER");
                let said: String = ask.arg("NODES").query_async(&mut other).await.unwrap();
                if is_known(&said) {
                    break;
                }
                assert!(begin.elapsed() < Duration::from_secs(30), "{owned:?}: {said}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Kills the connections of a node with tracking, and no others.
    pub async fn kill_trackers(&self, at: usize) {
        kill_trackers(&mut self.others[at].clone()).await;
    }

    pub fn port(&self, at: usize) -> u16 {
        self.servers[at].port()
    }

    pub fn url(&self, at: usize) -> String {
        self.servers[at].url()
    }

    /// Sends a command of words to a node, as somebody else.
    pub async fn tell(&self, at: usize, command: &str) -> Value {
        tell(&mut self.others[at].clone(), command).await
    }

    /// With rarer heartbeats than for one server: each looks at all slots.
    pub fn builder(&self) -> Builder<String, Raw> {
        builder(&self.url(0)).cluster(&[]).heartbeat(Duration::from_millis(30))
    }

    pub async fn near(&self) -> NearCache<String> {
        let near = self.builder().connect().await.unwrap();
        until("all nodes are connected", || near.status().connected).await;
        near
    }

    /// Sends commands to these nodes in turn, until one of them answers, as one that has their
    /// slot, or as one to which it is moving.
    pub async fn write(&self, commands: &Pipeline) -> Vec<Value> {
        let begin = Instant::now();
        loop {
            for is_asking in [false, true] {
                for other in self.others.clone() {
                    if let Ok(values) = send(other, commands, is_asking).await {
                        return values;
                    }
                }
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "nobody answers");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    /// What the cluster has for a key.
    pub async fn truth(&self, key: &str) -> Option<String> {
        let mut get = redis::pipe();
        get.cmd("GET").arg(key);
        let value = self.write(&get).await.pop().unwrap();
        redis::from_redis_value(value).unwrap()
    }

    /// Sets keys of one slot, by one transaction.
    pub async fn set(&self, keys: &[&str], value: &str) {
        let mut pipe = redis::pipe();
        pipe.atomic();
        for key in keys {
            pipe.cmd("SET").arg(key).arg(value);
        }
        self.write(&pipe).await;
    }

    /// Tells a node something of a slot, until it can be told: its replica may not be ready.
    async fn set_slot(&self, at: usize, slot: usize, state: &str, node: usize) {
        let begin = Instant::now();
        let mut set = redis::cmd("CLUSTER");
        set.arg("SETSLOT").arg(slot).arg(state).arg(&self.ids[node]);
        while let Err(error) = set.exec_async(&mut self.others[at].clone()).await {
            assert!(begin.elapsed() < Duration::from_secs(60), "{state}: {error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets a slot be moved, once all nodes know where it is: if it moves on sooner, nodes may go
    /// on for good to name each other.
    pub async fn begin_move(&self, slot: usize, from: usize, to: usize) {
        self.agree(&[(slot, from)]).await;
        self.set_slot(to, slot, "IMPORTING", from).await;
        self.set_slot(from, slot, "MIGRATING", to).await;
    }

    /// Moves one key, if it is there. A node that was restarted takes no keys at first.
    pub async fn move_key(&self, key: &str, from: usize, to: usize) {
        let begin = Instant::now();
        let mut migrate = redis::cmd("MIGRATE");
        // REPLACE: if the answer of the other node was late, the key is on both nodes.
        migrate.arg("127.0.0.1").arg(self.port(to)).arg(key).arg(0).arg(5000).arg("REPLACE");
        while let Err(error) = migrate.exec_async(&mut self.others[from].clone()).await {
            assert!(begin.elapsed() < Duration::from_secs(60), "{key}: {error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Moves what is left, and the slot with it.
    pub async fn end_move(&self, slot: usize, from: usize, to: usize) {
        loop {
            let mut get = redis::cmd("CLUSTER");
            get.arg("GETKEYSINSLOT").arg(slot).arg(100);
            let keys: Vec<String> = get.query_async(&mut self.others[from].clone()).await.unwrap();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                self.move_key(&key, from, to).await;
            }
        }
        for at in [to, from] {
            self.set_slot(at, slot, "NODE", to).await;
        }
    }

    /// Has the nodes move a slot by themselves, all at once. Returns whether they can. They give it
    /// up if they cannot reach each other.
    pub async fn move_at_once(&self, slot: usize, from: usize, to: usize) -> bool {
        self.agree(&[(slot, from)]).await;
        let mut migrate = redis::cmd("CLUSTER");
        migrate.arg("MIGRATESLOTS").arg("SLOTSRANGE").arg(slot).arg(slot);
        migrate.arg("NODE").arg(&self.ids[to]);
        let mut other = self.others[from].clone();
        let key = format!("{{{}}}", crate::slots::numbers()[slot]);
        let begin = Instant::now();
        for tries in 0u32.. {
            let asked = tries.is_multiple_of(1_000);
            let done = if asked { migrate.exec_async(&mut other).await } else { Ok(()) };
            let refused = done.map_or_else(|error| error.to_string(), |()| String::new());
            if refused.contains("unknown subcommand") {
                return false;
            }
            let gone = redis::cmd("GET").arg(&key).exec_async(&mut other).await;
            let moved = redis::ErrorKind::Server(redis::ServerErrorKind::Moved);
            if gone.is_err_and(|error| error.kind() == moved) {
                break;
            }
            assert!(begin.elapsed() < Duration::from_secs(30), "the slot stays: {refused}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        true
    }

    pub async fn move_slot(&self, slot: usize, from: usize, to: usize) {
        self.begin_move(slot, from, to).await;
        self.end_move(slot, from, to).await;
    }
}

/// The node that has a slot, in the answer to CLUSTER NODES.
fn owner_of(said: &str, slot: usize) -> Option<&str> {
    let has = |words: &str| {
        words.split(' ').skip(8).any(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let ends = (first.parse::<usize>(), last.parse::<usize>());
            matches!(ends, (Ok(first), Ok(last)) if (first..=last).contains(&slot))
        })
    };
    said.lines().find(|line| has(line)).and_then(|line| line.split(' ').next())
}

pub async fn send(
    mut to: MultiplexedConnection,
    commands: &Pipeline,
    is_asking: bool,
) -> Result<Vec<Value>, RedisError> {
    let asking = is_asking.then(|| asking(commands));
    let pipe = asking.as_ref().unwrap_or(commands);
    let (skipped, count) = match pipe.is_transaction() {
        true => (pipe.len() + 1, 1),
        false => (0, pipe.len()),
    };
    let answer = to.req_packed_commands(pipe, skipped, count).await;
    values(commands, is_asking, answer)
}

/// Reads a key until it is known here: while the cache has yet to hear of its slot, it is not.
pub async fn know(near: &NearCache<String>, key: &str) -> Option<String> {
    let begin = Instant::now();
    loop {
        let value = near.get(key).await.unwrap();
        if near.get_local(key).is_known() {
            return value;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{key} is never known");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Which of the three nodes has the slot of this key at first.
pub fn node_of(key: &str) -> usize {
    (0..3).find(|at| slot_of(key.as_bytes()) < (at + 1) * SLOTS / 3).unwrap()
}

/// A text in braces that puts keys into a slot of this node: the `nth` one.
pub fn tag_at(node: usize, nth: usize) -> String {
    let tags = (0..).map(|number| format!("{{{number}}}"));
    tags.filter(|tag| node_of(tag) == node).nth(nth).unwrap()
}
