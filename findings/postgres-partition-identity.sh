#!/usr/bin/env bash
# PostgreSQL: published by its root, a partition's old row has nulls where the row had values.
#
# Expected: with publish_via_partition_root, a stream of pgoutput tells of one table, the root, with
# its identity and schema in place of the partition's (so the manual, under CREATE PUBLICATION). The
# root's replica identity is FULL. So there are old rows, whole ones, and a null in one of them was
# a null in the table.
#
# What happens: what is sent of the old row follows the partition's identity, which is the primary
# key unless somebody has set another (ALTER TABLE root REPLICA IDENTITY FULL does not reach the
# partitions that exist, nor those that are attached later). Yet it is marked by the root's:
# - a DELETE of (id 1, owner 6) has an old row marked "whole", with the owner null;
# - an UPDATE of the owner has no old row.
# With FULL for the partition, too, the old row has the owner.
#
# Version: PostgreSQL 15.18 (Debian 12), output plugin pgoutput, protocol version 1. The stream also
# describes the partition, with its own identity, right after the root.
#
# For a cache that is invalidated by such a stream: "all posts of owner 5" stays in the cache when
# a post of theirs is deleted, or is given to somebody else. Ask the catalog whether all partitions
# have the identity of the root. docs/postgres.md has the rows as tests.
#
# Seen:
#   the stream describes posts: identity FULL
#   UPDATE of the owner, 5 to 6: no old row
#   DELETE of (1, 6): old row, whole: 1, null
#   the partition is FULL, too; DELETE of (2, 7): old row, whole: 2, 7
#   identity of a partition that is added: default
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

start_postgres wal_level=logical
sql "CREATE TABLE posts (id int PRIMARY KEY, owner int) PARTITION BY RANGE (id);
     CREATE TABLE posts_low PARTITION OF posts FOR VALUES FROM (0) TO (10);
     ALTER TABLE posts REPLICA IDENTITY FULL;
     CREATE PUBLICATION app FOR TABLE posts WITH (publish_via_partition_root);
     INSERT INTO posts VALUES (1, 5), (2, 7)"
sql "SELECT pg_create_logical_replication_slot('stream', 'pgoutput')" >/dev/null

# The messages since the last call, in hexadecimal, one a line.
messages() {
    sql "SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('stream', NULL, NULL,
         'proto_version', '1', 'publication_names', 'app')"
}

# What a message of this kind (R, U, D) says: see the manual, "Logical Replication Message Formats".
show() {
    python3 -c '
import sys

wanted = sys.argv[1]


def row(data, at):
    columns = []
    count, at = int.from_bytes(data[at:at + 2], "big"), at + 2
    for _ in range(count):
        kind, at = chr(data[at]), at + 1
        if kind == "t":
            size = int.from_bytes(data[at:at + 4], "big")
            columns.append(data[at + 4:at + 4 + size].decode())
            at += 4 + size
        else:
            columns.append({"n": "null", "u": "unchanged"}[kind])
    return ", ".join(columns)


for line in sys.stdin:
    data = bytes.fromhex(line.strip())
    if chr(data[0]) != wanted:
        continue
    if wanted == "R":
        schema, table = data[5:].split(b"\0")[:2]
        at = 5 + len(schema) + 1 + len(table) + 1
        if table == b"posts":
            print({"f": "identity FULL", "d": "identity default"}[chr(data[at])])
    else:
        kind = {"K": "old row, key: ", "O": "old row, whole: ", "N": "no old row"}[chr(data[5])]
        print(kind + (row(data, 6) if chr(data[5]) != "N" else ""))
' "$1"
}

{
    sql 'UPDATE posts SET owner = 6 WHERE id = 1'
    messages >"$temp/messages"
    echo "the stream describes posts: $(show R <"$temp/messages")"
    echo "UPDATE of the owner, 5 to 6: $(show U <"$temp/messages")"
    sql 'DELETE FROM posts WHERE id = 1'
    echo "DELETE of (1, 6): $(messages | show D)"
    sql 'ALTER TABLE posts_low REPLICA IDENTITY FULL'
    sql 'DELETE FROM posts WHERE id = 2'
    echo "the partition is FULL, too; DELETE of (2, 7): $(messages | show D)"
    sql 'CREATE TABLE posts_high PARTITION OF posts FOR VALUES FROM (10) TO (20)'
    echo "identity of a partition that is added: $(sql "SELECT CASE relreplident WHEN 'd' THEN
        'default' ELSE relreplident::text END FROM pg_class WHERE relname = 'posts_high'")"
} >"$temp/seen"
as_stated 'what an old row of a partition has'
