"""`idp healthcheck`: what a container asks every few seconds. Imports as little as can be."""

import sys
from http.client import HTTPConnection

from idp import settings as deployment
from idp.errors import Refused


def healthcheck() -> None:
    """Ask the node on this machine whether it is ready; ends with 1 when it is not."""
    settings = deployment.load()
    port, path = settings.port, "/healthz"
    if settings.management.port:
        port, path = settings.management.port, "/health/ready"
    # The node listens on every address of a container, or on the one that is set.
    host = settings.management.host if settings.management.port else settings.host
    connection = HTTPConnection("127.0.0.1" if host == "0.0.0.0" else host, port, timeout=2)  # noqa: S104
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        said = answer.read(1_000).decode("utf-8", "replace").strip()
    except OSError as error:
        raise Refused("not_ready", f"The node does not answer: {error}.", 503) from None
    finally:
        connection.close()
    if answer.status != 200:
        raise Refused("not_ready", f"The node is not ready: {said}", 503)
    sys.stdout.write(f"{said}\n")
