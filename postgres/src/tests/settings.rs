//! What the server really does: the rows of the table in `docs/postgres.md` about slots, positions
//! and visibility.

use super::server::Server;
use super::wire::Wire;
use super::{config, keys_of, on_a_server, position};
use crate::{CommitStream, Event, Fence, Lsn, PgStream};
use std::time::{Duration, Instant};
use tokio::time::timeout;

const QUIET: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

async fn lsn(server: &Server, which: &str) -> Lsn {
    Lsn::parse(&server.ask(&format!("SELECT pg_current_wal_{which}lsn()")).await).unwrap()
}

on_a_server! {
    /// With a synchronous standby that is not there, a commit is told of and stays invisible.
    async fn fact_a_transaction_is_told_of_before_it_is_visible(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        server.tell("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
        server.ask("SELECT pg_reload_conf()").await;
        let writer = server.client().await;
        tokio::time::sleep(QUIET).await;
        let commit = tokio::spawn(async move {
            writer.run("UPDATE users SET revision = 2 WHERE id = 1").await.unwrap();
        });
        while wire.next().await.unwrap().0 != "commit" {}
        let revision = || server.ask("SELECT revision FROM users WHERE id = 1");
        assert_eq!(revision().await, "1", "the commit was told of, and nobody sees it");
        let fence: Fence = server.ask(crate::FENCE).await.parse().unwrap();
        assert!(!fence.snapshot.sees(wire.transaction), "the snapshot says so");
        server.tell("ALTER SYSTEM RESET synchronous_standby_names").await;
        server.ask("SELECT pg_reload_conf()").await;
        timeout(LONG, commit).await.unwrap().unwrap();
        assert_eq!(revision().await, "2");
        let fence: Fence = server.ask(crate::FENCE).await.parse().unwrap();
        assert!(fence.snapshot.sees(wire.transaction));
    }

    async fn fact_the_log_is_sent_when_it_is_flushed(server: &mut Server,
        ["bgwriter_delay=10s"]) {
        let mut wire = Wire::start(server).await;
        let writer = server.client().await;
        wire.told(server).await;
        writer.run("BEGIN; INSERT INTO users VALUES (100, 1)").await.unwrap();
        let end = lsn(server, "insert_").await;
        assert!(lsn(server, "flush_").await < end, "what is not committed is not flushed");
        let reach = timeout(4 * QUIET, wire.reach(end)).await;
        assert!(reach.is_err(), "and not sent, however long one waits");
        server.ask("SELECT pg_logical_emit_message(true, 'any', '')").await;
        timeout(LONG, wire.reach(end)).await.expect("a commit of anybody flushes it");
        drop(writer);
    }

    async fn fact_an_asynchronous_commit_is_visible_before_it_is_sent(server: &mut Server,
        ["wal_writer_delay=10s", "bgwriter_delay=10s"]) {
        let mut wire = Wire::start(server).await;
        let writer = server.client().await;
        // The writer of the log is awake after such a commit, and sleeps after it.
        writer.run("SET synchronous_commit = off").await.unwrap();
        writer.run("UPDATE users SET revision = 2").await.unwrap();
        tokio::time::sleep(QUIET).await;
        wire.told(server).await;
        writer.run("UPDATE users SET revision = 3 WHERE id = 1").await.unwrap();
        assert_eq!(server.ask("SELECT revision FROM users WHERE id = 1").await, "3");
        let (insert, flush) = (lsn(server, "insert_").await, lsn(server, "flush_").await);
        assert!(flush < insert, "what is visible is not flushed: {flush} {insert}");
        assert_eq!(wire.within(QUIET).await, Vec::<String>::new());
        let told = wire.told(server).await;
        assert!(told.contains(&"update users (1, 3)".to_owned()), "{told:?}");
    }

    async fn fact_a_position_without_changes_is_told_at_once(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        wire.told(server).await;
        for id in 0..20 {
            server.tell(&format!("INSERT INTO apart VALUES ({id})")).await;
            let end = lsn(server, "flush_").await;
            let begin = Instant::now();
            timeout(LONG, wire.reach(end)).await.expect("a keepalive says how far the stream is");
            assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        }
    }

    async fn fact_a_slot_waits_for_transactions_that_write(server: &mut Server) {
        let writer = server.client().await;
        writer.run("BEGIN; INSERT INTO users VALUES (100, 1)").await.unwrap();
        let config = config(server.port());
        let mut connect = Box::pin(PgStream::connect(&config, keys_of));
        assert!(timeout(2 * QUIET, &mut connect).await.is_err(), "one is writing");
        writer.run("COMMIT").await.unwrap();
        timeout(LONG, connect).await.expect("it has ended").unwrap();
        let reader = server.client().await;
        let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT * FROM users";
        reader.run(begin).await.unwrap();
        let connect = timeout(LONG, PgStream::connect(&config, keys_of));
        connect.await.expect("who only reads does not matter").unwrap();
        drop(reader);
    }

    async fn fact_a_temporary_slot_ends_with_its_connection(server: &mut Server) {
        let query = "SELECT string_agg(temporary::text, ',') FROM pg_replication_slots";
        let slots = || server.ask(query);
        let stream = PgStream::connect(&config(server.port()), keys_of).await.unwrap();
        assert_eq!(slots().await, "true");
        drop(stream);
        let begin = Instant::now();
        while !slots().await.is_empty() {
            assert!(begin.elapsed() < LONG, "the slot is still there");
        }
    }

    async fn fact_the_server_keeps_what_was_not_acknowledged(server: &mut Server) {
        let lag = || async {
            let lag = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint \
                       FROM pg_replication_slots";
            server.ask(lag).await.parse::<u64>().unwrap()
        };
        let mut stream = PgStream::connect(&config(server.port()), keys_of).await.unwrap();
        let insert = "INSERT INTO users SELECT id, 1 FROM generate_series(100, 2000) id";
        server.tell(insert).await;
        let behind = lag().await;
        assert!(behind > 100_000, "{behind}");
        let end = lsn(server, "flush_").await.as_u64();
        let follow = async {
            loop {
                stream.next().await.unwrap();
            }
        };
        let acknowledged = async {
            let begin = Instant::now();
            while lag().await > 1_000 {
                assert!(begin.elapsed() < LONG, "the server was told how far the stream was taken");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = acknowledged => {}
        }
        assert!(end > 0);
    }

    async fn fact_a_stream_of_no_publication_breaks_at_the_first_change(server: &mut Server) {
        let mut wire = Wire::of(server, "missing").await;
        assert_eq!(wire.within(QUIET).await, Vec::<String>::new(), "it begins without an error");
        server.tell("INSERT INTO users VALUES (100, 1)").await;
        let error = loop {
            if let Err(error) = timeout(LONG, wire.next()).await.unwrap() {
                break error.to_string();
            }
        };
        assert!(error.contains("publication \"missing\" does not exist"), "{error}");
    }

    async fn fact_a_slot_in_use_cannot_be_dropped(server: &mut Server) {
        let mut stream = PgStream::connect(&config(server.port()), keys_of).await.unwrap();
        let client = server.client().await;
        let drop_slot = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots";
        let error = client.run(drop_slot).await.unwrap_err();
        assert!(error.to_string().contains("is active for PID"), "{error}");
        let end = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots";
        client.run(end).await.unwrap();
        let broken = async { while stream.next().await.is_ok() {} };
        timeout(LONG, broken).await.expect("the stream breaks");
    }

    async fn fact_a_shutdown_waits_for_who_does_not_acknowledge(server: &mut Server) {
        let stream = PgStream::connect(&config(server.port()), keys_of).await.unwrap();
        server.tell("INSERT INTO users VALUES (100, 1)").await;
        let id = server.id();
        let stop = std::process::Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(stop.success());
        tokio::time::sleep(3 * QUIET).await;
        assert!(server.is_running(), "nobody has acknowledged the end of the log");
        drop(stream);
        let begin = Instant::now();
        while server.is_running() {
            assert!(begin.elapsed() < LONG, "the shutdown goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn fact_a_session_of_any_name_is_a_standby_for_a_star(server: &mut Server) {
        server.tell("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
        server.ask("SELECT pg_reload_conf()").await;
        let mut stream = PgStream::connect(&config(server.port()), keys_of).await.unwrap();
        tokio::time::sleep(QUIET).await;
        let client = server.client().await;
        let mut commit = Box::pin(client.run("UPDATE users SET revision = 2"));
        assert!(timeout(QUIET, &mut commit).await.is_err(), "it waits for the stream's client");
        let follow = async { while stream.next().await.is_ok() {} };
        tokio::select! {
            () = follow => panic!("the stream goes on"),
            done = timeout(LONG, commit) => done.expect("which says how far it is").unwrap(),
        }
    }

    async fn a_stream_tells_of_transactions(server: &mut Server) {
        let mut stream = PgStream::connect(&config(server.port()), keys_of).await.unwrap();
        server.tell(&super::raise(7)).await;
        let end = position(&server.client().await).await.as_u64();
        let mut events = Vec::new();
        let mark = loop {
            match timeout(LONG, stream.next()).await.unwrap().unwrap() {
                Event::Reached(position) => assert!(position <= end),
                Event::Committed(mark) => break mark,
                event => events.push(event),
            }
        };
        events.dedup();
        let changed = super::group(7).map(Event::Changed);
        assert_eq!(events, changed, "each key is told of as it was and as it is");
        assert!(stream.start() < mark.position && mark.position <= end);
        assert_eq!(stream.unnamed(), 0);
    }
}
