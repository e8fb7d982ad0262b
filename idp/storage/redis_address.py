"""Where Redis is: one server, a set watched by Sentinel, or a cluster.

`redis://user:password@host:6379/0`, `rediss://…` (TLS), `unix:///path`;
`redis+sentinel://user:password@host1:26379,host2:26379/name-of-the-primary`;
`redis+cluster://user:password@host1:6379,host2:6379`, and both with `rediss+…` for TLS.
Every key of ours is used by itself, so it may live on any node of a cluster.
"""

import re
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import unquote

CONNECT_SECONDS = 0.5
ANSWER_SECONDS = 0.25
_ADDRESS = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://"
    r"(?:(?P<user>[^:@/]*):(?P<password>[^@/]*)@)?(?P<hosts>[^/@?#]+)(?:/(?P<name>[\w.-]*))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:]+\]|[\w.-]+)(?::(?P<port>[0-9]{1,5}))?")
_SENTINEL_PORT, _CLUSTER_PORT = 26_379, 6_379


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A parsed address; `url` is set for a single server, `hosts` for the others."""

    kind: str
    url: str = field(default="", repr=False)
    hosts: tuple[tuple[str, int], ...] = ()
    primary: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    is_tls: bool = False


def parse(text: str) -> RedisAddress:
    """An address; raises `ValueError` with a sentence that does not repeat it (it holds a password)."""
    if text.startswith(("redis://", "rediss://", "unix://")):
        return RedisAddress("single", url=text)
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError(
            "must be redis://user:password@host:6379/0, rediss://…, unix:///path, "
            "redis+sentinel://host1,host2/primary or redis+cluster://host1,host2"
        )
    kind = found["kind"]
    if kind == "sentinel" and not found["name"]:
        raise ValueError("redis+sentinel:// needs the name of the primary behind the hosts")
    default = _SENTINEL_PORT if kind == "sentinel" else _CLUSTER_PORT
    hosts = []
    for one in found["hosts"].split(","):
        host = _HOST.fullmatch(one)
        if host is None or not 1 <= int(host["port"] or default) <= 65_535:
            raise ValueError("has a host that is not host or host:port")
        hosts.append((host["host"].strip("[]"), int(host["port"] or default)))
    return RedisAddress(
        kind,
        hosts=tuple(hosts),
        primary=found["name"] or "",
        user=unquote(found["user"]) if found["user"] else None,
        password=unquote(found["password"]) if found["password"] else None,
        is_tls=found["scheme"] == "rediss",
    )


def connect(address: RedisAddress) -> Any:
    """A client; nothing is sent before its first command, except by a cluster's, which looks around."""
    # Here, because it is an extra that not everybody installs; without types for half of this.
    redis: Any = import_module("redis")
    # Now or not at all: left to itself redis-py tries again for seconds, and sleeps in between.
    never_again = redis.retry.Retry(import_module("redis.backoff").NoBackoff(), 0)
    waits: dict[str, Any] = {
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "health_check_interval": 30,
        "retry": never_again,
    }
    if address.kind == "single":
        return redis.Redis.from_url(address.url, **waits)
    login: dict[str, Any] = {
        "username": address.user,
        "password": address.password,
        "ssl": address.is_tls,
    }
    if address.kind == "sentinel":
        watching = redis.Sentinel(
            list(address.hosts), sentinel_kwargs=waits | {"ssl": address.is_tls}, **waits
        )
        return watching.master_for(address.primary, **login, **waits)
    nodes = [redis.cluster.ClusterNode(host, port) for host, port in address.hosts]
    return redis.RedisCluster(startup_nodes=nodes, **login, **waits)
