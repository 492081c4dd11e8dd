#!/usr/bin/env bash
# PostgreSQL: what a logical stream has told, and what a query sees, are two things.
#
# Expected: a change that the stream tells of can be read, and a change that can be read is told
# of soon.
#
# What happens:
# - A transaction is told of as soon as it is in the log. It is visible only when the synchronous
#   standby has answered. As long as the standby is silent, the stream has the new row, with its
#   COMMIT, and every query sees the old one.
# - A transaction that was committed with synchronous_commit = off is visible at once. It is told
#   of when the log is flushed: here, where the log's writer sleeps, not within two seconds.
#
# Version: PostgreSQL 15.18 (Debian 12), output plugin test_decoding, by pg_recvlogical. pgoutput
# is the same in this. The manual says neither; the manual of Debezium's connector says the first.
#
# For a cache that is invalidated by such a stream: a load that begins after the invalidation may
# still read the old row, and would be cached for ever; and "the stream is silent" does not mean
# that nothing has changed. docs/postgres.md has both, with the tests.
#
# Seen:
#   the stream says: UPDATE: id[integer]:1 revision[integer]:2 COMMIT
#   a query sees revision 1; two seconds later 1; when the standby is not waited for: 2
#   asynchronous: a query sees the new revision, and two seconds later the stream has the old one
#   after a commit by somebody else, the stream has the new one
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

start_postgres wal_level=logical wal_writer_delay=10s bgwriter_delay=10s
sql "CREATE TABLE users (id int PRIMARY KEY, revision int); INSERT INTO users VALUES (1, 1)"
sql "SELECT pg_create_logical_replication_slot('stream', 'test_decoding')" >/dev/null
pg_recvlogical -d postgres -S stream --start -o include-xids=off -f "$temp/stream" \
    --fsync-interval=0 2>"$temp/recvlogical" &
started+=($!)

revision() { sql 'SELECT revision FROM users WHERE id = 1'; }
told() { sed -n 's/.*revision\[integer\]:\([0-9]*\)$/\1/p' "$temp/stream" | tail -n 1; }
has_told() { [ "$(told)" = "$1" ] && [ "$(tail -n 1 "$temp/stream")" = COMMIT ]; }
set_standbys() {
    sql "ALTER SYSTEM SET synchronous_standby_names = '$1'"
    sql 'SELECT pg_reload_conf()' >/dev/null
}
standbys_are() { [ "$(sql 'SHOW synchronous_standby_names')" = "$1" ]; }

before_standby() {
    local before later writer
    set_standbys nobody
    until_true standbys_are nobody
    sql 'UPDATE users SET revision = 2' &
    writer=$!
    until_true has_told 2
    echo "the stream says: $(tail -n 2 "$temp/stream" |
        sed 's/^table public.users: //' | paste -sd ' ')"
    before=$(revision)
    sleep 2
    later=$(revision)
    set_standbys ''
    wait "$writer"
    echo "a query sees revision $before; two seconds later $later;" \
        "when the standby is not waited for: $(revision)"
}

# Once in ten seconds the log's writer flushes, and then a try says nothing.
asynchronous() {
    local new stream=new seen
    for new in 3 4 5; do
        sql "SET synchronous_commit = off; UPDATE users SET revision = $new"
        seen=$(revision)
        sleep 2
        if [ "$(told)" -lt "$new" ]; then stream=old; fi
        sql 'CREATE TABLE other (); DROP TABLE other'
        until_true has_told "$new"
        if [ $stream = old ]; then break; fi
    done
    [ "$seen" = "$new" ] || changed 'an asynchronous commit is not visible when it has returned'
    echo "asynchronous: a query sees the new revision, and two seconds later the stream has the" \
        "$stream one"
    echo "after a commit by somebody else, the stream has the new one"
}

{
    before_standby
    asynchronous
} >"$temp/seen"
as_stated 'when a commit is told of, and when it is visible'
