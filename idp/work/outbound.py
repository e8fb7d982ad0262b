"""The one HTTP client that calls apps (invariant 12).

Owns how a call leaves this machine: https, no redirects (but of a download that an administrator
asked for), no proxy from the environment, no cookies, one time limit for the whole call, a limit on
what is read. The name is resolved by `idp.work.route`, every address is checked, and the connection
goes to a checked address: nothing resolves the name a second time, so a name that changes its mind
between check and connect (DNS rebinding) gains nothing.

Calls run on an event loop in a thread of their own, so that many slow receivers cost no threads and
a busy caller delays no answer. httpcore is used without the client above it: redirects, proxies,
cookies and content decoding then do not exist here instead of being switched off.
Specs: RFC 9110, RFC 9112, RFC 6125 (the certificate is checked against the URL's host).
"""

import asyncio
import contextlib
import functools
import ssl
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlencode, urljoin

import httpcore2
import orjson

from idp.sections import OutboundSettings
from idp.work.destination import Destination, OutboundRefused, Rules, parse, problem_with_url
from idp.work.route import Names, OutboundFailed, Resolve, Route, said, system_addresses

__all__ = ["Answer", "Outbound", "OutboundFailed", "OutboundRefused", "problem_with_url"]

BODY_MAXIMUM = 64 * 1024
FETCHES_AT_ONCE = 8
# Of a download; a call is never redirected.
REDIRECTIONS = 4

Result = TypeVar("Result")
# What a connection that goes wrong raises.
_BROKEN = (
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said; `body` is what came within the limits, `whole` whether that was all."""

    status: int
    body: bytes
    whole: bool = True


class Outbound:
    """Calls apps, from any thread. `resolve` gives the addresses of a name; tests replace it."""

    def __init__(self, settings: OutboundSettings, *, resolve: Resolve = system_addresses) -> None:
        self._rules = Rules.of(settings)
        self._timeout = settings.timeout
        self._resolve = resolve
        self._names = Names(self._rules, resolve)
        self._fetching = threading.BoundedSemaphore(FETCHES_AT_ONCE)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        """The system's authorities; read at the first call that needs them, which takes 20 ms."""
        return ssl.create_default_context()

    def begin_post_form(self, url: str, fields: Mapping[str, str]) -> "Future[Answer]":
        """Sends a form and gives at once the future of its answer.

        The future raises `OutboundRefused` or `OutboundFailed`. An answer stands once its status
        has come: a body that is too long, too slow or broken is cut, because the status decides.
        """
        return self.begin_post(url, urlencode(fields).encode(), "application/x-www-form-urlencoded")

    def begin_post(
        self,
        url: str,
        content: bytes,
        media_type: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> "Future[Answer]":
        """Sends any body, as `begin_post_form` does; `headers` stand beside those of the body."""
        return self._start(self._post(url, content, media_type, headers or {}))

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

    def download(self, url: str, into: BinaryIO, *, maximum: int, seconds: float) -> None:
        """Writes a file of at most `maximum` bytes `into` another, for whoever runs this machine.

        It must be there within `seconds`. Redirections are followed, each as carefully as the URL
        that was given: files are announced in one place and kept in another. Raises
        `OutboundRefused` or `OutboundFailed`; what was written then is worth nothing.
        """
        self._start(self._download(url, into, maximum, seconds)).result()

    def close(self) -> None:
        """Breaks off calls that are under way and ends the thread; a later call starts anew."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _start(self, call: Coroutine[Any, Any, Result]) -> "Future[Result]":
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._names = Names(self._rules, self._resolve)
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name="outbound", daemon=True
                )
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(_failing_when_stopped(call), self._loop)

    async def _post(
        self, url: str, content: bytes, media_type: str, others: Mapping[str, str]
    ) -> Answer:
        headers: dict[bytes | str, bytes | str] = {
            "Content-Type": media_type,
            "Content-Length": str(len(content)),
        }
        headers.update(others.items())
        return await self._call("POST", url, headers, content)

    async def _get(self, url: str) -> Answer:
        return await self._call("GET", url, {}, b"")

    async def _call(
        self, method: str, url: str, headers: dict[bytes | str, bytes | str], content: bytes
    ) -> Answer:
        status: int | None = None
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._exchange(method, url, headers, content) as response,
            ):
                status = response.status
                async with contextlib.aclosing(response.aiter_stream()) as parts:
                    async for part in parts:
                        body += part
                        if len(body) > BODY_MAXIMUM:
                            return Answer(status, bytes(body[:BODY_MAXIMUM]), whole=False)
        except TimeoutError:
            if status is None:
                raise OutboundFailed(f"no answer within {self._timeout:g} seconds") from None
            return Answer(status, bytes(body), whole=False)
        except _BROKEN as error:
            if status is None:
                raise OutboundFailed(said(error)) from None
            return Answer(status, bytes(body), whole=False)
        assert status is not None
        return Answer(status, bytes(body))

    async def _download(self, url: str, into: BinaryIO, maximum: int, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                for _ in range(1 + REDIRECTIONS):
                    async with self._exchange("GET", url, {}, b"") as response:
                        elsewhere = _redirected(url, response)
                        if elsewhere is None:
                            await _save(response, into, maximum)
                            return
                        url = elsewhere
                raise OutboundFailed("was redirected too often")
        except TimeoutError:
            raise OutboundFailed(f"not whole within {seconds:g} seconds") from None
        except _BROKEN as error:
            raise OutboundFailed(said(error)) from None

    @contextlib.asynccontextmanager
    async def _exchange(
        self, method: str, url: str, headers: dict[bytes | str, bytes | str], content: bytes
    ) -> AsyncIterator[httpcore2.Response]:
        """One request on a connection of its own; the answer's body is still to come."""
        destination = parse(url)
        async with contextlib.AsyncExitStack() as stack:
            route = Route(await self._names.addresses(destination))
            stack.push_async_callback(route.close)
            connection = await stack.enter_async_context(
                httpcore2.AsyncHTTPConnection(
                    origin=_url(destination).origin,
                    ssl_context=self._tls if destination.scheme == "https" else None,
                    network_backend=route,
                )
            )
            yield await stack.enter_async_context(
                connection.stream(
                    method,
                    _url(destination),
                    headers=_headers(destination, headers),
                    content=content,
                )
            )


def _redirected(url: str, response: httpcore2.Response) -> str | None:
    """Where the answer sends us, or None when it sends us nowhere."""
    if response.status not in (301, 302, 303, 307, 308):
        return None
    found = (value for name, value in response.headers if name.lower() == b"location")
    try:
        return urljoin(url, next(found, b"").decode("latin-1"))
    except ValueError:
        raise OutboundFailed("was redirected to nonsense") from None


async def _save(response: httpcore2.Response, into: BinaryIO, maximum: int) -> None:
    if response.status != 200:
        raise OutboundFailed(f"answered {response.status}")
    size = 0
    async with contextlib.aclosing(response.aiter_stream()) as parts:
        async for part in parts:
            size += len(part)
            if size > maximum:
                raise OutboundFailed(f"is longer than {maximum:,} bytes")
            into.write(part)


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


async def _failing_when_stopped(call: Coroutine[Any, Any, Result]) -> Result:
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
