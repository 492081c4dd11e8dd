//! What the nodes of a cluster really do. Each test is a row of the table in `docs/near.md`.

use super::nodes::{Nodes, tag_at};
use crate::slots::slot_of;
use crate::tests::on_each_server;
use crate::tests::wire::{Wire, push};
use std::time::{Duration, Instant};

/// A cluster, a slot of its first node, and the keys `a`, `b` and `nothing` in it, of which a reader
/// of that node has read the first two, and has found the last one absent.
async fn read_and_begin_to_move(nodes: &Nodes) -> (usize, [String; 3], Wire) {
    let tag = tag_at(0, 0);
    let keys = ["a", "b", "nothing"].map(|name| format!("{tag}{name}"));
    nodes.set(&[&keys[0], &keys[1]], "1").await;
    let mut reader = Wire::tracking(nodes.port(0));
    let read = keys.iter().map(|key| format!("GET {key}")).collect::<Vec<_>>().join(";");
    assert_eq!(reader.ask(&read), ["$1", "$1", "nil"]);
    let slot = slot_of(tag.as_bytes());
    nodes.begin_move(slot, 0, 1).await;
    (slot, keys, reader)
}

on_each_server! {
    async fn fact_slots_are_those_of_the_server(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let mut wire = Wire::connect(nodes.port(0), 3);
        for key in ["a", "{a}b", "a{b}c", "a{}b", "a{}{b}", "{{a}}", "a}b{c", "a}{b}", "{", "für"] {
            let slot = format!(":{}", slot_of(key.as_bytes()));
            assert_eq!(wire.ask(&format!("CLUSTER KEYSLOT {key}")), [slot], "{key}");
        }
    }

    async fn fact_keys_leave_with_a_push_and_absent_ones_without(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let (slot, [a, b, nothing], mut reader) = read_and_begin_to_move(&nodes).await;
        assert!(reader.hear().is_empty(), "that it moves is told nobody");
        nodes.end_move(slot, 0, 1).await;
        let mut heard = reader.hear();
        heard.sort();
        assert_eq!(heard, [push(&a), push(&b)]);
        nodes.set(&[&nothing], "1").await;
        assert!(reader.hear().is_empty());
        assert_eq!(nodes.truth(&nothing).await.as_deref(), Some("1"));
    }

    async fn fact_a_moving_slot_asks_for_what_is_absent_elsewhere(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let (slot, [a, b, nothing], mut reader) = read_and_begin_to_move(&nodes).await;
        let ask = format!("-ASK {slot} 127.0.0.1:{}", nodes.port(1));
        let frames = reader.ask(&format!("GET {nothing};GET {a}"));
        assert_eq!(frames, [ask.clone(), "$1".to_owned()]);
        // So no value of the slot's new node is told to a reader of the old one.
        nodes.set(&[&nothing], "1").await;
        nodes.move_key(&a, 0, 1).await;
        assert_eq!(reader.hear(), [push(&a)]);
        nodes.set(&[&a, &nothing], "2").await;
        assert!(reader.hear().is_empty());
        // ASKING counts for one command, or for one transaction.
        let mut other = Wire::connect(nodes.port(1), 3);
        let moved = format!("-MOVED {slot} 127.0.0.1:{}", nodes.port(0));
        let frames = other.ask(&format!("ASKING;GET {a};GET {a}"));
        assert_eq!(frames, ["+OK", "$2", &moved]);
        let frames = other.ask(&format!("ASKING;MULTI;GET {a};GET {nothing};EXEC;GET {a}"));
        assert_eq!(frames, ["+OK", "+OK", "+QUEUED", "+QUEUED", "[$2 $2]", &moved]);
        // Keys that are on both nodes, and new ones beside others: nobody answers.
        let again = "-TRYAGAIN Multiple keys request during rehashing of slot";
        assert_eq!(reader.ask(&format!("MGET {a} {b}")), [again]);
        assert_eq!(other.ask(&format!("ASKING;MGET {a} {b}")), ["+OK", again]);
        let new = format!("{nothing}new");
        let frames = other.ask(&format!("ASKING;MULTI;SET {a} 3;SET {new} 3;EXEC"));
        assert_eq!(frames, ["+OK", "+OK", "+QUEUED", "+QUEUED", again]);
        assert_eq!(nodes.truth(&a).await.as_deref(), Some("2"));
    }

    async fn fact_a_slot_that_is_taken_over_is_lost(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let (slot, [a, b, nothing], mut reader) = read_and_begin_to_move(&nodes).await;
        // The old node hears of it from the new one.
        nodes.tell(1, &format!("CLUSTER SETSLOT {slot} NODE {}", nodes.ids[1])).await;
        let begin = Instant::now();
        let mut heard = Vec::new();
        while !heard.iter().any(|frame: &String| frame.starts_with("-MOVED")) {
            assert!(begin.elapsed() < Duration::from_secs(20), "{heard:?}");
            heard.extend(reader.ask(&format!("GET {nothing}")));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        heard.extend(reader.hear());
        assert_eq!(reader.ask(&format!("CLUSTER COUNTKEYSINSLOT {slot}")), [":0"]);
        let is_pushed = |key: &str| heard.contains(&push(key));
        let is_redis = server.version().await.starts_with("Redis 7.0");
        assert_eq!([is_pushed(&a), is_pushed(&b)], [!is_redis; 2], "{heard:?}");
        assert!(!is_pushed(&nothing));
    }

    async fn fact_a_slot_that_nodes_move_is_pushed_without_absences(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let tag = tag_at(0, 0);
        let (a, nothing) = (format!("{tag}a"), format!("{tag}nothing"));
        nodes.set(&[&a], "1").await;
        let mut reader = Wire::tracking(nodes.port(0));
        assert_eq!(reader.ask(&format!("GET {a};GET {nothing}")), ["$1", "nil"]);
        if !nodes.move_at_once(slot_of(tag.as_bytes()), 0, 1).await {
            return; // Redis 7.0 cannot
        }
        nodes.set(&[&a, &nothing], "2").await;
        let begin = Instant::now();
        let mut heard = Vec::new();
        while heard.is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(20), "no push");
            heard = reader.hear();
        }
        assert_eq!(heard, [push(&a)]);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(reader.hear().is_empty());
    }

    async fn fact_a_slot_that_comes_back_is_pushed_with_what_was_absent(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let tag = tag_at(0, 0);
        let (a, nothing) = (format!("{tag}a"), format!("{tag}nothing"));
        let slot = slot_of(tag.as_bytes());
        for by_nodes in [false, true] {
            let mut reader = Wire::tracking(nodes.port(0));
            assert_eq!(reader.ask(&format!("GET {a};GET {nothing}")), ["nil", "nil"]);
            for (from, to) in [(0, 1), (1, 0)] {
                if !by_nodes {
                    nodes.move_slot(slot, from, to).await;
                } else if !nodes.move_at_once(slot, from, to).await {
                    return; // Redis 7.0 cannot
                }
                if to == 1 {
                    nodes.set(&[&a, &nothing], "1").await;
                }
            }
            let mut frames = reader.ask(&format!("GET {a};GET {nothing}"));
            frames[..2].sort();
            assert_eq!(frames, [&push(&a), &push(&nothing), "$1", "$1"], "{by_nodes}");
            nodes.tell(0, &format!("DEL {a} {nothing}")).await;
        }
    }
}
