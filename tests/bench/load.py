"""The load generator: keep-alive connections, each running one operation after the other.

An operation is a generator that yields the bytes of a request and is sent its answer, so that a
flow of five requests and a single call are driven alike. One thread, one selector, no client
library: the generator must cost much less than what it measures, and it runs on a processor of its
own.
"""

import selectors
import socket
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass

from tests.bench.wire import Answer, Reader

Operation = Generator[bytes, Answer, None]


@dataclass(frozen=True, slots=True)
class Load:
    """What was seen: seconds of each operation, and how many requests they took."""

    latencies: list[float]
    requests: int


class _Connection:
    """One connection and the operation it is busy with."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = Reader()
        self.operation: Operation | None = None
        self.started = 0.0


def drive(
    port: int, operations: Iterable[Operation], *, connections: int = 1, others: Sequence[int] = ()
) -> Load:
    """Runs all operations over so many connections at once; raises what an operation raises.

    The connections are spread evenly over `port` and `others`.
    """
    waiting = iter(operations)
    latencies: list[float] = []
    requests = 0
    busy = 0
    clock = time.perf_counter
    with selectors.DefaultSelector() as selector:
        ports = [port, *others]
        opened = [_Connection(ports[number % len(ports)]) for number in range(connections)]
        try:
            for connection in opened:
                operation = next(waiting, None)
                if operation is None:
                    break
                connection.operation = operation
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                busy += 1
                connection.started = clock()
                connection.socket.sendall(next(operation))
                requests += 1
            while busy:
                ready = selector.select(30)
                if not ready:
                    raise TimeoutError("no answer for 30 seconds")
                for key, _ in ready:
                    connection = key.data
                    data = connection.socket.recv(262_144)
                    if not data:
                        raise ConnectionError("the server closed a connection")
                    answer = connection.reader.feed(data)
                    if answer is None:
                        continue
                    try:
                        more = connection.operation.send(answer)
                    except StopIteration:
                        latencies.append(clock() - connection.started)
                        operation = next(waiting, None)
                        if operation is None:
                            busy -= 1
                            continue
                        connection.operation = operation
                        connection.started = clock()
                        more = next(operation)
                    connection.socket.sendall(more)
                    requests += 1
        finally:
            for connection in opened:
                connection.socket.close()
    return Load(latencies, requests)


def quantile(values: list[float], share: float) -> float:
    """The value that `share` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
