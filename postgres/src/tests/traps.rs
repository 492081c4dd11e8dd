//! What is easily misread: names, the identity of partitions, and functions of the user that panic.

use super::{
    Key, builder, config, connect, get, group, keys_of, on_a_server, position, raise, until,
};
use crate::{Error, Lsn, PgCache, Row, Unsent};
use std::time::Duration;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(20);

/// Posts, of which the feed of a user is made.
fn keys_of_posts(row: &Row<'_>, keys: &mut Vec<Key>) -> Result<(), Unsent> {
    if row.table() == "posts" {
        keys.extend(row.get("user_id")?.and_then(|id| id.parse().ok()).map(|id| ("feed", id)));
    }
    Ok(())
}

/// Partitioned posts, published under their parent's name.
const POSTS: &str = "
    CREATE TABLE posts (id int, user_id bigint, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE posts_1 PARTITION OF posts FOR VALUES FROM (0) TO (100);
    INSERT INTO posts VALUES (1, 1), (2, 1);
    CREATE PUBLICATION posts FOR TABLE posts WITH (publish_via_partition_root)";

on_a_server! {
    async fn a_publication_may_have_any_name(server: &mut Server) {
        // The publication `app` is another one.
        server.tell("ALTER PUBLICATION app DROP TABLE users").await;
        server.tell("CREATE PUBLICATION \"App\" FOR TABLE users").await;
        server.tell("CREATE PUBLICATION \"a, \"\"b'\" FOR TABLE users").await;
        let client = server.client().await;
        for (name, revision) in [("App", 2), ("a, \"b'", 3)] {
            let mut config = config(server.port());
            config.publication = name.into();
            let cache = connect(PgCache::<Key, i64>::builder(config).keys(keys_of)).await;
            get(&cache, &client, [("user", 1)]).await;
            client.run(&raise(1)).await.unwrap();
            cache.wait_for(position(&client).await).await;
            assert_eq!(get(&cache, &client, [("user", 1)]).await, [revision], "{name}");
            assert_eq!(cache.status().streams, 1, "{name}: {:?}", cache.status());
        }
    }

    /// The parent has REPLICA IDENTITY FULL, which its partitions do not inherit: the server sends
    /// what a partition's identity has, and says that it is the whole row.
    async fn a_partition_has_an_identity_of_its_own(server: &mut Server) {
        server.tell(POSTS).await;
        server.tell("ALTER TABLE posts REPLICA IDENTITY FULL").await;
        let mut config = config(server.port());
        config.publication = "posts".into();
        let cache = connect(PgCache::<Key, i64>::builder(config).keys(keys_of_posts)).await;
        let client = server.client().await;
        for change in [
            "UPDATE posts SET user_id = 2 WHERE id = 1",
            "UPDATE posts SET id = 3, user_id = 3 WHERE id = 2",
            "DELETE FROM posts WHERE id = 1",
        ] {
            get(&cache, &client, group(1)).await;
            get(&cache, &client, group(2)).await;
            client.run(change).await.unwrap();
            cache.wait_for(position(&client).await).await;
            let of = if change.starts_with("DELETE") { 2 } else { 1 };
            assert_eq!(cache.get_local(&[("feed", of)]), None, "{change}");
        }
        // With the identity of the parent, the old row has all columns.
        client.run("ALTER TABLE posts_1 REPLICA IDENTITY FULL").await.unwrap();
        client.run("INSERT INTO posts VALUES (5, 1)").await.unwrap();
        cache.wait_for(position(&client).await).await;
        let cleared = cache.status().cleared;
        get(&cache, &client, group(1)).await;
        client.run("UPDATE posts SET user_id = 2 WHERE id = 5").await.unwrap();
        cache.wait_for(position(&client).await).await;
        assert_eq!(cache.get_local(&[("feed", 1)]), None);
        assert_eq!(cache.get_local(&[("user", 1)]), Some([1]));
        assert_eq!(cache.status().cleared, cleared);
    }

    async fn a_function_that_panics_ends_all_entries(server: &mut Server) {
        let keys = |row: &Row<'_>, keys: &mut Vec<Key>| {
            assert!(row.table() != "feeds", "planted: the function panics");
            keys_of(row, keys)
        };
        let cache = connect(builder(server.port()).keys(keys)).await;
        let client = server.client().await;
        for revision in 2..5 {
            get(&cache, &client, group(1)).await;
            get(&cache, &client, group(2)).await;
            client.run(&raise(1)).await.unwrap();
            let wait = cache.wait_for(position(&client).await);
            timeout(LONG, wait).await.expect("the stream goes on");
            assert_eq!(cache.get_local(&[("user", 2)]), None);
            let read = timeout(LONG, get(&cache, &client, group(1))).await;
            assert_eq!(read.expect("and so do reads"), [revision; 3]);
        }
        assert_eq!(cache.status().streams, 1);
    }

    /// The runtime in which the stream was applied is gone, and its readers are not.
    async fn a_stream_whose_runtime_ends_holds_nobody_up(server: &mut Server) {
        let port = server.port();
        let connected = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let cache = runtime.block_on(connect(builder(port)));
            runtime.shutdown_background();
            cache
        });
        let cache = connected.await.unwrap();
        let client = server.client().await;
        for revision in 2..5 {
            client.run(&raise(1)).await.unwrap();
            let read = timeout(LONG, get(&cache, &client, group(1))).await;
            assert_eq!(read.expect("reads go past the cache"), [revision; 3]);
        }
    }

    /// One of a server that was failed over from, for example.
    async fn a_position_that_the_server_does_not_reach_holds_nobody_up(server: &mut Server) {
        let cache = connect(builder(server.port())).await;
        let client = server.client().await;
        get(&cache, &client, group(1)).await;
        let wait = cache.wait_for(Lsn::from_u64(u64::MAX));
        timeout(LONG, wait).await.expect("all that was committed before the call is applied");
        assert!(cache.status().serves_hits);
        assert_eq!(cache.status().streams, 1);
    }

    async fn a_key_may_stand_in_a_group_twice(server: &mut Server) {
        let cache = connect(builder(server.port())).await;
        let client = server.client().await;
        let keys = [("user", 1), ("user", 1)];
        for _ in 0..2 {
            let read = timeout(LONG, get(&cache, &client, keys)).await;
            assert_eq!(read.expect("nobody waits for itself"), [1, 1]);
        }
        assert_eq!(cache.status().loads, 1);
    }

    async fn what_makes_no_sense_for_a_cache_is_not_asked_for(server: &mut Server) {
        let mut config = config(server.port());
        config.binary = true;
        config.stop_at_lsn = Some(Lsn::from_u64(1));
        let cache = connect(PgCache::<Key, i64>::builder(config.clone()).keys(keys_of)).await;
        let client = server.client().await;
        get(&cache, &client, group(1)).await;
        client.run(&raise(1)).await.unwrap();
        cache.wait_for(position(&client).await).await;
        assert_eq!(get(&cache, &client, group(1)).await, [2; 3]);
        let status = cache.status();
        assert!(status.cleared == 0 && status.last_failure.is_none(), "{status:?}");
        for slot in ["my-app", "1x", "", &"x".repeat(47)] {
            config.slot = slot.to_owned();
            let builder = PgCache::<Key, i64>::builder(config.clone()).keys(keys_of);
            let error = builder.connect(coeval::Cache::<Key, i64>::new()).await.unwrap_err();
            assert!(matches!(error, Error::Setting(_)), "{slot}: {error}");
        }
    }

    async fn a_cache_that_nobody_follows_any_more_is_empty(server: &mut Server) {
        let cache = connect(builder(server.port())).await;
        let client = server.client().await;
        get(&cache, &client, group(1)).await;
        let entries = cache.cache().clone();
        drop(cache);
        until("the cache is cleared", || entries.is_empty()).await;
    }
}
