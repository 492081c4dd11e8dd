//! What goes wrong with the nodes of a cluster.

use super::nodes::{Nodes, know, tag_at};
use crate::tests::faults::{another_runtime, has_no_runtime};
use crate::tests::{on_each_server, settle, until};
use crate::{Error, Local, NearCache, OnDisconnect};
use std::time::{Duration, Instant};

/// A key of each node.
fn keys() -> [String; 3] {
    [0, 1, 2].map(|node| format!("{}key", tag_at(node, 0)))
}

async fn read_all(near: &NearCache<String>, keys: &[String; 3]) {
    for key in keys {
        know(near, key).await;
    }
    assert_eq!(known(near, keys), [true; 3]);
}

fn known(near: &NearCache<String>, keys: &[String; 3]) -> [bool; 3] {
    [0, 1, 2].map(|at| near.get_local(&keys[at]).is_known())
}

on_each_server! {
    async fn a_break_ends_the_entries_of_its_node_alone(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        for mode in [OnDisconnect::Refuse, OnDisconnect::ServeWithinMaxStaleness] {
            let near = nodes.builder().on_disconnect(mode).connect().await.unwrap();
            until("all nodes are connected", || near.status().connected).await;
            assert_eq!(near.status().connections, 3);
            let keys = keys();
            read_all(&near, &keys).await;
            nodes.tell(1, "CLIENT KILL TYPE normal SKIPME yes").await;
            until("a new connection", || near.status().connections == 4).await;
            until("its hits may be served", || near.status().connected).await;
            settle(&near).await;
            assert_eq!(known(&near, &keys), [true, false, true]);
            // The new connection is told of changes.
            know(&near, &keys[1]).await;
            nodes.set(&[&keys[1]], "told").await;
            until("the push", || !near.get_local(&keys[1]).is_known()).await;
        }
    }

    async fn a_node_that_is_down_costs_a_bounded_wait(server: &mut Server) {
        let mut nodes = Nodes::start(server).await;
        let wait = Duration::from_millis(200);
        let near = nodes.builder().connection_timeout(wait * 5).connect().await.unwrap();
        // On a busy machine, the nodes may take longer to answer.
        let begin = Instant::now();
        let short = loop {
            match nodes.builder().connection_timeout(wait).connect().await {
                Ok(short) => break short,
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(60), "{error}"),
            }
        };
        let keys = keys();
        read_all(&near, &keys).await;
        nodes.server(1).kill();
        until("the break", || !near.status().connected && !short.status().connected).await;
        // The break is noted a moment before the hits end.
        until("no hits", || !near.get_local(&keys[1]).is_known()).await;
        assert_eq!(known(&near, &keys), [true, false, true]);
        until("an attempt", || short.status().last_failure.is_some()).await;
        let begin = Instant::now();
        let error = short.get(&keys[1]).await.unwrap_err();
        assert!(matches!(error, Error::Down { .. }), "{error:?}");
        let one = "1".to_owned();
        let error = short.multi().set(&keys[1], &one).exec().await.unwrap_err();
        assert!(matches!(error, Error::Down { .. }), "{error:?}");
        assert!(begin.elapsed() < wait * 20, "{:?}", begin.elapsed());
        // Also a cache that is new finds the others.
        let new = nodes.builder().connection_timeout(wait * 5).connect().await.unwrap();
        for near in [&near, &short, &new] {
            assert_eq!(near.get(&keys[0]).await.unwrap(), None);
            near.multi().set(&keys[2], &one).exec().await.unwrap();
            assert_eq!(near.get(&keys[2]).await.unwrap().as_ref(), Some(&one));
        }
        settle(&near).await;
        assert!(known(&near, &keys)[0]);
    }

    async fn a_node_that_comes_back_does_not_wait_for_a_heartbeat(server: &mut Server) {
        let mut nodes = Nodes::start(server).await;
        let near = nodes.builder().heartbeat(Duration::from_secs(60)).connect().await.unwrap();
        until("all nodes are connected", || near.status().connected).await;
        assert_eq!(near.status().connections, 3);
        nodes.server(1).kill();
        until("an attempt", || near.status().last_failure.is_some()).await;
        // Some more attempts, between two of which nothing else happens.
        tokio::time::sleep(Duration::from_millis(300)).await;
        nodes.restart(1);
        until("a new connection", || near.status().connections == 4).await;
        assert_eq!(near.get(&keys()[1]).await.unwrap(), None);
    }

    async fn bounded_age_when_a_node_is_silent(server: &mut Server) {
        let mut nodes = Nodes::start(server).await;
        let bound = Duration::from_millis(600);
        for mode in [OnDisconnect::Refuse, OnDisconnect::ServeWithinMaxStaleness] {
            let near = nodes
                .builder()
                .on_disconnect(mode)
                .max_staleness(bound)
                .heartbeat(bound / 6)
                .dead_after(bound * 2)
                .connect()
                .await
                .unwrap();
            until("all nodes are connected", || near.status().connected).await;
            let keys = keys();
            read_all(&near, &keys).await;
            // From now on, another node might take its slots over.
            let begin = Instant::now();
            nodes.server(1).signal("-STOP");
            let mut oldest = Duration::ZERO;
            while begin.elapsed() < bound * 4 {
                if near.get_local(&keys[1]).is_known() {
                    oldest = begin.elapsed();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let others = known(&near, &keys);
            nodes.server(1).signal("-CONT");
            assert!(oldest > Duration::ZERO && oldest <= bound, "{oldest:?}");
            assert_eq!(others, [true, false, true], "it counts as gone, and they go on");
            until("it is back", || near.status().connected).await;
        }
    }

    async fn all_nodes_come_back_empty(server: &mut Server) {
        let mut nodes = Nodes::start(server).await;
        let near = nodes.near().await;
        let keys = keys();
        for key in &keys {
            nodes.set(&[key], "1").await;
        }
        read_all(&near, &keys).await;
        let view = near.view().unwrap();
        let flush = near.status().flushes;
        for at in 0..3 {
            nodes.tell(at, "FLUSHALL").await;
        }
        until("the flushes", || near.status().flushes == flush + 3).await;
        assert_eq!(known(&near, &keys), [false; 3]);
        assert!(!view.get(&keys[0]).is_known());
        read_all(&near, &keys).await;
        let view = near.view().unwrap();
        assert!(view.get(&keys[0]).is_known());
        for at in 0..3 {
            nodes.server(at).kill();
        }
        until("the breaks", || !near.status().connected).await;
        until("no hits", || known(&near, &keys) == [false; 3]).await;
        assert!(!view.get(&keys[0]).is_known());
        until("the sweep", || near.cache().is_empty()).await;
    }

    async fn the_end_of_the_runtime_is_told(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let runtime = another_runtime();
        let connect = nodes.builder().connection_timeout(Duration::MAX).connect();
        let near = runtime.spawn(connect).await.unwrap().unwrap();
        until("all nodes are connected", || near.status().connected).await;
        let keys = keys();
        read_all(&near, &keys).await;
        runtime.shutdown_background();
        until("the end", || !near.status().connected).await;
        for key in &keys {
            // The connections are ended one after the other.
            until("no hit", || near.get_local(key) == Local::Unknown).await;
            has_no_runtime(&near, key).await;
        }
    }

    async fn a_replica_takes_over(server: &mut Server) {
        let mut nodes = Nodes::start(server).await;
        nodes.add_fourth(server).await;
        let near = nodes.near().await;
        let keys = keys();
        nodes.set(&[&keys[0]], "old").await;
        read_all(&near, &keys).await;
        let begin = Instant::now();
        nodes.follow(3, 0).await;
        // The old primary becomes a replica, and keeps its connections.
        nodes.fail_over_to(3).await;
        nodes.set(&[&keys[0]], "new").await;
        until("the old primary is left", || !near.get_local(&keys[0]).is_known()).await;
        assert_eq!(near.get(&keys[0]).await.unwrap().as_deref(), Some("new"));
        until("the new primary is connected", || near.status().connected).await;
        assert!(known(&near, &keys)[1..] == [true, true]);
        // The new primary dies; the old one takes over by itself.
        nodes.server(3).kill();
        let mut value = Err(Error::Setting("not asked"));
        while !matches!(&value, Ok(Some(_))) {
            assert!(begin.elapsed() < Duration::from_secs(90), "{value:?}");
            value = near.get(&keys[0]).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(value.unwrap().as_deref(), Some("new"));
    }
}
