"""Static files: style, small scripts, icons; read once, named by their content.

A name carries a digest of the file, so browsers may keep it for ever and a new release is fetched
at once. Only what was read at start-up can be asked for: no path ever reaches the file system.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file under the name that browsers ask for."""

    path: str
    content: bytes
    media_type: str


class Assets:
    """The static files of this release."""

    def __init__(self, folder: Path) -> None:
        made = {file.name: _asset(file) for file in sorted(folder.iterdir()) if file.is_file()}
        self._by_name = made
        self._by_path = {asset.path: asset for asset in made.values()}

    def path(self, name: str) -> str:
        """The address of the file called `name` in the sources."""
        return self._by_name[name].path

    def route(self) -> Route:
        """The route that answers for all of them."""

        async def endpoint(request: Request) -> Response:
            asset = self._by_path.get(request.scope["path"])
            if asset is None:
                return Response("Not found\n", 404, media_type="text/plain")
            return Response(
                asset.content,
                media_type=asset.media_type,
                headers={"Cache-Control": _FOR_EVER, "Accept-Ranges": "none"},
            )

        return Route("/static/{name}", endpoint, include_in_schema=False)


def _asset(file: Path) -> Asset:
    content = file.read_bytes()
    stem, _, suffix = file.name.rpartition(".")
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Asset(f"/static/{stem}.{digest}.{suffix}", content, _MEDIA_TYPES[suffix])
