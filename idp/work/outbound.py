"""The one HTTP client that calls apps (invariant 12).

Owns how a call leaves this machine: https, no redirects, no proxy from the environment, no cookies,
one time limit for the whole call, a limit on what is read. The name is resolved here, every address
is checked, and the connection goes to a checked address: nothing resolves the name a second time,
so a name that changes its mind between check and connect (DNS rebinding) gains nothing.

Calls run on an event loop in a thread of their own, so that many slow receivers cost no threads and
a busy caller delays no answer. httpcore is used without the client above it: redirects, proxies,
cookies and content decoding then do not exist here instead of being switched off.
Specs: RFC 9110, RFC 9112, RFC 6125 (the certificate is checked against the URL's host).
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpcore2
import orjson

from idp.settings import OutboundSettings
from idp.work.destination import Destination, OutboundRefused, Rules, parse, problem_with_url

__all__ = ["Answer", "Outbound", "OutboundFailed", "OutboundRefused", "problem_with_url"]

BODY_MAXIMUM = 64 * 1024
# One address that swallows packets must leave time for the next.
CONNECT_SECONDS = 2.0
ADDRESSES_TRIED = 4
# The system's resolver may hold a thread for long after we have stopped waiting for it.
RESOLVING_AT_ONCE = 32
FETCHES_AT_ONCE = 8

Resolve = Callable[[str, int], Sequence[str]]


class OutboundFailed(Exception):  # noqa: N818
    """The call was made and brought no usable answer; `reason` says what happened."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said; `body` is what came within the limits, `whole` whether that was all."""

    status: int
    body: bytes
    whole: bool = True


def system_addresses(host: str, port: int) -> Sequence[str]:
    """The addresses of a name by the system's resolver, in its order of preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Outbound:
    """Calls apps, from any thread. `resolve` gives the addresses of a name; tests replace it."""

    def __init__(self, settings: OutboundSettings, *, resolve: Resolve = system_addresses) -> None:
        self._rules = Rules.of(settings)
        self._timeout = settings.timeout
        self._resolve = resolve
        self._tls = ssl.create_default_context()
        self._resolving = asyncio.Semaphore(RESOLVING_AT_ONCE)
        self._fetching = threading.BoundedSemaphore(FETCHES_AT_ONCE)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def begin_post_form(self, url: str, fields: Mapping[str, str]) -> "Future[Answer]":
        """Sends a form and gives at once the future of its answer.

        The future raises `OutboundRefused` or `OutboundFailed`. An answer stands once its status
        has come: a body that is too long, too slow or broken is cut, because the status decides.
        """
        return self._start(self._post_form(url, urlencode(fields).encode()))

    def post_form(self, url: str, fields: Mapping[str, str]) -> Answer:
        """`begin_post_form`, waiting for the answer; at most the time limit of a call."""
        return self.begin_post_form(url, fields).result()

    def get_json(self, url: str) -> Any:
        """Fetches a JSON document (`jwks_uri`): status 200, the whole of it, within the limits."""
        # Its own small allowance: a caller who makes us fetch must not starve the deliveries.
        if not self._fetching.acquire(blocking=False):
            raise OutboundFailed("too many documents are being fetched")
        try:
            answer = self._start(self._get(url)).result()
        finally:
            self._fetching.release()
        if answer.status != 200:
            raise OutboundFailed(f"answered {answer.status}")
        if not answer.whole:
            raise OutboundFailed("the document is too long, or broke off")
        try:
            return orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            raise OutboundFailed("the document is not JSON") from None

    def close(self) -> None:
        """Breaks off calls that are under way and ends the thread; a later call starts anew."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _start(self, call: Coroutine[Any, Any, Answer]) -> "Future[Answer]":
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._resolving = asyncio.Semaphore(RESOLVING_AT_ONCE)
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name="outbound", daemon=True
                )
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(_failing_when_stopped(call), self._loop)

    async def _post_form(self, url: str, content: bytes) -> Answer:
        headers: dict[bytes | str, bytes | str] = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Content-Length": str(len(content)),
        }
        return await self._call("POST", url, headers, content)

    async def _get(self, url: str) -> Answer:
        return await self._call("GET", url, {}, b"")

    async def _call(
        self, method: str, url: str, headers: dict[bytes | str, bytes | str], content: bytes
    ) -> Answer:
        destination = parse(url)
        status: int | None = None
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout), contextlib.AsyncExitStack() as stack:
                route = _Route(await self._addresses(destination))
                stack.push_async_callback(route.close)
                connection = await stack.enter_async_context(
                    httpcore2.AsyncHTTPConnection(
                        origin=_url(destination).origin,
                        ssl_context=self._tls,
                        network_backend=route,
                    )
                )
                response = await stack.enter_async_context(
                    connection.stream(
                        method,
                        _url(destination),
                        headers=_headers(destination, headers),
                        content=content,
                    )
                )
                status = response.status
                parts = await stack.enter_async_context(
                    contextlib.aclosing(response.aiter_stream())
                )
                async for part in parts:
                    body += part
                    if len(body) > BODY_MAXIMUM:
                        return Answer(status, bytes(body[:BODY_MAXIMUM]), whole=False)
        except TimeoutError:
            if status is None:
                raise OutboundFailed(f"no answer within {self._timeout:g} seconds") from None
            return Answer(status, bytes(body), whole=False)
        except (
            httpcore2.NetworkError,
            httpcore2.ProtocolError,
            httpcore2.TimeoutException,
            OSError,
        ) as error:
            if status is None:
                raise OutboundFailed(_said(error)) from None
            return Answer(status, bytes(body), whole=False)
        assert status is not None
        return Answer(status, bytes(body))

    async def _addresses(self, destination: Destination) -> list[str]:
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


class _Route(httpcore2.AsyncNetworkBackend):
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


def _url(destination: Destination) -> httpcore2.URL:
    return httpcore2.URL(
        scheme=destination.scheme,
        host=destination.host,
        port=destination.port,
        target=destination.target,
    )


def _headers(
    destination: Destination, headers: dict[bytes | str, bytes | str]
) -> dict[bytes | str, bytes | str]:
    return {
        "Host": destination.authority,
        "Accept": "application/json, */*;q=0.1",
        "Accept-Encoding": "identity",
        "User-Agent": "idp",
        "Connection": "close",
        **headers,
    }


def _said(error: Exception) -> str:
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
        error = OutboundFailed(f"the name cannot be resolved: {_said(problem)}")

    def hand_over() -> None:
        if answer.done():  # nobody waits any more
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(found)

    with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
        loop.call_soon_threadsafe(hand_over)


async def _failing_when_stopped(call: Coroutine[Any, Any, Answer]) -> Answer:
    """Turns the cancellation of `close` into an answer that callers understand."""
    try:
        return await call
    except (asyncio.CancelledError, CancelledError):
        raise OutboundFailed("the client was closed") from None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        # A call that was handed over but has not begun begins here, so that it can be answered.
        loop.run_until_complete(asyncio.sleep(0))
        waiting = asyncio.all_tasks(loop)
        for task in waiting:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
