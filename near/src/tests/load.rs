//! Reads that load.

use super::server::Server;
use super::{builder, near, on_each_server, settle};
use crate::{LoadError, NearCache};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

async fn load_slowly(loads: &AtomicU32) -> Result<String, Infallible> {
    loads.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok("loaded".to_owned())
}

async fn on_server(server: &Server, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query_async(&mut server.other().await).await.unwrap()
}

on_each_server! {
    async fn one_load_a_key_over_all_processes(server: &mut Server) {
        let caches: Vec<NearCache<String>> = vec![near(server).await, near(server).await];
        let loads = Arc::new(AtomicU32::new(0));
        let mut tasks = Vec::new();
        for task in 0..100 {
            let (near, loads) = (caches[task % 2].clone(), Arc::clone(&loads));
            tasks.push(tokio::spawn(async move {
                near.get_with("expensive", load_slowly(&loads)).await.unwrap()
            }));
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), "loaded");
        }
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        assert_eq!(on_server(server, "expensive").await.as_deref(), Some("loaded"));
        assert_eq!(on_server(server, "coeval:load:expensive").await, None);
    }

    async fn a_write_during_a_load_is_not_overwritten(server: &mut Server) {
        let [near, other] = [near(server).await, near(server).await];
        for key in ["set", "removed"] {
            let loads = AtomicU32::new(0);
            let load = async {
                match key {
                    "set" => other.multi().set(key, &"newer".to_owned()).exec().await.unwrap(),
                    _ => other.multi().del(key).exec().await.unwrap(),
                }
                load_slowly(&loads).await
            };
            // The caller gets what was loaded, as from any load that something has overtaken.
            assert_eq!(near.get_with(key, load).await.unwrap(), "loaded");
            settle(&near).await;
            let expected = (key == "set").then_some("newer");
            assert_eq!(on_server(server, key).await.as_deref(), expected);
            assert_eq!(near.get(key).await.unwrap().as_deref(), expected);
        }
    }

    async fn a_failed_load_gives_the_right_back(server: &mut Server) {
        let near = near(server).await;
        let failed = near.get_with("key", async { Err("no source") }).await.unwrap_err();
        assert!(matches!(failed, LoadError::Loader("no source")), "{failed:?}");
        let loads = AtomicU32::new(0);
        assert_eq!(near.get_with("key", load_slowly(&loads)).await.unwrap(), "loaded");
    }

    async fn a_loader_that_has_died_is_replaced(server: &mut Server) {
        let time = Duration::from_millis(100);
        let near = builder(&server.url()).load_timeout(time).connect().await.unwrap();
        server.tell("SET coeval:load:key somebody PX 100").await;
        let loads = AtomicU32::new(0);
        assert_eq!(near.get_with("key", load_slowly(&loads)).await.unwrap(), "loaded");
    }

    async fn a_value_on_the_server_is_not_loaded(server: &mut Server) {
        let near = near(server).await;
        server.tell("SET key there").await;
        let never = async { Err::<String, _>("loaded all the same") };
        assert_eq!(near.get_with("key", never).await.unwrap(), "there");
    }

    async fn what_was_loaded_is_kept_as_long_as_set(server: &mut Server) {
        let long = Duration::from_secs(60);
        let near = builder(&server.url()).loaded_time_to_live(long).connect().await.unwrap();
        let loads = AtomicU32::new(0);
        near.get_with("timed", load_slowly(&loads)).await.unwrap();
        let left: i64 =
            redis::cmd("PTTL").arg("timed").query_async(&mut server.other().await).await.unwrap();
        assert!((30_000..=60_000).contains(&left), "{left}");
    }
}
