"""Calling an API for a person: with an access token that is good, refreshed once for all.

One refresh at a time: refresh tokens rotate, and a second request that sent the old one would look
like theft.
"""

import time
from typing import Any

import httpx2
from authlib.integrations.starlette_client import OAuthError

from .payments import asks_for_more
from .sessions import Session

# An access token is exchanged this many seconds before it expires.
REFRESH_EARLY = 10


class SignedOut(Exception):  # noqa: N818 - a state, not a fault
    """The provider no longer honours this session's tokens."""


class Api:
    """The API at `url`, for people who signed in through `provider`."""

    def __init__(self, provider: Any, url: str) -> None:
        self.provider = provider
        self.http = httpx2.AsyncClient(base_url=url, timeout=10)

    async def ask(
        self, session: Session, method: str, path: str, body: dict[str, str] | None = None
    ) -> httpx2.Response:
        """The API's answer; raises `SignedOut` when the provider gives no new token any more."""

        async def send(token: str) -> httpx2.Response:
            headers = {"Authorization": f"Bearer {token}"}
            return await self.http.request(method, path, headers=headers, json=body)

        token = await self.access_token(session)
        answer = await send(token)
        # A token that is good but not enough stays so: a refresh proves nothing.
        if answer.status_code == 401 and asks_for_more(answer) is None:
            # Refused before its time: whether the session still lives, a refresh will tell.
            answer = await send(await self.access_token(session, refused=token))
        return answer

    async def access_token(self, session: Session, *, refused: str | None = None) -> str:
        """An access token that is good for a while, and is not the one that was `refused`."""
        async with session.refreshing:
            token = session.tokens["access_token"]
            expires_at = session.tokens.get("expires_at", 0)
            if token == refused or expires_at < time.time() + REFRESH_EARLY:
                refresh_token = session.tokens.get("refresh_token")
                if refresh_token is None:
                    raise SignedOut
                try:
                    fresh = await self.provider.fetch_access_token(
                        grant_type="refresh_token", refresh_token=refresh_token
                    )
                except OAuthError as error:
                    raise SignedOut from error
                session.took({**session.tokens, **fresh})
            return str(session.tokens["access_token"])
