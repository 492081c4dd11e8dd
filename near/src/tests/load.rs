//! Reads that load.

use super::proxy::{Network, Proxy};
use super::server::Server;
use super::{builder, near, on_each_server, settle};
use crate::{Codec, CodecError, Error, LoadError, NearCache};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

async fn load_slowly(loads: &AtomicU32) -> Result<String, Infallible> {
    loads.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok("loaded".to_owned())
}

fn planned_panic() -> Result<String, ()> {
    panic!("a loader panics, as planned")
}

async fn on_server(server: &Server, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query_async(&mut server.other().await).await.unwrap()
}

/// Short, so that a test can wait for it.
const SHORT: Duration = Duration::from_secs(2);

/// Less than for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cache whose loaders keep the right to load for longer than any test lasts.
async fn with_long_rights(url: &str) -> NearCache<String> {
    builder(url).load_timeout(Duration::from_secs(600)).connect().await.unwrap()
}

/// Loads this key now. Fails if the right to is somebody else's for long.
async fn load_now(near: &NearCache<String>, key: &str) {
    let load = near.get_with(key, async { Ok::<_, ()>("loaded".to_owned()) });
    let loaded = timeout(PATIENCE, load).await.expect("the right was given back");
    assert_eq!(loaded.unwrap(), "loaded");
}

/// Waits until somebody has the right to load this key.
async fn has_right(server: &Server, key: &str) {
    let exists = format!("EXISTS coeval:load:{key}");
    while server.tell(&exists).await != redis::Value::Int(1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Has whoever holds the right to load this key hold it for longer than any test lasts.
async fn keep_right(server: &Server, key: &str) {
    let kept = server.tell(&format!("PEXPIRE coeval:load:{key} 600000")).await;
    assert_eq!(kept, redis::Value::Int(1));
}

type Load = JoinHandle<Result<String, LoadError<oneshot::error::RecvError>>>;

/// Begins to load `key`, until what is loaded is sent.
async fn begin_load(
    near: &NearCache<String>,
    key: &'static str,
) -> (oneshot::Sender<String>, Load) {
    let (begins, begun) = oneshot::channel();
    let (sender, receiver) = oneshot::channel();
    let near = near.clone();
    let load = tokio::spawn(async move {
        let load = async {
            begins.send(()).unwrap();
            receiver.await
        };
        near.get_with(key, load).await
    });
    timeout(PATIENCE, begun).await.expect("nobody is waited for any more").unwrap();
    (sender, load)
}

/// Has a load send this value, and waits until it is over: its caller gets the value.
async fn end_load((sender, load): (oneshot::Sender<String>, Load), value: &str) {
    sender.send(value.to_owned()).unwrap();
    assert_eq!(load.await.unwrap().unwrap(), value);
}

/// Text that must not be `unwritable`.
struct Picky;

impl Codec<String> for Picky {
    fn encode(&self, value: &String) -> Result<Vec<u8>, CodecError> {
        if value == "unwritable" { Err(value.clone().into()) } else { crate::Raw.encode(value) }
    }

    fn decode(&self, bytes: &[u8]) -> Result<String, CodecError> {
        crate::Raw.decode(bytes)
    }
}

on_each_server! {
    async fn a_loader_that_loads_its_own_key_ends(server: &mut Server) {
        let near = builder(&server.url()).load_timeout(SHORT).connect().await.unwrap();
        let load = async {
            let load = async {
                keep_right(server, "key").await;
                Ok::<_, ()>("inner".to_owned())
            };
            let inner = near.get_with("key", load).await.unwrap();
            Ok::<_, ()>(format!("outer, {inner}"))
        };
        let loaded = timeout(PATIENCE, near.get_with("key", load)).await.expect("it ends");
        assert_eq!(loaded.unwrap(), "outer, inner");
        // The right was the inner one's by then.
        assert_eq!(on_server(server, "key").await.as_deref(), Some("inner"));
        assert_eq!(near.get("key").await.unwrap().as_deref(), Some("inner"));
    }

    async fn loaders_that_wait_for_each_other_end(server: &mut Server) {
        let near = builder(&server.url()).load_timeout(SHORT).connect().await.unwrap();
        let both = Arc::new(tokio::sync::Barrier::new(2));
        let tasks = [("one", "two"), ("two", "one")].map(|(own, other)| {
            let (near, both) = (near.clone(), Arc::clone(&both));
            tokio::spawn(async move {
                let load = async {
                    both.wait().await;
                    near.get_with(other, async { Ok::<_, ()>("alone".to_owned()) }).await
                };
                timeout(PATIENCE, near.get_with(own, load)).await.expect("it ends").unwrap()
            })
        });
        for task in tasks {
            assert_eq!(task.await.unwrap(), "alone");
        }
    }

    async fn a_load_that_takes_too_long_is_overtaken(server: &mut Server) {
        let near = builder(&server.url()).load_timeout(SHORT).connect().await.unwrap();
        for later in ["nothing", "SET key newer", "DEL key"] {
            server.tell("DEL key").await;
            settle(&near).await;
            let first = begin_load(&near, "key").await;
            // It waits for the first one, no longer than that has the right.
            let second = begin_load(&near, "key").await;
            keep_right(server, "key").await;
            // The first one has lost the right, whether the second one has ended or not.
            let mut expected = Some("second");
            match later {
                "nothing" => {
                    end_load(first, "first").await;
                    assert_eq!(on_server(server, "key").await, None);
                    end_load(second, "second").await;
                }
                write => {
                    end_load(second, "second").await;
                    assert_eq!(on_server(server, "key").await.as_deref(), Some("second"));
                    server.tell(write).await;
                    expected = (write == "SET key newer").then_some("newer");
                    end_load(first, "first").await;
                }
            }
            assert_eq!(on_server(server, "key").await.as_deref(), expected, "{later}");
            settle(&near).await;
            assert_eq!(near.get("key").await.unwrap().as_deref(), expected, "{later}");
        }
    }

    async fn a_load_that_has_overtaken_another_one_is_waited_for(server: &mut Server) {
        let near = builder(&server.url()).load_timeout(PATIENCE).connect().await.unwrap();
        let first = begin_load(&near, "key").await;
        // As if its time were over for the next one.
        let gone = near.core().right_of("key");
        server.tell(&format!("DEL {gone}")).await;
        let flights = &near.core().flights;
        let mut early = Box::pin(flights.begin(&gone));
        assert!(timeout(Duration::from_millis(50), &mut early).await.is_err());
        let flight = flights.replace(&gone);
        assert!(timeout(PATIENCE, early).await.expect("it looks again").is_none());
        let waits = tokio::spawn({
            let near = near.clone();
            async move { near.get_with("key", pending::<Result<String, ()>>()).await }
        });
        // The end of the first one is not that of the one that has overtaken it.
        end_load(first, "first").await;
        assert!(timeout(Duration::from_millis(50), near.core().flights.begin(&gone)).await.is_err());
        server.tell("SET key second").await;
        drop(flight);
        let waited = timeout(PATIENCE, waits).await.expect("it is woken");
        assert_eq!(waited.unwrap().unwrap(), "second");
    }

    async fn times_to_load_that_never_end_are_accepted(server: &mut Server) {
        for (key, time) in [("max", Duration::MAX), ("long", Duration::from_nanos(u64::MAX))] {
            let near = builder(&server.url()).load_timeout(time).connect().await.unwrap();
            server.tell(&format!("SET coeval:load:{key} somebody PX 100")).await;
            load_now(&near, key).await;
            assert_eq!(on_server(server, key).await.as_deref(), Some("loaded"), "it has waited");
        }
    }

    async fn a_value_that_cannot_be_written_gives_the_right_back(server: &mut Server) {
        let time = Duration::from_secs(600);
        let picky = builder(&server.url()).codec(Picky).load_timeout(time);
        let near = picky.connect().await.unwrap();
        let load = async { Ok::<_, ()>("unwritable".to_owned()) };
        let failed = near.get_with("key", load).await.unwrap_err();
        assert!(matches!(failed, LoadError::Cache(Error::Codec(_))), "{failed:?}");
        assert_eq!(on_server(server, "coeval:load:key").await, None);
        load_now(&near, "key").await;
    }

    async fn a_loader_that_panics_gives_the_right_back(server: &mut Server) {
        let near = with_long_rights(&server.url()).await;
        let task = tokio::spawn({
            let near = near.clone();
            async move { near.get_with("key", async { planned_panic() }).await }
        });
        assert!(task.await.unwrap_err().is_panic());
        load_now(&near, "key").await;
    }

    async fn a_load_that_is_given_up_gives_the_right_back(server: &mut Server) {
        let near = with_long_rights(&server.url()).await;
        let (sender, load) = begin_load(&near, "key").await;
        load.abort();
        assert!(load.await.unwrap_err().is_cancelled());
        drop(sender);
        load_now(&near, "key").await;
    }

    async fn a_right_whose_caller_gives_up_while_it_is_asked_for_is_given_back(
        server: &mut Server
    ) {
        let proxy = Proxy::start(server.port()).await;
        let near = with_long_rights(&proxy.url()).await;
        near.get("key").await.unwrap();
        proxy.set(Network::WithholdsReplies);
        let load = near.get_with("key", pending::<Result<String, ()>>());
        tokio::select! {
            _ = load => unreachable!("its loader does not end"),
            () = has_right(server, "key") => {}
        }
        proxy.set(Network::Passes);
        load_now(&near, "key").await;
    }

    async fn a_right_is_given_back_also_if_the_last_handle_goes(server: &mut Server) {
        let near = with_long_rights(&server.url()).await;
        let load = async move { near.get_with("key", pending::<Result<String, ()>>()).await };
        let load = tokio::spawn(load);
        has_right(server, "key").await;
        load.abort();
        assert!(load.await.unwrap_err().is_cancelled());
        load_now(&with_long_rights(&server.url()).await, "key").await;
    }

    async fn a_read_that_nobody_polls_holds_nobody_up(server: &mut Server) {
        let proxy = Proxy::start(server.port()).await;
        let soon = Duration::from_millis(300);
        let builder = builder(&proxy.url()).connection_timeout(soon).response_timeout(soon);
        let near = builder.connect().await.unwrap();
        proxy.set(Network::WithholdsReplies);
        let mut first = std::pin::pin!(near.get("key"));
        assert!(timeout(Duration::from_millis(20), &mut first).await.is_err());
        proxy.set(Network::Passes);
        let second = timeout(PATIENCE, near.get("key")).await.expect("it reads by itself");
        assert_eq!(second.unwrap(), None);
        let load = near.get_with("key", async { Ok::<_, ()>("loaded".to_owned()) });
        assert_eq!(timeout(PATIENCE, load).await.expect("it does not wait").unwrap(), "loaded");
    }

    async fn the_blocking_form_gives_the_right_back(server: &mut Server) {
        let builder = builder(&server.url()).load_timeout(Duration::from_secs(600));
        let near = tokio::task::spawn_blocking(move || {
            let near = builder.connect_blocking().unwrap();
            let load = || near.get_with("key", planned_panic);
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(load)).is_err());
            near
        });
        let near = near.await.unwrap();
        load_now(near.near(), "key").await;
    }

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
