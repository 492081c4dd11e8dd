//! What the server really does: the rows of the table in `docs/postgres.md` about rows and
//! transactions. Those about settings and slots are in `settings.rs`.

use super::on_a_server;
use super::wire::Wire;
use std::time::Duration;

const QUIET: Duration = Duration::from_millis(300);

on_a_server! {
    async fn fact_transactions_come_whole_in_the_order_of_their_commits(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        let (first, second) = (server.client().await, server.client().await);
        first.run("BEGIN; INSERT INTO users VALUES (100, 1)").await.unwrap();
        second.run("BEGIN; INSERT INTO users VALUES (200, 1)").await.unwrap();
        first.run("INSERT INTO profiles VALUES (100, 1)").await.unwrap();
        second.run("INSERT INTO profiles VALUES (200, 1); COMMIT").await.unwrap();
        first.run("COMMIT").await.unwrap();
        let told = wire.told(server).await;
        let changes =
            |id: u32| ["users", "profiles"].map(|table| format!("insert {table} ({id}, 1)"));
        let is_change = |words: &&String| words.starts_with("insert") || *words == "commit";
        let expected: Vec<String> = [200, 100]
            .into_iter()
            .flat_map(|id| changes(id).into_iter().chain(["commit".to_owned()]))
            .collect();
        assert_eq!(told.iter().filter(is_change).cloned().collect::<Vec<_>>(), expected);
    }

    async fn fact_positions_of_commits_grow_and_those_of_changes_do_not(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        let first = server.client().await;
        first.run("BEGIN; INSERT INTO users VALUES (100, 1)").await.unwrap();
        server.tell("INSERT INTO users VALUES (200, 1)").await;
        first.run("COMMIT").await.unwrap();
        let told = wire.told(server).await;
        let of = |words: &str| {
            let all = told.iter().zip(&wire.positions).filter(|(it, _)| it.starts_with(words));
            all.map(|(_, position)| *position).collect::<Vec<_>>()
        };
        let (inserts, commits) = (of("insert"), of("commit"));
        assert!(commits[0] < commits[1]);
        assert!(inserts[1] < inserts[0], "the change of the later transaction was made before");
        assert!(inserts[1] < commits[0], "a position of a change says nothing of what is complete");
    }

    async fn fact_a_rollback_is_silent(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        server.tell("BEGIN; INSERT INTO users VALUES (100, 1); ROLLBACK").await;
        server.tell(
            "BEGIN; INSERT INTO users VALUES (101, 1);
             SAVEPOINT here; INSERT INTO users VALUES (102, 1); ROLLBACK TO here; COMMIT"
        ).await;
        let told = wire.told(server).await;
        assert_eq!(told, ["begin", "table users", "insert users (101, 1)", "commit"]);
    }

    async fn fact_an_old_row_is_sent_as_the_replica_identity_says(server: &mut Server) {
        server.tell(
            "CREATE TABLE posts (id int PRIMARY KEY, user_id int, text text);
             ALTER PUBLICATION app ADD TABLE posts;
             INSERT INTO posts VALUES (1, 7, 'a')"
        ).await;
        let mut wire = Wire::start(server).await;
        let marks = ["posts (", "posts identity", "posts full"];
        let is_change = |it: &String| marks.iter().any(|mark| it.contains(mark));
        let changes =
            |told: Vec<String>| -> Vec<String> { told.into_iter().filter(is_change).collect() };
        server.tell("UPDATE posts SET user_id = 8").await;
        assert_eq!(changes(wire.told(server).await), ["update posts (1, 8, a)"], "7 is not told");
        server.tell("UPDATE posts SET id = 2").await;
        assert_eq!(
            changes(wire.told(server).await),
            ["update posts identity (1, null, null) (2, 8, a)"]
        );
        server.tell("DELETE FROM posts").await;
        assert_eq!(changes(wire.told(server).await), ["delete posts identity (2, null, null)"]);
        server.tell("INSERT INTO posts VALUES (3, 7, 'b')").await;
        server.tell("ALTER TABLE posts REPLICA IDENTITY FULL").await;
        wire.told(server).await;
        server.tell("UPDATE posts SET user_id = 9").await;
        server.tell("DELETE FROM posts").await;
        assert_eq!(
            changes(wire.told(server).await),
            ["update posts full (3, 7, b) (3, 9, b)", "delete posts full (3, 9, b)"]
        );
    }

    async fn fact_a_table_without_identity_cannot_be_updated(server: &mut Server) {
        server.tell("CREATE TABLE bare (id int); INSERT INTO bare VALUES (1)").await;
        server.tell("UPDATE bare SET id = 2; ALTER PUBLICATION app ADD TABLE bare").await;
        let update = server.client().await.run("UPDATE bare SET id = 3").await;
        let error = update.unwrap_err().to_string();
        assert!(error.contains("does not have a replica identity"), "{error}");
    }

    async fn fact_a_large_value_that_is_left_alone_is_not_sent(server: &mut Server) {
        server.tell(
            "CREATE TABLE pages (id int PRIMARY KEY, seen int, text text);
             ALTER TABLE pages ALTER text SET STORAGE EXTERNAL;
             ALTER PUBLICATION app ADD TABLE pages;
             INSERT INTO pages VALUES (1, 0, repeat('x', 10000))"
        ).await;
        let mut wire = Wire::start(server).await;
        server.tell("UPDATE pages SET seen = 1").await;
        server.tell("ALTER TABLE pages REPLICA IDENTITY FULL").await;
        server.tell("UPDATE pages SET seen = 2").await;
        let told = wire.told(server).await;
        let updates: Vec<_> = told.iter().filter(|it| it.starts_with("update")).collect();
        assert_eq!(
            updates,
            [
                "update pages (1, 1, unchanged)",
                "update pages full (1, 1, 10000 bytes) (1, 2, unchanged)",
            ]
        );
    }

    async fn fact_truncate_names_tables_and_no_rows(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        let insert = "INSERT INTO users VALUES (100, 1)";
        server.tell(&format!("BEGIN; {insert}; TRUNCATE users, feeds; COMMIT")).await;
        let told = wire.told(server).await;
        let told: Vec<_> = told.iter().filter(|it| !it.starts_with("table")).collect();
        assert_eq!(told, ["begin", "insert users (100, 1)", "truncate", "commit"]);
    }

    async fn fact_a_prepared_transaction_comes_when_it_is_committed(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        server.tell("BEGIN; INSERT INTO users VALUES (100, 1); PREPARE TRANSACTION 'it'").await;
        assert_eq!(wire.told(server).await, Vec::<String>::new());
        server.tell("COMMIT PREPARED 'it'").await;
        let told = wire.told(server).await;
        assert_eq!(told, ["begin", "table users", "insert users (100, 1)", "commit"]);
    }

    async fn fact_a_large_transaction_comes_after_its_commit(server: &mut Server,
        ["logical_decoding_work_mem=64kB"]) {
        let mut wire = Wire::start(server).await;
        let large = server.client().await;
        let rows = "INSERT INTO users SELECT id, 1 FROM generate_series(100, 5099) id";
        large.run(&format!("BEGIN; {rows}")).await.unwrap();
        server.tell("INSERT INTO users VALUES (10, 1)").await;
        let told = wire.told(server).await;
        assert_eq!(told, ["begin", "table users", "insert users (10, 1)", "commit"]);
        large.run("COMMIT").await.unwrap();
        let told = wire.told(server).await;
        assert_eq!(told.iter().filter(|it| it.starts_with("insert")).count(), 5_000);
        assert_eq!(told.iter().filter(|it| *it == "commit").count(), 1);
    }

    async fn fact_a_table_outside_the_publication_is_silent(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        server.tell("INSERT INTO apart VALUES (1)").await;
        assert_eq!(wire.told(server).await, Vec::<String>::new());
    }

    async fn fact_a_table_is_told_of_from_when_it_is_added(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        server.tell("INSERT INTO apart VALUES (1)").await;
        server.tell("ALTER PUBLICATION app ADD TABLE apart").await;
        server.tell("INSERT INTO apart VALUES (2)").await;
        server.tell("ALTER PUBLICATION app DROP TABLE apart").await;
        server.tell("INSERT INTO apart VALUES (3)").await;
        let told = wire.told(server).await;
        let inserts: Vec<_> = told.iter().filter(|it| it.starts_with("insert")).collect();
        assert_eq!(inserts, ["insert apart (2)"]);
    }

    async fn fact_a_change_of_a_table_s_form_is_no_change_of_rows(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        server.tell("UPDATE users SET revision = 2 WHERE id = 1").await;
        server.tell("ALTER TABLE users ADD COLUMN text text NOT NULL DEFAULT repeat('y', 3)").await;
        server.tell("ALTER TABLE users ALTER revision TYPE int USING 7").await;
        server.tell("UPDATE users SET revision = 3 WHERE id = 1").await;
        let told = wire.told(server).await;
        let told: Vec<_> = told.iter().filter(|it| !it.contains("pg_")).collect();
        assert_eq!(told, [
            "begin", "table users", "update users (1, 2)", "commit",
            "begin", "table users", "update users (1, 3, yyy)", "commit",
        ]);
    }

    async fn fact_a_partition_has_its_own_name(server: &mut Server) {
        server.tell(
            "CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
             CREATE PUBLICATION leaves FOR TABLE parts;
             CREATE PUBLICATION roots FOR TABLE parts WITH (publish_via_partition_root)"
        ).await;
        for (publication, name) in [("leaves", "parts_low"), ("roots", "parts")] {
            let mut wire = Wire::of(server, publication).await;
            server.tell("DELETE FROM parts; INSERT INTO parts VALUES (1)").await;
            let told = wire.told(server).await;
            assert!(told.contains(&format!("insert {name} (1)")), "{publication}: {told:?}");
        }
    }

    async fn fact_a_parent_s_identity_is_told_and_a_partition_s_is_sent(server: &mut Server) {
        server.tell(
            "CREATE TABLE parts (id int PRIMARY KEY, owner int) PARTITION BY RANGE (id);
             CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10);
             ALTER TABLE parts REPLICA IDENTITY FULL;
             INSERT INTO parts VALUES (1, 5);
             CREATE PUBLICATION roots FOR TABLE parts WITH (publish_via_partition_root)"
        ).await;
        let mut wire = Wire::of(server, "roots").await;
        server.tell("UPDATE parts SET owner = 6 WHERE id = 1").await;
        server.tell("DELETE FROM parts WHERE id = 1").await;
        let told = wire.told(server).await;
        let changes: Vec<_> = told.iter().filter(|it| it.contains("parts (") || it.contains("full"))
            .collect();
        assert_eq!(changes, ["update parts (1, 6)", "delete parts full (1, null)"]);
    }

    async fn fact_a_row_that_leaves_a_filter_is_deleted(server: &mut Server) {
        server.tell("CREATE PUBLICATION filtered FOR TABLE users WHERE (id > 5)").await;
        let mut wire = Wire::of(server, "filtered").await;
        server.tell("UPDATE users SET revision = 2 WHERE id = 5").await;
        server.tell("UPDATE users SET id = 50 WHERE id = 5").await;
        server.tell("UPDATE users SET id = -1 WHERE id = 50").await;
        let told = wire.told(server).await;
        let changes: Vec<_> = told.iter().filter(|it| it.contains("users ")).collect();
        assert_eq!(changes, ["insert users (50, 2)", "delete users identity (50, null)"]);
    }

    async fn fact_a_column_list_leaves_columns_out(server: &mut Server) {
        server.tell("CREATE PUBLICATION narrow FOR TABLE users (id)").await;
        let mut wire = Wire::of(server, "narrow").await;
        server.tell("UPDATE users SET revision = 2 WHERE id = 5").await;
        let told = wire.told(server).await;
        assert_eq!(told, ["begin", "table users", "update users (5)", "commit"]);
    }

    async fn fact_a_change_without_effect_is_told(server: &mut Server) {
        let mut wire = Wire::start(server).await;
        server.tell("UPDATE users SET revision = revision WHERE id = 5").await;
        let told = wire.told(server).await;
        assert_eq!(told, ["begin", "table users", "update users (5, 1)", "commit"]);
        server.tell("SELECT * FROM users FOR UPDATE").await;
        assert_eq!(wire.within(QUIET).await, Vec::<String>::new(), "a lock is no change");
    }
}
