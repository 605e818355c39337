"""Starts real clusters, and primaries that sentinels watch: each server as in `valkey_server`."""

import socket
import tempfile
import time
from contextlib import ExitStack, contextmanager

from valkey_server import ValkeyServer

from acache_redis._resp import Refused, Replies, pack

SLOTS = 16384


def ask(server, *command):
    """Return what *server* answers; raise what it refuses."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    replies = Replies()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        link.sendall(pack([words]))
        while not (whole := replies.feed(received := link.recv(65536))):
            if not received:
                raise ConnectionResetError("closed by the server")
    if isinstance(whole[0], Refused):
        raise whole[0]
    return whole[0]


def facts(server, *command):
    """Return what *server* answers as lines of `name:value`."""
    lines = ask(server, *command).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def until(true, seconds=60.0):
    """Wait until *true* returns something true; a server that does not answer says no."""
    ends = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
        except (OSError, Refused, IndexError):
            pass
        if time.monotonic() > ends:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.02)


def follows(server):
    """Tell whether *server* is a primary, or a replica that has all of its primary's data."""
    said = facts(server, "INFO", "replication")
    return said["role"] == "master" or (
        said["master_link_status"] == "up" and said["master_sync_in_progress"] == "0"
    )


class Servers(list):
    """Servers that belong together, each in a directory of its own, ended by their process ids."""

    def __init__(self, stack):
        super().__init__()
        self._stack = stack

    def start(self, *options):
        """Start one more."""
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="acache"))
        server = ValkeyServer(directory, *options).start()
        self._stack.callback(server.end)
        self.append(server)
        return server

    def sever(self):
        """Close the connections of all listeners."""
        for server in self.running:
            ask(server, "CLIENT", "KILL", "TYPE", "pubsub")

    def at(self, port):
        """Return the one that listens there."""
        return next(server for server in self if server.port == port)

    @property
    def running(self):
        """Those that run."""
        return [server for server in self if server.runs]


class ValkeyCluster(Servers):
    """Primaries that share the slots, and replicas."""

    @property
    def url(self):
        """A URL that names two of them."""
        return f"redis+cluster://127.0.0.1:{self[0].port},127.0.0.1:{self[1].port}"

    def form(self, primaries, replicas):
        """Let the servers that were started meet, the first of them as primaries."""
        for number, server in enumerate(self[:primaries]):
            first, after = (SLOTS * at // primaries for at in (number, number + 1))
            ask(server, "CLUSTER", "ADDSLOTSRANGE", first, after - 1)
            ask(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, server in enumerate(self):
            for other in self[:number]:
                ask(other, "CLUSTER", "MEET", "127.0.0.1", server.port)
        ids = [ask(server, "CLUSTER", "MYID") for server in self]
        for number, server in enumerate(self[primaries : primaries + replicas]):
            mine = ids[number % primaries]
            until(lambda server=server, mine=mine: mine in ask(server, "CLUSTER", "NODES"))
            ask(server, "CLUSTER", "REPLICATE", mine)
        self.replicas = replicas
        self.settle()

    def settle(self):
        """Wait until all nodes that run agree who has which slot, and replicas have their primaries' data."""
        until(self._agree)

    def _agree(self):
        views = [sorted(map(_who, ask(server, "CLUSTER", "SLOTS"))) for server in self.running]
        roles = [facts(server, "INFO", "replication")["role"] for server in self.running]
        return (
            all(view == views[0] for view in views)
            and roles.count("slave") == self.replicas - (len(self) - len(self.running))
            and all(facts(server, "CLUSTER", "INFO")["cluster_state"] == "ok" for server in self.running)
            and all(map(follows, self.running))
        )

    def primaries(self):
        """Return the servers that have slots."""
        ports = {slots[2][1] for slots in ask(self.running[0], "CLUSTER", "SLOTS")}
        return [server for server in self if server.port in ports]

    def replicas_of(self, primary):
        """Return the running replicas of *primary*."""
        ports = {
            replica[1]
            for slots in ask(primary, "CLUSTER", "SLOTS")
            if slots[2][1] == primary.port
            for replica in slots[3:]
        }
        return [server for server in self.running if server.port in ports]

    def owner(self, slot):
        """Return the server that has *slot*."""
        for first, last, (_, port, *_), *_ in ask(self.running[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return self.at(port)
        raise LookupError(slot)


def begin_to_move(servers, slot, to):
    """Let *slot* be on its way from its owner to *to*; return both ids, the owner first."""
    owner = servers.owner(slot)
    return owner, _begin_to_move(owner, to, slot)


def _begin_to_move(owner, to, slot):
    ids = [ask(server, "CLUSTER", "MYID") for server in (owner, to)]
    ask(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    ask(owner, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    return ids[1]


def move(owner, to, slot):
    """Move *slot* and its keys, until both know."""
    new_id = _begin_to_move(owner, to, slot)
    carry(owner, to, slot)
    finish_moving(owner, to, slot, new_id)


def carry(owner, to, slot):
    """Carry the keys of *slot* over."""
    while keys := ask(owner, "CLUSTER", "GETKEYSINSLOT", slot, 100):
        ask(owner, "MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)


def finish_moving(owner, to, slot, new_id):
    """Let *to* have the slot."""
    for server in (to, owner):
        ask(server, "CLUSTER", "SETSLOT", slot, "NODE", new_id)


def _who(slots):
    first, last, primary, *replicas = slots
    return first, last, primary[1], sorted(replica[1] for replica in replicas)


@contextmanager
def cluster(primaries=3, replicas=3, *options, spare=0, node_timeout=5000):
    """Start a cluster, and *spare* servers that belong to it without slots."""
    with ExitStack() as stack:
        servers = ValkeyCluster(stack)
        for _ in range(primaries + replicas + spare):
            servers.start(
                *("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout)),
                *("--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"),
                *options,
            )
        servers.form(primaries, replicas)
        yield servers


class Watched(Servers):
    """A primary and replicas that sentinels watch."""

    sentinels: Servers

    @property
    def url(self):
        """A URL that names the sentinels."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/cache"

    def primary(self):
        """Return the server that the first sentinel which runs takes for the primary."""
        sentinel = self.sentinels.running[0]
        _, port = ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "cache")
        return self.at(int(port))

    def settle(self):
        """Wait until the sentinels agree, and replicas have their primary's data."""
        until(self._agree)

    def _agree(self):
        known = [ask(one, "SENTINEL", "MASTER", "cache") for one in self.sentinels.running]
        fields = [dict(zip(one[::2], one[1::2], strict=True)) for one in known]
        others = str(len(self.sentinels) - 1).encode()
        return (
            len({one[b"port"] for one in fields}) == 1
            and all(one[b"num-other-sentinels"] == others for one in fields)
            and all(one[b"flags"] == b"master" for one in fields)
            and all(int(one[b"num-slaves"]) >= len(self) - 1 for one in fields)
            and facts(self.primary(), "INFO", "replication")["role"] == "master"
            and sum(facts(one, "INFO", "replication")["role"] == "master" for one in self.running) == 1
            and all(map(follows, self.running))
        )


@contextmanager
def watched(replicas=1, *options, down_after=1000):
    """Start a primary, replicas of it and three sentinels."""
    with ExitStack() as stack:
        servers = Watched(stack)
        servers.sentinels = Servers(stack)
        for _ in range(1 + replicas):
            servers.start("--repl-diskless-sync-delay", "0", *options)
        for replica in servers[1:]:
            ask(replica, "REPLICAOF", "127.0.0.1", servers[0].port)
        for _ in range(3):
            sentinel = servers.sentinels.start("--sentinel")
            ask(sentinel, "SENTINEL", "MONITOR", "cache", "127.0.0.1", servers[0].port, 2)
            ask(sentinel, "SENTINEL", "SET", "cache", "down-after-milliseconds", down_after)
            ask(sentinel, "SENTINEL", "SET", "cache", "failover-timeout", 5000)
        servers.settle()
        yield servers
