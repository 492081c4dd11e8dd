"""A cluster of nodes of Redis or Valkey, as they are started by `start_node` of common.bash."""

import time

from wire import Wire


def wait(holds, seconds=30):
    end = time.time() + seconds
    while not holds():
        assert time.time() < end, f"after {seconds} seconds, it is not so"
        time.sleep(0.005)


class Node:
    def __init__(self, port, bus):
        self.port, self.bus = port, bus
        self.wire = Wire(port)
        self.id = self.ask("CLUSTER MYID")

    def ask(self, command):
        (answer,) = self.wire.ask(command)
        return answer

    def told(self, command):
        answer = self.ask(command)
        assert answer == "OK", f"{command}: {answer}"

    def says(self, text, of="CLUSTER INFO"):
        return text in self.ask(of)

    def owner(self, slot):
        """The id of the node that has this slot, as this node says."""
        for line in self.ask("CLUSTER NODES").splitlines():
            words = line.split()
            for slots in words[8:]:
                first, _, last = slots.partition("-")
                if first.isdigit() and int(first) <= slot <= int(last or first):
                    return words[0]

    def knows_replica(self, replica, primary):
        lines = self.ask("CLUSTER NODES").splitlines()
        return any(it.startswith(replica.id) and f"slave {primary.id}" in it for it in lines)


def cluster(ports):
    """Nodes at these ports, each followed by that of its bus: the first three share the slots."""
    nodes = [Node(port, bus) for port, bus in zip(ports[::2], ports[1::2])]
    for number, node in enumerate(nodes[:3]):
        node.told(f"CLUSTER ADDSLOTSRANGE {number * 16384 // 3} {(number + 1) * 16384 // 3 - 1}")
        node.told(f"CLUSTER SET-CONFIG-EPOCH {number + 1}")
    for node in nodes[1:]:
        nodes[0].told(f"CLUSTER MEET 127.0.0.1 {node.port} {node.bus}")
    for text in ("cluster_state:ok", f"cluster_known_nodes:{len(nodes)}"):
        wait(lambda: all(node.says(text) for node in nodes))
    return nodes
