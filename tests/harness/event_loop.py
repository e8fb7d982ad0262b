"""The event loop in which providers inside the test process answer.

Without it every request of a `TestClient` starts a thread and a loop of its own, which takes longer
than the answer. A node has one loop as well, so what blocks it is noticed here as there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.testclient import TestClient

_portals: list[BlockingPortal] = []


@contextmanager
def running() -> Iterator[None]:
    """Until the block ends, clients that are given to `shared` share a loop."""
    with start_blocking_portal() as portal:
        _portals.append(portal)
        try:
            yield
        finally:
            _portals.remove(portal)


def shared(client: TestClient) -> TestClient:
    """The client, with its requests in the shared loop when one is running."""
    if _portals:
        client.portal = _portals[-1]
    return client
