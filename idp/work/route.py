"""From a destination to a connection: a name is resolved once, and only checked addresses are met.

Owns both halves of that promise of the outbound client. `Names` gives the addresses of a destination
that the rules allow; a `Route` connects to these and to nothing else, whatever it is asked for.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore2

from idp.work.destination import Destination, OutboundRefused, Rules

# One address that swallows packets must leave time for the next.
CONNECT_SECONDS = 2.0
ADDRESSES_TRIED = 4
# The system's resolver may hold a thread for long after we have stopped waiting for it.
RESOLVING_AT_ONCE = 32

Resolve = Callable[[str, int], Sequence[str]]


class OutboundFailed(Exception):  # noqa: N818
    """The call was made and brought no usable answer; `reason` says what happened."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def system_addresses(host: str, port: int) -> Sequence[str]:
    """The addresses of a name by the system's resolver, in its order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Names:
    """Asks the resolver, from one event loop."""

    def __init__(self, rules: Rules, resolve: Resolve) -> None:
        self._rules = rules
        self._resolve = resolve
        self._resolving = asyncio.Semaphore(RESOLVING_AT_ONCE)

    async def addresses(self, destination: Destination) -> list[str]:
        """The addresses that were checked and may be connected to."""
        if destination.literal is not None:
            found: Sequence[str] = (str(destination.literal),)
        else:
            found = await self._resolved(destination)
        problems: list[str] = []
        good: list[str] = []
        for text in found:
            try:
                problem = self._rules.problem_with(ipaddress.ip_address(text), destination.scheme)
            except ValueError:
                problem = "the resolver gave something that is no address"
            if problem is None:
                good.append(text)
            else:
                problems.append(problem)
        if not good:
            raise OutboundRefused(problems[0] if problems else "the name has no address")
        return good[:ADDRESSES_TRIED]

    async def _resolved(self, destination: Destination) -> Sequence[str]:
        """Asks the resolver in a thread that may be left behind: the process need not wait for it.

        An executor's threads are joined when the process ends, however long they hang.
        """
        async with self._resolving:
            loop = asyncio.get_running_loop()
            answer: asyncio.Future[Sequence[str]] = loop.create_future()
            threading.Thread(
                target=_look_up,
                args=(self._resolve, destination, loop, answer),
                name="outbound resolver",
                daemon=True,
            ).start()
            return await answer


class Route(httpcore2.AsyncNetworkBackend):
    """Connects to the checked addresses and nowhere else, whatever host it is asked for."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._network = httpcore2.AnyIOBackend()
        self._stream: httpcore2.AsyncNetworkStream | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        del host, timeout, local_address, socket_options
        for address in self._addresses[:-1]:
            with contextlib.suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                self._stream = await self._network.connect_tcp(
                    address, port, timeout=CONNECT_SECONDS
                )
                return self._stream
        self._stream = await self._network.connect_tcp(self._addresses[-1], port)
        return self._stream

    async def close(self) -> None:
        """Closes the socket even when the TLS handshake on it was broken off."""
        if self._stream is not None:
            await self._stream.aclose()


def said(error: Exception) -> str:
    """An error in one printable line: part of it may come from the receiver."""
    text = "".join(character for character in str(error) if character.isprintable())
    return f"{type(error).__name__}: {text}"[:200]


def _look_up(
    resolve: Resolve,
    destination: Destination,
    loop: asyncio.AbstractEventLoop,
    answer: "asyncio.Future[Sequence[str]]",
) -> None:
    found: Sequence[str] = ()
    error: Exception | None = None
    try:
        found = resolve(destination.host, destination.port)
    except (OSError, UnicodeError) as problem:
        error = OutboundFailed(f"the name cannot be resolved: {said(problem)}")

    def hand_over() -> None:
        if answer.done():  # nobody waits any more
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)

    with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
        loop.call_soon_threadsafe(hand_over)
