//! Tags that processes share.

use super::proxy::{Network, Proxy};
use super::server::Server;
use super::stress::duration;
use super::{builder, near, on_each_server, settle, until};
use crate::planted::Defect;
use crate::{Error, Local, NearCache};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEYS: [&str; 3] = ["page:1", "page:2", "page:3"];

async fn get_all(near: &NearCache<String>) -> Vec<Option<String>> {
    near.get_many(&KEYS).await.unwrap()
}

/// Sets all keys to this value, with a tag.
fn set_all<'n>(near: &'n NearCache<String>, value: &String) -> crate::Multi<'n, String> {
    KEYS.iter().fold(near.multi(), |multi, key| multi.set_tagged(key, value, &["pages"]))
}

/// How often a key of a tag was known here after its invalidation had returned.
async fn known_after_invalidation(server: &Server, defect: Option<Defect>) -> usize {
    // The pushes come after the reply; here often much later.
    let proxy = Proxy::start(server.port()).await;
    let near = builder(&proxy.url()).plant(defect).connect().await.unwrap();
    let mut known = 0;
    for round in 0..50 {
        set_all(&near, &round.to_string()).exec().await.unwrap();
        get_all(&near).await;
        proxy.set(Network::DelaysParts);
        near.multi().invalidate_tag("pages").exec().await.unwrap();
        known += KEYS.iter().filter(|key| near.get_local(key).present().is_some()).count();
        proxy.set(Network::Passes);
        settle(&near).await;
        assert_eq!(get_all(&near).await, [None, None, None], "now the pushes are here");
    }
    known
}

/// Sets a group anew with its tag, or removes it by the tag, until it is told to stop.
async fn write(near: NearCache<String>, stop: Arc<AtomicBool>) {
    for round in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let value = round.to_string();
        let multi = near.multi().invalidate_tag("pages");
        let multi = KEYS.iter().fold(multi, |multi, key| match round % 3 {
            0 => multi,
            _ => multi.set_tagged(key, &value, &["pages"]),
        });
        multi.exec().await.unwrap();
    }
}

on_each_server! {
    async fn a_tag_is_shared_by_processes(server: &mut Server) {
        let (here, there) = (near(server).await, near(server).await);
        let (old, new) = ("old".to_owned(), "new".to_owned());
        set_all(&here, &old).set_tagged("other", &old, &["others"]).exec().await.unwrap();
        for near in [&here, &there] {
            assert_eq!(get_all(near).await, vec![Some(old.clone()); 3]);
            near.get("other").await.unwrap();
        }
        here.multi()
            .invalidate_tag("pages")
            .set_tagged("page:3", &new, &["pages"])
            .exec()
            .await
            .unwrap();
        settle(&there).await;
        for near in [&here, &there] {
            assert_eq!(near.get_local("page:1").present(), None);
            assert_eq!(near.get_local("other"), Local::Present(old.clone()), "it has another tag");
            assert_eq!(get_all(near).await, [None, None, Some(new.clone())]);
        }
        // What was set after the invalidation has the tag again; of another prefix, it is another.
        let apart = builder(&server.url()).key_prefix("apart:").connect().await.unwrap();
        apart.multi().invalidate_tag("pages").exec().await.unwrap();
        assert_eq!(here.get("page:3").await.unwrap(), Some(new));
        there.multi().invalidate_tag("pages").exec().await.unwrap();
        assert_eq!(get_all(&there).await, [None, None, None]);
        settle(&here).await;
        assert_eq!(get_all(&here).await, [None, None, None]);
    }

    async fn an_invalidated_tag_is_whole(server: &mut Server) {
        let (writer, readers) = (near(server).await, [near(server).await, near(server).await]);
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(write(writer, Arc::clone(&stop)));
        let begin = Instant::now();
        let (mut reads, mut torn, mut absent) = (0, 0, 0);
        while begin.elapsed() < duration() {
            for near in &readers {
                let group = get_all(near).await;
                reads += 1;
                torn += u32::from(group.windows(2).any(|pair| pair[0] != pair[1]));
                absent += u32::from(group[0].is_none());
                let Some(view) = near.view() else { continue };
                let known = KEYS.iter().map(|key| view.get(key)).filter(Local::is_known);
                let known: Vec<_> = known.collect();
                torn += u32::from(known.windows(2).any(|pair| pair[0] != pair[1]));
            }
        }
        stop.store(true, Ordering::Relaxed);
        task.await.unwrap();
        eprintln!("{reads} reads, {absent} of an absent group, {torn} torn");
        assert!(torn == 0 && absent > 0 && absent < reads, "{torn} of {reads}, {absent} absent");
    }

    async fn own_invalidations_of_tags_are_seen(server: &mut Server) {
        assert_eq!(known_after_invalidation(server, None).await, 0);
    }

    async fn defect_no_second_drop_hides_own_invalidations_of_tags(server: &mut Server) {
        assert!(known_after_invalidation(server, Some(Defect::NoSecondDrop)).await > 0);
    }

    async fn an_invalidation_without_an_answer_leaves_nothing(server: &mut Server) {
        let proxy = Proxy::start(server.port()).await;
        let near = builder(&proxy.url())
            .response_timeout(Duration::from_millis(200))
            .connect()
            .await
            .unwrap();
        set_all(&near, &"old".to_owned()).exec().await.unwrap();
        get_all(&near).await;
        proxy.set(Network::Withholds);
        let unknown = near.multi().invalidate_tag("pages").exec().await;
        assert!(matches!(unknown, Err(Error::Unknown(_))), "{unknown:?}");
        assert!(KEYS.iter().all(|key| !near.get_local(key).is_known()));
        proxy.set(Network::Passes);
    }

    async fn an_invalidation_takes_the_right_to_load(server: &mut Server) {
        let (here, there) = (near(server).await, near(server).await);
        let old = "old".to_owned();
        let multi = here.multi().set_tagged("page:1", &old, &["pages"]).del("page:1");
        multi.exec().await.unwrap();
        let load = async {
            there.multi().invalidate_tag("pages").exec().await.unwrap();
            Ok::<_, ()>("read before".to_owned())
        };
        assert_eq!(here.get_with("page:1", load).await.unwrap(), "read before");
        assert_eq!(here.get("page:1").await.unwrap(), None, "it was not written");
    }

    async fn a_key_that_lives_on_keeps_its_tag(server: &mut Server) {
        let near = near(server).await;
        let (value, short) = ("value".to_owned(), Duration::from_millis(1));
        let long = Duration::from_secs(600);
        near.multi()
            .set_tagged_with_ttl("ever", &value, &["t"], short)
            .set("ever", &value)
            .set_tagged_with_ttl("longer", &value, &["t"], short)
            .set_with_ttl("longer", &value, long)
            .set_tagged_with_ttl("over", &value, &["t"], short)
            .exec()
            .await
            .unwrap();
        for round in 0..2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            near.multi().set_tagged("other", &value, &["t"]).exec().await.unwrap();
            let count = server.tell("ZCARD coeval:tag:t").await;
            assert_eq!(count, redis::Value::Int(3), "{round}: `over` is forgotten");
        }
        near.multi().invalidate_tag("t").exec().await.unwrap();
        assert_eq!(server.tell("EXISTS ever longer other").await, redis::Value::Int(0));
    }

    async fn a_tag_forgets_keys_whose_time_is_over(server: &mut Server) {
        let near = near(server).await;
        let value = "value".to_owned();
        let long = Duration::from_secs(600);
        for at in 0..20 {
            let (short_key, long_key) = (format!("short:{at}"), format!("long:{at}"));
            near.multi()
                .set_tagged_with_ttl(&short_key, &value, &["t"], Duration::from_millis(1))
                .set_tagged_with_ttl(&long_key, &value, &["t"], long)
                .exec()
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        near.multi().set_tagged("ever", &value, &["t"]).exec().await.unwrap();
        assert_eq!(server.tell("ZCARD coeval:tag:t").await, redis::Value::Int(21));
        near.multi().invalidate_tag("t").exec().await.unwrap();
        assert_eq!(server.tell("EXISTS long:0 long:19 ever").await, redis::Value::Int(0));
        until("nothing is known", || near.get_local("ever").present().is_none()).await;
    }
}
