"""Several Redis servers that belong together: a cluster, or a primary with a replica and Sentinel."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.harness.redis_server import PATIENCE, RedisServer, running
from tests.harness.server_process import reserved_port

SLOTS = 16_384
PRIMARY = "idp"


@dataclass
class Cluster:
    """Two servers that hold half of the slots each."""

    servers: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return f"redis+cluster://{hosts}"

    def move(self, key: str) -> None:
        """Gives the slot of a key to the other server; whoever asks the first is told MOVED."""
        slot = int(self.servers[0].told(f"CLUSTER KEYSLOT {key}")[1:])
        left, heir = self.servers if slot in _half(0) else reversed(self.servers)
        # What it held is not taken along: this is a cache.
        left.told(f"DEL {key}")
        for server in (heir, left):
            assert server.told(f"CLUSTER SETSLOT {slot} NODE {_name(heir)}").startswith("+OK")
        # So that the others believe the heir, and not what was said before.
        heir.told("CLUSTER BUMPEPOCH")


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        servers = tuple(
            # It takes the port 10,000 above as well.
            stack.enter_context(running("--cluster-enabled", "yes", port=port))
            for port in [stack.enter_context(reserved_port()) for _ in range(2)]
        )
        for number, server in enumerate(servers):
            half = _half(number)
            server.told(f"CLUSTER ADDSLOTSRANGE {half.start} {half.stop - 1}")
        servers[0].told(f"CLUSTER MEET 127.0.0.1 {servers[1].port}")
        for server in servers:
            until(lambda server=server: "cluster_state:ok" in server.told("CLUSTER INFO"))
        yield Cluster(servers)


@dataclass
class Sentinel(RedisServer):
    """Watches a primary, and changes its own configuration as it learns."""

    @property
    def command(self) -> list[str]:
        return ["redis-server", str(self.folder / "sentinel.conf"), "--sentinel"]


@dataclass
class Watched:
    """A primary and its replica, and a Sentinel that knows which of them is which."""

    servers: tuple[RedisServer, ...]
    sentinel: RedisServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{PRIMARY}"

    def fail_over(self) -> None:
        """The replica becomes the primary."""
        # Not before Sentinel has looked at the replica long enough to trust it.
        until(lambda: self.sentinel.told(f"SENTINEL FAILOVER {PRIMARY}").startswith("+OK"))
        until(lambda: "role:master" in self.servers[1].told("INFO replication"))
        until(lambda: str(self.servers[1].port) in self._primary())

    def _primary(self) -> str:
        return self.sentinel.told(f"SENTINEL GET-MASTER-ADDR-BY-NAME {PRIMARY}")


@contextlib.contextmanager
def followed() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary, and a replica that has all that it has."""
    with contextlib.ExitStack() as stack:
        at_once = ("--repl-diskless-sync-delay", "0")
        ports = [stack.enter_context(reserved_port()) for _ in range(2)]
        primary = stack.enter_context(running(*at_once, port=ports[0]))
        replica = stack.enter_context(
            running("--replicaof", f"127.0.0.1 {primary.port}", port=ports[1])
        )
        until(lambda: "master_link_status:up" in replica.told("INFO replication"))
        until(lambda: "state=online" in primary.told("INFO replication"))
        yield primary, replica


@contextlib.contextmanager
def watched() -> Iterator[Watched]:
    with contextlib.ExitStack() as stack:
        primary, replica = stack.enter_context(followed())
        sentinel = Sentinel(primary.folder / "sentinel", stack.enter_context(reserved_port()))
        sentinel.folder.mkdir()
        (sentinel.folder / "sentinel.conf").write_text(
            f"port {sentinel.port}\ndir {sentinel.folder}\nunixsocket {sentinel.socket_path}\n"
            f"bind 127.0.0.1\nsentinel monitor {PRIMARY} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {PRIMARY} 500\n"
        )
        stack.callback(sentinel.kill)
        sentinel.start()
        until(lambda: str(replica.port) in sentinel.told(f"SENTINEL REPLICAS {PRIMARY}"))
        yield Watched((primary, replica), sentinel)


def until(is_so: Callable[[], bool]) -> None:
    """Waits until it is so. An answer that was cut is no answer yet: it is asked for again.

    Sentinel has a server whose role it changes cut all its connections (`CLIENT KILL`), also ours.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            if is_so():
                return
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _half(number: int) -> range:
    return range(number * SLOTS // 2, (number + 1) * SLOTS // 2)


def _name(server: RedisServer) -> str:
    return server.told("CLUSTER MYID").splitlines()[1]
