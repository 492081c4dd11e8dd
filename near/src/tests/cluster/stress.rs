//! Readers beside writers in a cluster, while its slots move.

use super::nodes::{Nodes, node_of};
use crate::NearCache;
use crate::planted::Defect;
use crate::slots::slot_of;
use crate::tests::stress::{
    Chance, Counts, FUNCTION, GROUPS, Seen, WAYS, change, duration, keys, read, stale_after_quiet,
};
use crate::tests::{on_each_server, settle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Writes to the groups of a writer, in so many ways, until it is told to stop.
async fn write(
    nodes: Arc<Nodes>,
    stop: Arc<AtomicBool>,
    clock: Arc<AtomicU64>,
    (writer, ways): (usize, usize),
) {
    let mut chance = Chance(writer as u64 + 77);
    while !stop.load(Ordering::Relaxed) {
        let group = chance.below(GROUPS / 2) * 2 + writer;
        let value = clock.fetch_add(1, Ordering::Relaxed).to_string();
        nodes.write(&change(&keys(group), &value, chance.below(ways))).await;
        tokio::time::sleep(Duration::from_micros(chance.below(600) as u64)).await;
    }
}

/// Moves the slots of all groups from node to node. Returns how often.
async fn move_slots(nodes: Arc<Nodes>, stop: Arc<AtomicBool>) -> u64 {
    let mut at: Vec<usize> = (0..GROUPS).map(|group| node_of(&keys(group)[0])).collect();
    let mut chance = Chance(4711);
    for moves in 0.. {
        if stop.load(Ordering::Relaxed) {
            return moves;
        }
        let group = chance.below(GROUPS);
        let (slot, from) = (slot_of(keys(group)[0].as_bytes()), at[group]);
        let to = (from + 1 + chance.below(2)) % 3;
        if chance.below(2) == 0 || !nodes.move_at_once(slot, from, to).await {
            nodes.begin_move(slot, from, to).await;
            tokio::time::sleep(Duration::from_millis(chance.below(5) as u64)).await;
            nodes.end_move(slot, from, to).await;
        }
        at[group] = to;
        tokio::time::sleep(Duration::from_millis(chance.below(30) as u64)).await;
    }
    unreachable!()
}

/// Runs readers of two caches beside two writers, and returns what they saw, and how often a slot
/// has moved.
async fn stress(nodes: Nodes, moves: bool) -> (Seen, u64) {
    let nodes = Arc::new(nodes);
    for at in 0..3 {
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(FUNCTION);
        load.exec_async(&mut nodes.others[at].clone()).await.unwrap();
    }
    let caches = [nodes.near().await, nodes.near().await];
    let counts = Arc::new(Counts::default());
    let stop = Arc::new(AtomicBool::new(false));
    let clock = Arc::new(AtomicU64::new(1));
    let mut tasks = Vec::new();
    for (at, near) in caches.iter().flat_map(|near| [near, near]).enumerate() {
        let reading = read(near.clone(), counts.clone(), stop.clone(), at as u64 + 1);
        tasks.push(tokio::spawn(reading));
    }
    for writer in 0..2 {
        let who = (writer, WAYS[usize::from(moves)]);
        let writing = write(nodes.clone(), stop.clone(), clock.clone(), who);
        tasks.push(tokio::spawn(writing));
    }
    let moving = moves.then(|| tokio::spawn(move_slots(nodes.clone(), stop.clone())));
    tokio::time::sleep(duration()).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let mut moved = 0;
    if let Some(moving) = moving {
        moved = moving.await.unwrap();
    }
    for near in &caches {
        settle(near).await;
    }
    let stale = stale_after_quiet(&caches, async |key: &str| nodes.truth(key).await).await;
    let installed: Vec<u64> = caches.iter().map(|near| near.status().installed).collect();
    let seen = counts.seen(stale);
    eprintln!("{seen:?}, installed {installed:?}, {moved} moves");
    assert!(installed.iter().all(|count| *count > 20), "{installed:?}");
    (seen, moved)
}

/// Sets the first key of a group to a number, and the second one to the same or, if it is even, to
/// nothing: so that a key that is known as absent is written elsewhere when its slot has moved.
async fn write_or_remove(nodes: Arc<Nodes>, stop: Arc<AtomicBool>) {
    let mut chance = Chance(99);
    for number in 1u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let keys = keys(chance.below(GROUPS));
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("SET").arg(&keys[0]).arg(number);
        match number % 2 {
            0 => pipe.cmd("DEL").arg(&keys[1]),
            _ => pipe.cmd("SET").arg(&keys[1]).arg(number),
        };
        nodes.write(&pipe).await;
        tokio::time::sleep(Duration::from_millis(chance.below(20) as u64)).await;
    }
}

/// Reads the second key of groups between two reads of the first one. If these are equal, nothing
/// has changed in between. Counts how often that was so, and how often the second key was of
/// another time all the same.
async fn read_between(near: NearCache<String>, stop: Arc<AtomicBool>, counts: Arc<[AtomicU64; 2]>) {
    let mut chance = Chance(17);
    while !stop.load(Ordering::Relaxed) {
        let keys = keys(chance.below(GROUPS));
        let before = near.get(&keys[0]).await.unwrap();
        let second = near.get(&keys[1]).await.unwrap();
        if near.get(&keys[0]).await.unwrap() == before {
            let is_odd = |number: &String| number.parse::<u64>().unwrap() % 2 == 1;
            let is_torn = second != before.filter(is_odd);
            counts[0].fetch_add(1, Ordering::Relaxed);
            counts[1].fetch_add(u64::from(is_torn), Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// Does so while slots move, and heartbeats are rare; with a defect, until it shows.
async fn torn_between(nodes: Nodes, defect: Option<Defect>) -> u64 {
    let nodes = Arc::new(nodes);
    let builder = nodes.builder().heartbeat(Duration::from_millis(300)).plant(defect);
    let near = builder.connect().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let counts = Arc::new([const { AtomicU64::new(0) }; 2]);
    let reading = tokio::spawn(read_between(near, stop.clone(), counts.clone()));
    let writing = tokio::spawn(write_or_remove(nodes.clone(), stop.clone()));
    let moving = tokio::spawn(move_slots(nodes.clone(), stop.clone()));
    let count = |at: usize| counts[at].load(Ordering::Relaxed);
    let begin = Instant::now();
    let at_least = if defect.is_some() { Duration::from_secs(30) } else { duration() };
    while begin.elapsed() < at_least && (defect.is_none() || count(1) == 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.store(true, Ordering::Relaxed);
    reading.await.unwrap();
    writing.await.unwrap();
    let moved = moving.await.unwrap();
    eprintln!("{} torn of {}, {moved} moves", count(1), count(0));
    assert!(defect.is_some() || count(0) > 50, "{}", count(0));
    count(1)
}

on_each_server! {
    async fn whole_in_a_cluster(server: &mut Server) {
        let (seen, _) = stress(Nodes::start(server).await, false).await;
        assert_eq!(seen, Seen { reads: seen.reads, ..Seen::default() });
        assert!(seen.reads > 100, "{seen:?}");
    }

    async fn whole_while_slots_move(server: &mut Server) {
        let (seen, moved) = stress(Nodes::start(server).await, true).await;
        assert_eq!(seen, Seen { reads: seen.reads, ..Seen::default() });
        assert!(seen.reads > 100 && moved > 0, "{seen:?} {moved}");
    }

    async fn whole_beside_absences_while_slots_move(server: &mut Server) {
        assert_eq!(torn_between(Nodes::start(server).await, None).await, 0);
    }

    async fn defect_redirect_ignored_tears_beside_absences(server: &mut Server) {
        let defect = Some(Defect::RedirectIgnored);
        assert!(torn_between(Nodes::start(server).await, defect).await > 0);
    }
}
