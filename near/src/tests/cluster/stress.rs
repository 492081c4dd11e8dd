//! Readers beside writers in a cluster, while its slots move.

use super::nodes::{Nodes, node_of};
use crate::slots::slot_of;
use crate::tests::stress::{
    Chance, Counts, FUNCTION, GROUPS, Seen, change, duration, keys, read, stale_after_quiet,
};
use crate::tests::{on_each_server, settle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Writes to the groups of a writer until it is told to stop.
async fn write(nodes: Arc<Nodes>, stop: Arc<AtomicBool>, clock: Arc<AtomicU64>, writer: usize) {
    let mut chance = Chance(writer as u64 + 77);
    while !stop.load(Ordering::Relaxed) {
        let group = chance.below(GROUPS / 2) * 2 + writer;
        let value = clock.fetch_add(1, Ordering::Relaxed).to_string();
        nodes.write(&change(&keys(group), &value, chance.below(9))).await;
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
        let writing = write(nodes.clone(), stop.clone(), clock.clone(), writer);
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
}
