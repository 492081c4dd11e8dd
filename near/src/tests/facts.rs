//! What the server really does. Each test is a row of the table in `docs/near.md`.

use super::on_each_server;
use super::server::Server;
use super::wire::{Wire, push, push_all};
use std::time::Duration;

/// A reader with tracking, and somebody else.
fn reader_and_other(server: &Server) -> (Wire, Wire) {
    (Wire::tracking(server.port()), Wire::connect(server.port(), 3))
}

on_each_server! {
    async fn fact_a_transaction_is_pushed_key_by_key_in_order_without_a_mark(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        let expected = [push("c"), push("a"), push("b")];
        let script = "for _, k in ipairs(KEYS) do redis.call('SET', k, '1') end";
        for change in [
            "MULTI;SET c 1;SET a 1;SET b 1;EXEC".to_owned(),
            "MSET c 2 a 2 b 2".to_owned(),
            format!("EVAL \"{script}\" 3 c a b"),
            "DEL c a b".to_owned(),
        ] {
            other.ask("MSET a 0 b 0 c 0");
            reader.ask("MGET a b c");
            other.ask(&change);
            assert_eq!(reader.hear(), expected, "{change}");
        }
    }

    async fn fact_pushes_come_before_the_reply_that_shows_their_transaction(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        other.ask("MSET a 0 b 0");
        let writer = std::thread::spawn(move || {
            for round in 1..=500 {
                other.say(&format!("MULTI;SET a {round};SET b {round};EXEC"));
                for _ in 0..4 {
                    other.next();
                }
            }
        });
        let (mut last, mut pushes, mut changes) = (String::new(), Vec::new(), 0);
        while !writer.is_finished() {
            reader.say("MGET a b");
            let reply = loop {
                let frame = reader.next();
                if frame.starts_with('[') {
                    break frame;
                }
                pushes.push(frame);
            };
            // No reply falls between the two, and none shows the new values before them.
            assert!(pushes.is_empty() || pushes == [push("a"), push("b")], "{pushes:?}");
            if !last.is_empty() && last != reply {
                assert_eq!(pushes.len(), 2, "{last} {reply}");
                changes += 1;
            }
            last = reply;
            pushes.clear();
        }
        writer.join().unwrap();
        assert!(changes > 10, "{changes}");
    }

    async fn fact_own_pushes_come_after_the_reply_to_exec(server: &mut Server) {
        let mut own = Wire::tracking(server.port());
        own.ask("MGET a b");
        let frames = own.ask("MULTI;SET a 1;SET b 1;EXEC;PING");
        let expected =
            ["+OK", "+QUEUED", "+QUEUED", "[+OK +OK]", &push("a"), &push("b"), "+PONG"];
        assert_eq!(frames, expected);
    }

    async fn fact_noloop_spares_the_push_and_uses_up_the_entry(server: &mut Server) {
        let mut own = Wire::connect(server.port(), 3);
        let mut other = Wire::connect(server.port(), 3);
        own.ask("CLIENT TRACKING ON NOLOOP");
        own.ask("GET a");
        assert_eq!(own.ask("SET a 1"), ["+OK"]);
        other.ask("SET a 2");
        assert!(own.hear().is_empty(), "nor is it told of what others write from now on");
        own.ask("GET a");
        other.ask("SET a 3");
        assert_eq!(own.hear(), [push("a")]);
    }

    async fn fact_a_read_is_told_of_one_change(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        reader.ask("GET a");
        other.ask("SET a 1;SET a 2");
        assert_eq!(reader.hear(), [push("a")]);
    }

    async fn fact_a_key_that_is_absent_is_tracked(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        assert_eq!(reader.ask("GET nothing"), ["nil"]);
        other.ask("SET nothing 1");
        assert_eq!(reader.hear(), [push("nothing")]);
    }

    async fn fact_a_write_of_the_same_value_is_pushed(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        other.ask("SET a 1");
        reader.ask("GET a");
        other.ask("SET a 1");
        assert_eq!(reader.hear(), [push("a")]);
    }

    async fn fact_some_commands_hand_out_a_value_untracked(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        for read in ["GETEX a", "SET a 1 GET", "GETSET a 1", "BITFIELD a GET u8 0"] {
            other.ask("SET a 1");
            reader.ask(read);
            other.ask("SET a 2");
            assert!(reader.hear().is_empty(), "{read}");
        }
        other.ask("DEL list;RPUSH list 2 1");
        assert_eq!(reader.ask("SORT list"), ["[$1 $2]"]);
        other.ask("RPUSH list 3");
        assert!(reader.hear().is_empty(), "SORT");
        other.ask("SET a 1");
        assert_eq!(reader.ask("GETDEL a"), ["$1"]);
        other.ask("SET a 2");
        assert!(reader.hear().is_empty(), "GETDEL");
    }

    async fn fact_some_commands_track_without_a_value(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        for read in ["TYPE a", "TTL a", "PTTL a", "EXISTS a", "TOUCH a", "STRLEN a"] {
            other.ask("SET a 1");
            reader.ask(read);
            other.ask("SET a 2");
            assert_eq!(reader.hear(), [push("a")], "{read}");
        }
    }

    async fn fact_a_change_of_the_deadline_is_pushed(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        other.ask("SET a 1");
        for change in ["PEXPIRE a 60000", "PEXPIRE a 70000", "PERSIST a"] {
            reader.ask("GET a");
            other.ask(change);
            assert_eq!(reader.hear(), [push("a")], "{change}");
        }
    }

    async fn fact_a_deadline_is_not_pushed_until_the_key_is_deleted(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        other.ask("DEBUG SET-ACTIVE-EXPIRE 0;SET a 1 PX 200;SET b 1 PX 200");
        assert_eq!(reader.ask("MGET a b"), ["[$1 $1]"]);
        std::thread::sleep(Duration::from_millis(250));
        assert!(reader.hear().is_empty());
        // Who asks for one of them has it deleted. The other one stays, and is not pushed.
        assert_eq!(other.ask("GET a"), ["nil"]);
        assert_eq!(reader.hear(), [push("a")]);
        other.ask("DEBUG SET-ACTIVE-EXPIRE 1");
    }

    async fn fact_a_key_that_is_migrated_ends_later(server: &mut Server) {
        let target = server.another();
        server.tell("SET a 1 PX 60000").await;
        let before = server.tell("PEXPIRETIME a").await;
        // As if the way there were long.
        target.tell("CLIENT PAUSE 2000 ALL").await;
        server.tell(&format!("MIGRATE 127.0.0.1 {} a 0 5000", target.port())).await;
        let after = target.tell("PEXPIRETIME a").await;
        let (redis::Value::Int(before), redis::Value::Int(after)) = (&before, &after) else {
            panic!("{before:?} {after:?}");
        };
        assert!(*after >= before + 100, "{before} {after}");
    }

    async fn fact_paused_writes_hide_a_value_without_a_push(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        other.ask("SET a 1 PX 300");
        assert_eq!(reader.ask("GET a"), ["$1"]);
        other.ask("CLIENT PAUSE 2000 WRITE");
        std::thread::sleep(Duration::from_millis(350));
        assert_eq!(reader.ask("GET a"), ["nil"]);
        other.ask("CLIENT UNPAUSE");
    }

    async fn fact_tracking_knows_no_databases(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        reader.ask("GET a");
        other.ask("SELECT 5;SET a 1");
        assert_eq!(reader.hear(), [push("a")]);
        reader.ask("GET a");
        other.ask("FLUSHDB");
        assert_eq!(reader.hear(), [push_all()]);
    }

    async fn fact_swapdb_is_silent(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        other.ask("SET a 1");
        reader.ask("GET a");
        other.ask("SWAPDB 0 1");
        assert!(reader.hear().is_empty());
        assert_eq!(reader.ask("GET a"), ["nil"]);
        other.ask("SWAPDB 0 1");
    }

    async fn fact_a_small_tracking_table_pushes_what_nobody_changed(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        other.ask("CONFIG SET tracking-table-max-keys 10");
        for key in 0..30 {
            reader.say(&format!("GET key{key}"));
        }
        let frames = reader.hear();
        // The table is cut down in the background, too.
        std::thread::sleep(Duration::from_millis(300));
        let pushes = frames.iter().chain(&reader.hear()).filter(|it| it.starts_with('>')).count();
        assert!(pushes >= 15, "{pushes}");
        other.ask("CONFIG SET tracking-table-max-keys 1000000");
    }

    async fn fact_resp2_tracking_says_ok_and_delivers_nothing(server: &mut Server) {
        let (mut reader, mut other) =
            (Wire::connect(server.port(), 2), Wire::connect(server.port(), 2));
        assert_eq!(reader.ask("CLIENT TRACKING ON"), ["+OK"]);
        reader.ask("GET a");
        other.ask("SET a 1");
        assert!(reader.hear().is_empty());
    }

    async fn fact_a_script_that_fails_keeps_what_it_did_and_pushes_it(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        other.ask("MSET a 0 b 0");
        reader.ask("MGET a b");
        let script = "redis.call('SET', 'a', '1') redis.call('LPUSH', 'a', '1')";
        let answer = other.ask(&format!("EVAL \"{script}\" 1 a"));
        assert!(answer[0].starts_with('-'), "{answer:?}");
        assert_eq!(reader.hear(), [push("a")]);
        assert_eq!(reader.ask("MGET a b"), ["[$1 $0]"]);
    }

    async fn fact_a_script_tracks_keys_by_version(server: &mut Server) {
        let is_redis = server.version().await.starts_with("Redis 7.0");
        let (mut reader, mut other) = reader_and_other(server);
        let script = "return redis.call('GET', KEYS[1])";
        reader.ask(&format!("EVAL \"{script}\" 2 a b"));
        other.ask("SET a 1");
        assert_eq!(reader.hear(), [push("a")]);
        other.ask("SET b 1");
        let expected = if is_redis { vec![push("b")] } else { vec![] };
        assert_eq!(reader.hear(), expected, "a key that the script names and does not read");
    }

    async fn fact_broadcast_pushes_come_after_the_reply_that_shows_the_change(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        let mut sleeper = Wire::connect(server.port(), 3);
        reader.ask("CLIENT TRACKING OFF");
        reader.ask("CLIENT TRACKING ON BCAST");
        // The server is busy; then it finds both in one turn of its loop.
        sleeper.say("DEBUG SLEEP 0.1");
        std::thread::sleep(Duration::from_millis(30));
        other.say("MULTI;SET a new;SET b new;EXEC");
        std::thread::sleep(Duration::from_millis(20));
        reader.say("GET a");
        std::thread::sleep(Duration::from_millis(100));
        let frames = reader.hear();
        assert_eq!(frames[0], "$new", "{frames:?}");
        assert!(frames[1].starts_with(">[$invalidate "), "{frames:?}");

        // With default tracking it is the other way round.
        reader.ask("CLIENT TRACKING OFF");
        reader.ask("CLIENT TRACKING ON");
        reader.ask("MGET a b");
        sleeper.say("DEBUG SLEEP 0.1");
        std::thread::sleep(Duration::from_millis(30));
        other.say("MULTI;SET a newer;SET b newer;EXEC");
        std::thread::sleep(Duration::from_millis(20));
        reader.say("GET a");
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(reader.hear(), [push("a"), push("b"), "$newer".to_owned()]);
    }

    async fn fact_getting_a_list_of_another_type(server: &mut Server) {
        let (mut reader, mut other) = reader_and_other(server);
        other.ask("DEL list;LPUSH list 1");
        assert_eq!(reader.ask("MGET list nothing"), ["[nil nil]"]);
        assert!(reader.ask("GET list")[0].starts_with("-WRONGTYPE"));
    }
}
