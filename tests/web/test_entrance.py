"""The door of strangers: bounded, and not the one of people who are signed in."""

import asyncio
import threading
from dataclasses import replace

import anyio
import httpx2
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response

from idp.users.passwords import PasswordHasher
from idp.web import errors
from idp.web.http import FORM, MOST_WAITING, Kind, PageRequest, WebContext, route, web_context
from tests.harness.provider import Idp


def test_strangers_who_would_wait_too_long_are_turned_away_and_nobody_else(idp: Idp) -> None:
    """DS-01: a flood fills one room of bounded size; people who are signed in have another."""
    release = threading.Event()

    def slow(context: WebContext, request: PageRequest) -> Response:
        release.wait(30)
        return PlainTextResponse("done")

    def quick(context: WebContext, request: PageRequest) -> Response:
        return PlainTextResponse("here")

    async def flood() -> tuple[list[httpx2.Response], httpx2.Response, httpx2.Response]:
        context = replace(
            web_context(idp.app.provider, PasswordHasher(idp.settings.password)),
            entrance=anyio.CapacityLimiter(1),
            limiter=anyio.CapacityLimiter(1),
        )
        inside = Kind(FORM, lambda context, request: None, errors.refuse)
        app = Starlette(
            routes=[
                route(context, "/stranger", errors.PUBLIC, {"GET": slow}),
                route(context, "/inside", inside, {"GET": quick}),
            ]
        )
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url=idp.settings.url) as client:
            waiting = [
                asyncio.create_task(client.get("/stranger")) for _ in range(MOST_WAITING + 1)
            ]
            while context.entrance.statistics().tasks_waiting < MOST_WAITING:
                await asyncio.sleep(0.01)
            late = await client.get("/stranger")
            signed_in = await client.get("/inside")
            release.set()
            return await asyncio.gather(*waiting), late, signed_in

    try:
        answered, late, signed_in = asyncio.run(asyncio.wait_for(flood(), 20))
    finally:
        release.set()
    assert (late.status_code, late.headers["retry-after"]) == (503, "2")
    assert signed_in.text == "here"
    assert {one.text for one in answered} == {"done"}
