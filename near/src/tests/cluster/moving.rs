//! Slots that move.

use super::nodes::{Nodes, know, tag_at};
use crate::held::NEVER;
use crate::planted::Defect;
use crate::slots::slot_of;
use crate::tests::proxy::{DELAY, Network, Proxy};
use crate::tests::{on_each_server, settle, until};
use crate::{Error, Local, NearCache};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How far a slot has moved when keys of it are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Wholly,
    /// The old node still answers for it, and for the keys that it still has.
    Half,
    /// By the nodes themselves, if they can.
    AtOnce,
}

/// Half a move comes last: beside it, nodes do not move slots by themselves.
const WAYS: [Moved; 3] = [Moved::Wholly, Moved::AtOnce, Moved::Half];

/// The keys `a` and `nothing` in the `nth` slot of the first node.
fn keys(nth: usize) -> [String; 2] {
    let tag = tag_at(0, nth);
    [format!("{tag}a"), format!("{tag}nothing")]
}

/// Moves the slot of these keys, of which the second one is absent, and then changes both by one
/// transaction at the new node.
async fn move_and_change(nodes: &Nodes, [a, nothing]: &[String; 2], moved: Moved) {
    let slot = slot_of(a.as_bytes());
    match moved {
        Moved::Wholly => nodes.move_slot(slot, 0, 1).await,
        Moved::Half => {
            nodes.begin_move(slot, 0, 1).await;
            nodes.move_key(a, 0, 1).await;
            // A transaction needs all of its keys to be there.
            nodes.set(&[nothing], "0").await;
        }
        Moved::AtOnce => move_somehow(nodes, slot, 0, 1).await,
    }
    nodes.set(&[a, nothing], "1").await;
}

async fn move_somehow(nodes: &Nodes, slot: usize, from: usize, to: usize) {
    if !nodes.move_at_once(slot, from, to).await {
        nodes.move_slot(slot, from, to).await;
    }
}

/// A cache that knows the first key, and the second one as absent.
async fn near_that_knows(nodes: &Nodes, keys: &[String; 2], builder: Builder) -> NearCache<String> {
    nodes.set(&[&keys[0]], "0").await;
    let near = builder.connect().await.unwrap();
    until("all nodes are connected", || near.status().connected).await;
    assert_eq!(know(&near, &keys[0]).await.as_deref(), Some("0"));
    assert_eq!(know(&near, &keys[1]).await, None);
    near
}

type Builder = crate::Builder<String, crate::Raw>;

/// Whether two `get`s, or a `get_many`, saw one key as it was after a transaction and the other as
/// before, when the slot had moved and no heartbeat had told.
async fn is_torn(nodes: &Nodes, nth: usize, moved: Moved, defect: Option<Defect>) -> bool {
    let keys = keys(nth);
    let builder = nodes.builder().heartbeat(Duration::from_secs(9)).plant(defect);
    let near = near_that_knows(nodes, &keys, builder).await;
    move_and_change(nodes, &keys, moved).await;
    until("the push", || !near.get_local(&keys[0]).is_known()).await;
    assert_eq!(near.get_local(&keys[1]), Local::Absent, "nobody was told");
    let first = near.get(&keys[0]).await.unwrap();
    assert_eq!(first.as_deref(), Some("1"));
    let second = near.get(&keys[1]).await.unwrap();
    let both = near.get_many(&[&keys[0], &keys[1]]).await.unwrap();
    second != first || both[0] != both[1]
}

/// A read is on its way to a node while the slot leaves that and comes back. In between, the cache
/// has known a key by the other node. Returns whether that is known after the read's answer, though
/// both keys have changed before it.
async fn is_torn_by_an_old_route(nodes: &Nodes, defect: Option<Defect>) -> bool {
    let [a, nothing] = keys(0);
    let slot = slot_of(a.as_bytes());
    nodes.write(redis::pipe().cmd("DEL").arg(&a).arg(&nothing)).await;
    let long = Duration::from_secs(600);
    let builder = nodes.builder().max_staleness(long).heartbeat(long / 4).plant(defect);
    let near = builder.connect().await.unwrap();
    until("all nodes are connected", || near.status().connected).await;
    let core = near.core();
    let route = core.route(slot).await.unwrap();
    nodes.move_slot(slot, 0, 1).await;
    let is_there = || {
        core.broken.notify_one();
        let now = core.route_now(slot);
        now.term != 0 && now.link.number != route.link.number
    };
    until("the new route", is_there).await;
    // A look at the nodes may be left that was asked for.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(know(&near, &nothing).await, None);
    nodes.move_slot(slot, 1, 0).await;
    nodes.set(&[&a, &nothing], "1").await;
    let mut get = redis::pipe();
    get.cmd("GET").arg(&a);
    let answer = core.send(&route, &get).await.unwrap_or_else(|_| panic!("the node has the slot"));
    assert_eq!(answer.values, [redis::Value::BulkString(b"1".to_vec())]);
    near.get_local(&nothing) == Local::Absent
}

const BOUND: Duration = Duration::from_millis(600);

/// How long after a change at the slot's new node a key was still served as absent.
async fn oldest_served(nodes: &Nodes, nth: usize, moved: Moved, ignored: bool) -> Duration {
    let keys = keys(nth);
    let builder = nodes.builder().max_staleness(BOUND).heartbeat(BOUND / 4);
    let builder = builder.plant(ignored.then_some(Defect::SlotsIgnored));
    let near = near_that_knows(nodes, &keys, builder).await;
    let mut oldest = Duration::ZERO;
    let slot = slot_of(keys[0].as_bytes());
    match moved {
        Moved::Wholly => nodes.move_slot(slot, 0, 1).await,
        Moved::Half => nodes.begin_move(slot, 0, 1).await,
        Moved::AtOnce => move_somehow(nodes, slot, 0, 1).await,
    }
    let before = Instant::now();
    nodes.set(&[&keys[1]], "1").await;
    while before.elapsed() < BOUND * 2 {
        if near.get_local(&keys[1]) == Local::Absent {
            oldest = before.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if !ignored {
        assert_eq!(near.get(&keys[1]).await.unwrap().as_deref(), Some("1"));
    }
    oldest
}

on_each_server! {
    async fn whole_when_a_slot_has_moved(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        for (nth, moved) in WAYS.into_iter().enumerate() {
            assert!(!is_torn(&nodes, nth, moved, None).await, "{moved:?}");
        }
    }

    async fn defect_redirect_ignored_tears(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        for (nth, moved) in WAYS.into_iter().enumerate() {
            assert!(is_torn(&nodes, nth, moved, Some(Defect::RedirectIgnored)).await, "{moved:?}");
        }
    }

    async fn bounded_age_when_a_slot_has_moved(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        for (nth, moved) in WAYS.into_iter().enumerate() {
            let oldest = oldest_served(&nodes, nth, moved, false).await;
            assert!(oldest <= BOUND, "{moved:?}: {oldest:?}");
        }
    }

    async fn defect_slots_ignored_serves_what_is_too_old(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        for (nth, moved) in WAYS.into_iter().enumerate() {
            let oldest = oldest_served(&nodes, nth, moved, true).await;
            assert!(oldest > BOUND, "{moved:?}: {oldest:?}");
        }
    }

    async fn nothing_is_known_of_a_slot_that_has_left_and_come_back(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let long = Duration::from_secs(600);
        let near = nodes.builder().max_staleness(long).heartbeat(long / 4).connect().await.unwrap();
        until("all nodes are connected", || near.status().connected).await;
        let stays = tag_at(2, 0);
        for moved in [Moved::Wholly, Moved::AtOnce] {
            let [_, nothing] = keys(0);
            for key in [&nothing, &stays] {
                assert_eq!(know(&near, key).await, None);
            }
            let slot = slot_of(nothing.as_bytes());
            for (from, to) in [(0, 1), (1, 0)] {
                match moved {
                    Moved::AtOnce => move_somehow(&nodes, slot, from, to).await,
                    _ => nodes.move_slot(slot, from, to).await,
                }
            }
            // A heartbeat out of turn may be left from the first move.
            if matches!(moved, Moved::Wholly) {
                assert_eq!(near.get_local(&nothing), Local::Absent, "nobody was told");
            }
            // Heartbeats out of turn: the nodes may not have told each other yet.
            let is_over = || {
                near.core().broken.notify_one();
                !near.get_local(&nothing).is_known()
            };
            until("the term's end", is_over).await;
            assert!(near.get_local(&stays).is_known(), "slots of other nodes go on");
        }
    }

    async fn a_slot_is_known_again_though_callers_miss_all_the_time(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let near = nodes.builder().connect().await.unwrap();
        until("all nodes are connected", || near.status().connected).await;
        let tag = tag_at(0, 0);
        let keys: Vec<String> = (0..16).map(|at| format!("{tag}k{at}")).collect();
        let known = || keys.iter().filter(|key| near.get_local(key).is_known()).count();
        let stop = Arc::new(AtomicBool::new(false));
        let callers = keys.iter().cloned().map(|key| {
            let (near, stop) = (near.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match near.get_local(&key).is_known() {
                        true => tokio::time::sleep(Duration::from_millis(1)).await,
                        false => _ = near.get(&key).await,
                    }
                }
            })
        });
        let callers: Vec<_> = callers.collect();
        until("all are known", || known() == keys.len()).await;
        nodes.tell(0, "FLUSHALL").await;
        until("the term ends", || known() < keys.len()).await;
        until("all are known again", || known() == keys.len()).await;
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.unwrap();
        }
    }

    async fn whole_when_a_read_is_answered_by_an_old_route(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        assert!(!is_torn_by_an_old_route(&nodes, None).await);
    }

    async fn defect_old_route_ignored_tears(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let begin = Instant::now();
        while !is_torn_by_an_old_route(&nodes, Some(Defect::OldRouteIgnored)).await {
            assert!(begin.elapsed() < Duration::from_secs(30), "a look comes in between each time");
        }
    }

    async fn nothing_of_an_old_node_is_resurrected(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let near = nodes.near().await;
        let [stays, _] = keys(1);
        know(&near, &stays).await;
        let [_, key] = keys(0);
        let slot = slot_of(key.as_bytes());
        let core = near.core();
        let route = core.route(slot).await.unwrap();
        let before = core.mark(&key, &route);
        nodes.move_slot(slot, 0, 1).await;
        until("the new route", || core.route_now(slot).link.number != route.link.number).await;
        let refused = near.status().refused;
        core.install(core.mark(&key, &route), &route, Some("old".to_owned()), NEVER);
        assert_eq!(near.status().refused, refused + 1);
        core.install(before, &route, Some("old".to_owned()), NEVER);
        assert_eq!(near.get_local(&key), Local::Unknown);
        assert!(!near.view().unwrap().get(&key).is_known());
        nodes.set(&[&key], "new").await;
        assert_eq!(know(&near, &key).await.as_deref(), Some("new"));
        nodes.set(&[&key], "newer").await;
        until("the new node's push", || !near.get_local(&key).is_known()).await;
        assert!(near.get_local(&stays).is_known(), "other slots of the old node go on");
    }

    async fn entries_of_a_slot_that_has_moved_are_swept_out(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let near = nodes.near().await;
        let tag = tag_at(0, 0);
        for at in 0..500 {
            know(&near, &format!("{tag}{at}")).await;
        }
        let [stays, _] = keys(1);
        know(&near, &stays).await;
        assert_eq!(near.cache().len(), 501);
        nodes.move_slot(slot_of(tag.as_bytes()), 0, 2).await;
        until("the sweep", || near.cache().len() == 1).await;
        assert!(near.get_local(&stays).is_known());
    }

    async fn own_writes_when_a_slot_has_moved(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let keys = keys(0);
        let builder = nodes.builder().heartbeat(Duration::from_secs(9));
        let near = near_that_knows(&nodes, &keys, builder).await;
        let slot = slot_of(keys[0].as_bytes());
        nodes.move_slot(slot, 0, 1).await;
        let (one, two) = ("1".to_owned(), "2".to_owned());
        near.multi().set(&keys[0], &one).set(&keys[1], &one).exec().await.unwrap();
        for key in &keys {
            assert_ne!(near.get_local(key), Local::Absent);
            assert_eq!(near.get(key).await.unwrap().as_ref(), Some(&one));
            assert_eq!(nodes.truth(key).await.as_ref(), Some(&one));
        }
        nodes.move_slot(slot, 1, 2).await;
        assert!(near.compare_and_set(&keys[1], Some(&one), &two).await.unwrap());
        assert_eq!(near.get(&keys[1]).await.unwrap().as_ref(), Some(&two));
        nodes.move_slot(slot, 2, 0).await;
        let load = async { Ok::<_, ()>(two.clone()) };
        let other = keys[1].clone() + "else";
        assert_eq!(near.get_with(&other, load).await.unwrap(), two);
        assert_eq!(nodes.truth(&other).await.as_ref(), Some(&two));
    }

    async fn a_slot_that_is_half_moved_costs_a_bounded_wait(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let [a, b] = keys(0);
        nodes.set(&[&a, &b], "0").await;
        let answer = Duration::from_millis(200);
        let near = nodes.builder().response_timeout(answer).connect().await.unwrap();
        let slot = slot_of(a.as_bytes());
        nodes.begin_move(slot, 0, 1).await;
        nodes.move_key(&a, 0, 1).await;
        // Each key by itself, wherever it is.
        for key in [&a, &b] {
            assert_eq!(near.get(key).await.unwrap().as_deref(), Some("0"));
        }
        let begin = Instant::now();
        let refused = near.get_many(&[&a, &b]).await.unwrap_err();
        assert!(matches!(refused, Error::Unsettled { .. }), "{refused:?}");
        let message = refused.to_string();
        assert!(message.contains(&format!("the slot {slot};")), "{message}");
        let one = "1".to_owned();
        let refused = near.multi().set(&a, &one).set(&b, &one).exec().await.unwrap_err();
        assert!(matches!(refused, Error::Unsettled { .. }), "{refused:?}");
        assert!(begin.elapsed() > answer && begin.elapsed() < answer * 20);
        assert_eq!(nodes.truth(&a).await.as_deref(), Some("0"), "nothing was done");
        assert_eq!(nodes.truth(&b).await.as_deref(), Some("0"));
        // A write that comes while the slot moves is done when it has moved.
        let near = nodes.near().await;
        let write = async { near.multi().set(&a, &one).set(&b, &one).exec().await.unwrap() };
        let end = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            nodes.end_move(slot, 0, 1).await;
        };
        tokio::join!(write, end);
        let both = near.get_many(&[&a, &b]).await.unwrap();
        assert_eq!(both, [Some(one.clone()), Some(one)]);
    }

    async fn a_tag_whose_slot_is_half_moved_is_refused_whole(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let [a, b] = keys(0);
        let tag = tag_at(0, 0) + "tag";
        let near = nodes.builder().response_timeout(Duration::from_millis(200));
        let near = near.connect().await.unwrap();
        let (zero, slot) = ("0".to_owned(), slot_of(a.as_bytes()));
        let set = near.multi().set_tagged(&a, &zero, &[&tag]).set_tagged(&b, &zero, &[&tag]);
        set.exec().await.unwrap();
        nodes.begin_move(slot, 0, 1).await;
        // The tag's set stays, with one of its keys. Then it goes, too, and that key stays.
        for moved in [&b, &format!("coeval:tag:{tag}")] {
            nodes.move_key(moved, 0, 1).await;
            let refused = near.multi().invalidate_tag(&tag).exec().await.unwrap_err();
            assert!(matches!(refused, Error::Unsettled { .. }), "{refused:?}");
            for key in [&a, &b] {
                assert_eq!(nodes.truth(key).await.as_ref(), Some(&zero), "nothing was done");
            }
        }
        nodes.end_move(slot, 0, 1).await;
        near.multi().invalidate_tag(&tag).exec().await.unwrap();
        assert_eq!(near.get_many(&[&a, &b]).await.unwrap(), [None, None]);
    }

    async fn a_new_node_gets_its_first_slot(server: &mut Server) {
        let mut nodes = Nodes::start(server).await;
        let near = nodes.near().await;
        nodes.add_fourth(server).await;
        let [a, b] = keys(0);
        nodes.set(&[&a, &b], "0").await;
        let slot = slot_of(a.as_bytes());
        nodes.begin_move(slot, 0, 3).await;
        nodes.move_key(&a, 0, 3).await;
        assert_eq!(near.get(&a).await.unwrap().as_deref(), Some("0"), "the new node is asked");
        nodes.end_move(slot, 0, 3).await;
        for value in ["1", "2"] {
            nodes.set(&[&a, &b], value).await;
            until("the push", || !near.get_local(&a).is_known()).await;
            assert_eq!(know(&near, &a).await.as_deref(), Some(value));
            assert_eq!(know(&near, &b).await.as_deref(), Some(value));
        }
    }

    async fn nodes_that_name_each_other_cost_a_bounded_wait(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let [key, other] = keys(0);
        let near = nodes.builder().response_timeout(Duration::from_millis(200));
        let near = near.connect().await.unwrap();
        let slot = slot_of(key.as_bytes());
        nodes.tell(0, &format!("CLUSTER SETSLOT {slot} NODE {}", nodes.ids[1])).await;
        let begin = Instant::now();
        let refused = near.get(&key).await.unwrap_err();
        assert!(matches!(refused, Error::Unsettled { .. }), "{refused:?}");
        assert!(refused.to_string().contains("Moved"), "{refused}");
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
        nodes.tell(1, &format!("CLUSTER SETSLOT {slot} NODE {}", nodes.ids[1])).await;
        settle(&near).await;
        assert_eq!(near.get(&other).await.unwrap(), None);
    }

    async fn slow_nodes_that_name_each_other_are_not_asked_for_long(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let networks = [Proxy::start(nodes.port(0)).await, Proxy::start(nodes.port(1)).await];
        for (at, network) in networks.iter().enumerate() {
            let port = network.port();
            nodes.tell(at, &format!("CONFIG SET cluster-announce-port {port}")).await;
            nodes.all_know(&format!("127.0.0.1:{port}@")).await;
        }
        let builder = nodes.builder().response_timeout(DELAY * 3);
        let near = builder.heartbeat(Duration::from_secs(9)).connect().await.unwrap();
        until("all nodes are connected", || near.status().connected).await;
        let [key, _] = keys(0);
        let slot = slot_of(key.as_bytes());
        nodes.tell(0, &format!("CLUSTER SETSLOT {slot} NODE {}", nodes.ids[1])).await;
        networks.iter().for_each(|network| network.set(Network::DelaysReplies));
        let before = nodes.count("errorstats", "errorstat_MOVED:count=").await;
        let refused = near.get(&key).await.unwrap_err();
        assert!(matches!(refused, Error::Unsettled { .. }), "{refused:?}");
        // Half of the time is over when the node has answered that was named.
        let refused = nodes.count("errorstats", "errorstat_MOVED:count=").await - before;
        assert!(refused <= 2 * 2, "{refused}, of GET and PTTL");
    }

    async fn a_slot_on_the_move_does_not_have_nodes_asked_all_the_time(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let beat = Duration::from_millis(400);
        let near = nodes.builder().heartbeat(beat).connect().await.unwrap();
        until("all nodes are connected", || near.status().connected).await;
        let [a, _] = keys(0);
        nodes.set(&[&a], "0").await;
        let slot = slot_of(a.as_bytes());
        nodes.begin_move(slot, 0, 1).await;
        nodes.move_key(&a, 0, 1).await;
        let calls = "cmdstat_cluster|nodes:calls=";
        let (before, begin) = (nodes.count("commandstats", calls).await, Instant::now());
        while begin.elapsed() < beat * 4 {
            assert_eq!(near.get(&a).await.unwrap().as_deref(), Some("0"));
        }
        let looks = (nodes.count("commandstats", calls).await - before) / 3;
        let beats = begin.elapsed().as_millis() / beat.as_millis() + 1;
        // Four for redirects and one more a heartbeat; at first, some more.
        assert!(u128::from(looks) <= beats * 5 + 6, "{looks} in {beats}");
    }
}
