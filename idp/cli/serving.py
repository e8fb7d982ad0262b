"""The two servers of one process: the public one, and the one on the management port.

Both run on one event loop, so that "live" means that the loop which answers people still turns. Told
to stop, the node first says "not ready" for as long as the settings say, so that whoever balances
between nodes sends nobody any more; then it takes no more connections and lets requests finish.
"""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from idp.app import App
from idp.cli.connection import Connection
from idp.settings import Settings, SettingsError

# Requests that are under way may finish for so long after the signal to stop.
GRACE_SECONDS = 10
_NOT_STARTED = 3


class _Node(uvicorn.Server):
    """The public server: takes the signals, and leaves politely."""

    def __init__(self, config: uvicorn.Config, app: App, drain: int) -> None:
        super().__init__(config)
        self._app = app
        self._drain = drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._drain and not self._app.readiness.is_leaving and sig != signal.SIGINT:
            self._app.readiness.is_leaving = True
            leave = partial(super().handle_exit, sig, frame)
            loop = asyncio.get_running_loop()
            # From a signal handler the loop must be woken to look at its timers.
            loop.call_soon_threadsafe(loop.call_later, self._drain, leave)
            return
        self._app.readiness.is_leaving = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        # A live stream is an answer that goes on: it would hold up the end for the whole grace.
        self._app.live.close()
        await super().shutdown(sockets)


class _Beside(uvicorn.Server):
    """A server that leaves the signals to the other one."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def require_ports(settings: Settings) -> None:
    """Refuses addresses that cannot be listened on, before anything is made for this start: a new link
    for the first administrator takes the place of the one that a running node printed."""
    _require(settings.host, settings.port, "IDP_{}")
    if settings.management.port:
        _require(settings.management.host, settings.management.port, "IDP_MANAGEMENT__{}")


def _require(host: str, port: int, setting: str) -> None:
    try:
        asyncio.run(_bind(host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            said = (
                f"{setting.format('PORT')}: somebody listens at {host}:{port} already; stop them, "
            )
            raise SettingsError(said + "or choose another port") from None
        what = setting.format("PORT" if error.errno == errno.EACCES else "HOST")
        # Of a name that leads nowhere the number is below zero, and the system has no words for it.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise SettingsError(f"{what}: cannot listen at {host}:{port} ({why})") from None


async def _bind(host: str, port: int) -> None:
    """Takes the address as the server will, and lets it go again; nobody is listened to."""
    loop = asyncio.get_running_loop()
    (await loop.create_server(asyncio.Protocol, host, port, start_serving=False)).close()


def run(app: App, settings: Settings) -> None:
    """Serves until SIGTERM or Ctrl-C."""
    node = _Node(
        _config(app, settings.host, settings.port, settings), app, settings.management.drain
    )
    with suppress(KeyboardInterrupt):
        if settings.management.port:
            beside = _Beside(
                _config(
                    app.management, settings.management.host, settings.management.port, settings
                )
            )
            with asyncio.Runner(loop_factory=node.config.get_loop_factory()) as runner:
                runner.run(_both(node, beside))
        else:
            node.run()
    if not node.started:
        sys.exit(_NOT_STARTED)


async def _both(node: _Node, beside: _Beside) -> None:
    figures = asyncio.create_task(beside.serve())
    try:
        await node.serve()
    finally:
        beside.should_exit = True
        await figures


def _config(app: ASGIApp, host: str, port: int, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=Connection,
        # Nothing here speaks websockets: nobody is handed on to another parser.
        ws="none",
        # The lines of the server go where ours go (`logs`).
        log_config=None,
        log_level=settings.log_level,
        # A query string may hold what does not belong in a log.
        access_log=False,
        server_header=False,
        # Which proxies are believed is our setting, not the server's default of loopback.
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
