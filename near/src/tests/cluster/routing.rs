//! Commands go where their keys are; and what cannot be one state is refused.

use super::nodes::{Nodes, know, node_of, tag_at};
use crate::slots::slot_of;
use crate::tests::{builder, kill_trackers, on_each_server, settle, until};
use crate::{Error, Local};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Longer than a call waits for a connection, and so is a quarter of it.
const LONG: Duration = Duration::from_secs(60);

fn assert_cross_slot<T: std::fmt::Debug>(outcome: Result<T, Error>, keys: [&str; 2]) {
    let error = outcome.unwrap_err();
    let Error::CrossSlot { first, second } = &error else { panic!("{error:?}") };
    assert_eq!([&first[..], second], keys);
    let message = error.to_string();
    assert!(keys.iter().all(|key| message.contains(key)), "{message}");
}

on_each_server! {
    async fn keys_in_several_slots_are_refused(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let near = nodes.near().await;
        // Two slots of one node, too: a slot may move.
        for other in [tag_at(0, 1), tag_at(1, 0)] {
            let (a, b) = (format!("{}a", tag_at(0, 0)), format!("{other}b"));
            nodes.set(&[&a], "1").await;
            nodes.set(&[&b], "1").await;
            for key in [&a, &b] {
                know(&near, key).await;
            }
            assert_cross_slot(near.get_many(&[&a, &a, &b]).await, [&a, &b]);
            let two = "2".to_owned();
            let multi = near.multi().set(&a, &two).del(&b);
            assert_cross_slot(multi.exec().await, [&a, &b]);
            let multi = near.multi().set_tagged(&a, &two, &[&other]);
            let tag = format!("coeval:tag:{other}");
            assert_cross_slot(multi.exec().await, [&a, &tag]);
            let multi = near.multi().set(&a, &two).invalidate_tag(&other);
            assert_cross_slot(multi.exec().await, [&a, &tag]);
            settle(&near).await;
            for key in [&a, &b] {
                assert_eq!(nodes.truth(key).await.as_deref(), Some("1"), "nothing was written");
                assert_eq!(near.get_local(key), Local::Present("1".to_owned()), "nor dropped");
            }
        }
        assert_eq!(near.get_many(&[]).await.unwrap(), []);
        near.multi().exec().await.unwrap();
    }

    async fn a_prefix_in_braces_puts_all_keys_into_one_slot(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let near = nodes.builder().key_prefix("{app}:").connect().await.unwrap();
        let one = "1".to_owned();
        let multi = near.multi().set_tagged("user:7", &one, &["all"]).set("profile:7", &one);
        multi.exec().await.unwrap();
        let both = near.get_many(&["user:7", "profile:7"]).await.unwrap();
        assert_eq!(both, [Some(one.clone()), Some(one.clone())]);
        near.multi().invalidate_tag("all").exec().await.unwrap();
        assert_eq!(near.get_many(&["user:7", "profile:7"]).await.unwrap(), [None, Some(one)]);
    }

    async fn each_key_is_read_and_written_where_it_is(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let (near, other) = (nodes.near().await, nodes.near().await);
        let value = |at: u32| at.to_string();
        let mut seen = [0; 3];
        for at in 0..28 {
            // Some of these are odd: braces that do not count, or no closing one.
            let key = match at % 4 {
                0 => format!("plain:{at}"),
                1 => format!("a}}b{{{at}"),
                2 => format!("a{{}}b{{{at}}}"),
                _ => format!("{{{at}}}:in braces"),
            };
            seen[node_of(&key)] += 1;
            assert_eq!(near.get(&key).await.unwrap(), None);
            near.multi().set(&key, &value(at)).exec().await.unwrap();
            assert_eq!(near.get(&key).await.unwrap(), Some(value(at)));
            assert_eq!(other.get(&key).await.unwrap(), Some(value(at)));
            assert!(other.compare_and_set(&key, Some(&value(at)), &value(at + 1)).await.unwrap());
            until("the push", || near.get_local(&key) != Local::Present(value(at))).await;
            assert_eq!(near.get(&key).await.unwrap(), Some(value(at + 1)));
            near.multi().del(&key).exec().await.unwrap();
            let load = async { Ok::<_, ()>(value(at + 2)) };
            assert_eq!(near.get_with(&key, load).await.unwrap(), value(at + 2));
            settle(&other).await;
            assert_eq!(other.get(&key).await.unwrap(), Some(value(at + 2)), "it was written");
            let right = near.core().right_of(&key);
            assert_eq!(slot_of(right.as_bytes()), slot_of(key.as_bytes()), "{right}");
            assert_eq!(nodes.truth(&right).await, None, "the right was given back");
        }
        assert!(seen.iter().all(|count| *count > 2), "{seen:?}");
    }

    async fn one_load_a_key_over_all_processes_of_a_cluster(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let caches = [nodes.near().await, nodes.near().await];
        let loads = std::sync::Arc::new(AtomicU32::new(0));
        let mut tasks = Vec::new();
        for task in 0..60 {
            let (near, loads) = (caches[task % 2].clone(), loads.clone());
            let key = format!("expensive:{}", task % 3);
            tasks.push(tokio::spawn(async move {
                let load = async {
                    loads.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok::<_, ()>("loaded".to_owned())
                };
                near.get_with(&key, load).await.unwrap()
            }));
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), "loaded");
        }
        assert_eq!(loads.load(Ordering::Relaxed), 3);
    }

    async fn a_tag_of_a_cluster_removes_what_processes_have_set(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let (here, there) = (nodes.near().await, nodes.near().await);
        // The second key has no braces, and lies in the slot of its tag all the same.
        let (tag, keys) = ("{7}:all", ["{7}:page", "7"]);
        let one = "1".to_owned();
        let multi = keys.iter().fold(here.multi(), |it, key| it.set_tagged(key, &one, &[tag]));
        multi.exec().await.unwrap();
        for near in [&here, &there] {
            assert_eq!(near.get_many(&keys).await.unwrap(), [Some(one.clone()), Some(one.clone())]);
        }
        // An invalidation takes the right of those who load.
        here.multi().set_tagged("{7}:load", &one, &[tag]).del("{7}:load").exec().await.unwrap();
        let load = async {
            there.multi().invalidate_tag(tag).exec().await.unwrap();
            Ok::<_, ()>("read before".to_owned())
        };
        assert_eq!(here.get_with("{7}:load", load).await.unwrap(), "read before");
        assert_eq!(here.get("{7}:load").await.unwrap(), None, "it was not written");
        assert_eq!(there.get_many(&keys).await.unwrap(), [None, None]);
        settle(&here).await;
        assert_eq!(here.get_many(&keys).await.unwrap(), [None, None]);
    }

    async fn a_seed_that_is_down_or_no_node_is_passed_over(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let nowhere = "redis://127.0.0.1:1/";
        let alone = server.url();
        let further = [&alone[..], &nodes.url(2)];
        let near = builder(nowhere).cluster(&further).connect().await.unwrap();
        until("all nodes are connected", || near.status().connected).await;
        assert_eq!(near.get("key").await.unwrap(), None);
        let refused = builder(&alone).cluster(&[nowhere, &alone]).connect().await.unwrap_err();
        assert!(refused.to_string().contains("cluster support disabled"), "{refused}");
        let refused = builder(&nodes.url(1)).connect().await.unwrap_err();
        assert!(refused.to_string().contains("Builder::cluster"), "{refused}");
        let both = builder(nowhere).cluster(&[]).sentinels("primary", &[]).connect().await;
        assert!(matches!(both, Err(Error::Setting(_))), "{both:?}");
    }

    async fn a_key_of_another_type_is_absent_among_others(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let near = nodes.near().await;
        for key in ["a", "b", "c", "d"] {
            let (list, nothing) = (format!("{{{key}}}:list"), format!("{{{key}}}:nothing"));
            nodes.tell(node_of(key), &format!("LPUSH {list} 1")).await;
            assert!(matches!(near.get(&list).await, Err(Error::Server(_))));
            assert_eq!(near.get(&nothing).await.unwrap(), None);
            assert_eq!(near.get_many(&[&nothing, &list]).await.unwrap(), [None, None]);
            assert_eq!(near.get_many(&[&list]).await.unwrap(), [None]);
        }
    }

    async fn times_that_never_end_are_accepted(server: &mut Server) {
        let mut nodes = Nodes::start(server).await;
        let builder = nodes.builder().heartbeat(Duration::MAX).dead_after(Duration::MAX);
        let near = builder.connect().await.unwrap();
        until("all nodes are connected", || near.status().connected).await;
        let before = near.status().connections;
        kill_trackers(&mut nodes.others[0]).await;
        until("a new connection", || near.status().connections > before).await;
    }

    async fn a_seed_that_is_silent_is_passed_over(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        // It takes connections, and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}/", silent.local_addr().unwrap());
        let builder = builder(&url).cluster(&[&nodes.url(1)]).max_staleness(LONG);
        let near = builder.connection_timeout(Duration::from_secs(6)).connect().await.unwrap();
        assert_eq!(near.get("key").await.unwrap(), None);
    }

    async fn the_blocking_form_of_a_cluster_does_the_same(server: &mut Server) {
        let nodes = Nodes::start(server).await;
        let builder = nodes.builder();
        tokio::task::spawn_blocking(move || {
            let near = builder.connect_blocking().unwrap();
            let one = "1".to_owned();
            for key in ["a", "b", "c", "d"] {
                near.exec(near.near().multi().set(key, &one)).unwrap();
                assert_eq!(near.get(key).unwrap().as_ref(), Some(&one));
            }
            assert_cross_slot(near.get_many(&["a", "b"]), ["a", "b"]);
        })
        .await
        .unwrap();
    }
}
