"""HTTP/1.1 as bytes: requests prepared ahead, answers read with as little work as possible.

Owns requests, answers, cookies and forms of the benchmark. Knows no provider. It is not a general
client: one origin, keep-alive, bodies with a length or chunked.
"""

import base64
import html
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

FORM = "application/x-www-form-urlencoded"
_INPUT = re.compile(r"<input\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")


def request(
    method: str, path: str, *, host: str, headers: dict[str, str] | None = None, body: str = ""
) -> bytes:
    """The bytes of one request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if method == "POST":
        lines += [f"Content-Type: {FORM}", f"Content-Length: {len(body.encode())}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def form(path: str, fields: dict[str, str], *, host: str, **headers: str) -> bytes:
    """The bytes of a form post."""
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return request("POST", path, host=host, headers=named, body=urlencode(fields))


def basic(client_id: str, secret: str) -> str:
    """The Authorization header of RFC 6749 section 2.3.1."""
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


@dataclass(slots=True)
class Answer:
    """One answer; `head` is everything before the body."""

    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str:
        found = re.search(rb"\r\n" + name.encode() + rb":\s*([^\r]*)", self.head, re.IGNORECASE)
        if found is None:
            raise LookupError(f"no {name} in {self.head!r} {self.body[:300]!r}")
        return found[1].decode()

    def expect(self, *statuses: int) -> Self:
        """Itself; raises when the status is another: a benchmark of refusals measures nothing."""
        if self.status not in statuses:
            raise RuntimeError(f"{self.status}: {self.head!r} {self.body[:500]!r}")
        return self

    def path(self) -> str:
        """Path and query of the redirect it asks for."""
        parts = urlsplit(self.header("location"))
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def hidden_fields(self) -> dict[str, str]:
        """The hidden inputs of the page."""
        fields = {}
        for tag in _INPUT.findall(self.body.decode()):
            found = {name.lower(): double or single for name, double, single in _attributes(tag)}
            if found.get("type", "").lower() == "hidden":
                fields[found["name"]] = html.unescape(found.get("value", ""))
        return fields


def _attributes(tag: str) -> list[tuple[str, str, str]]:
    return _ATTRIBUTE.findall(tag)


class Cookies:
    """The cookies of one browser at one origin."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], str] = {}

    def keep(self, answer: Answer) -> None:
        for line in re.findall(rb"\r\nset-cookie:\s*([^\r]*)", answer.head, re.IGNORECASE):
            pair, *flags = line.decode().split(";")
            name, _, value = pair.strip().partition("=")
            path, gone = "/", not value
            for flag in flags:
                key, _, said = flag.strip().partition("=")
                if key.lower() == "path":
                    path = said
                elif key.lower() == "max-age":
                    gone = gone or int(said) <= 0
                elif key.lower() == "expires":
                    gone = gone or "1970" in said
            if gone:
                self._kept.pop((name, path), None)
            else:
                self._kept[name, path] = value

    def header(self, path: str) -> dict[str, str]:
        """The Cookie header of a request to `path`, as headers to merge."""
        bare = path.partition("?")[0]
        pairs = [
            f"{name}={value}"
            for (name, folder), value in self._kept.items()
            if folder == "/" or bare == folder or bare.startswith(folder.rstrip("/") + "/")
        ]
        return {"Cookie": "; ".join(pairs)} if pairs else {}


class Reader:
    """Puts the bytes of one connection together into answers."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Answer | None:
        """Takes what has arrived; gives the answer once it is whole."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._buffer[:end]
        status = int(head[9:12])
        lowered = head.lower()
        at = lowered.find(b"\r\ncontent-length:")
        if at >= 0:
            stop = lowered.find(b"\r\n", at + 2)
            length = int(lowered[at + 17 : stop if stop >= 0 else None])
            whole = end + 4 + length
            if len(self._buffer) < whole:
                return None
            body = self._buffer[end + 4 : whole]
            self._buffer = self._buffer[whole:]
            return Answer(status, head, body)
        if b"\r\ntransfer-encoding: chunked" in lowered:
            return self._chunked(status, head, end + 4)
        self._buffer = self._buffer[end + 4 :]
        return Answer(status, head, b"")

    def _chunked(self, status: int, head: bytes, at: int) -> Answer | None:
        body = b""
        while True:
            line = self._buffer.find(b"\r\n", at)
            if line < 0:
                return None
            size = int(self._buffer[at:line].split(b";")[0], 16)
            at = line + 2 + size + 2
            if len(self._buffer) < at:
                return None
            if size == 0:
                self._buffer = self._buffer[at:]
                return Answer(status, head, body)
            body += self._buffer[line + 2 : at - 2]
