"""Reading protocol requests: strictly, once, with the errors the specifications name.

Parameters must not repeat (RFC 6749 section 3.1), must be form-encoded on the token side, and are
bounded; what is empty counts as not sent (section 3.1).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from authlib.oauth2.rfc6749 import InvalidRequestError, OAuth2Payload, OAuth2Request

BODY_MAXIMUM = 64 * 1024
PARAMETERS_MAXIMUM = 64
FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Decoded parameters; `repeated` names those that came more than once."""

    values: dict[str, str]
    repeated: frozenset[str] = frozenset()

    def without_repeats(self) -> dict[str, str]:
        """The values, or `invalid_request` when a parameter came twice."""
        if self.repeated:
            raise InvalidRequestError("A parameter was sent more than once.")
        return self.values


def parse(encoded: bytes) -> Parameters:
    """Decodes `application/x-www-form-urlencoded` bytes (a query or a body).

    Raises `InvalidRequestError` for what is too long, too many, or not UTF-8.
    """
    if len(encoded) > BODY_MAXIMUM:
        raise InvalidRequestError("The request is too large.")
    values: dict[str, str] = {}
    repeated: set[str] = set()
    pairs = encoded.split(b"&") if encoded else []
    if len(pairs) > PARAMETERS_MAXIMUM:
        raise InvalidRequestError("The request has too many parameters.")
    try:
        for pair in pairs:
            raw_name, _, raw_value = pair.partition(b"=")
            name, value = _decode(raw_name), _decode(raw_value)
            if not name:
                continue
            if name in values:
                repeated.add(name)
            values[name] = value
    except UnicodeDecodeError:
        raise InvalidRequestError("The request is not valid UTF-8.") from None
    if any("\x00" in value or "\x00" in name for name, value in values.items()):
        # PostgreSQL stores no NUL, and no parameter of any specification may contain one.
        raise InvalidRequestError("The request contains a NUL character.")
    return Parameters({name: value for name, value in values.items() if value}, frozenset(repeated))


def parse_form(content_type: str, body: bytes) -> dict[str, str]:
    """The parameters of a token-side POST (RFC 6749 section 4.1.3 and appendix B)."""
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise InvalidRequestError("The body must be application/x-www-form-urlencoded.")
    return parse(body).without_repeats()


def _decode(raw: bytes) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    return raw.decode()


class _Payload(OAuth2Payload):
    def __init__(self, values: dict[str, str]) -> None:
        self._values = values

    @property
    def data(self) -> dict[str, str]:
        return self._values

    @property
    def datalist(self) -> defaultdict[str, list[str]]:
        lists: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in self._values.items():
            lists[name] = [value]
        return lists


class ProtocolRequest(OAuth2Request):
    """A request as authlib's grants want it.

    The address is the issuer's, never the one that was asked: behind a proxy they differ, and
    authlib refuses what looks like plain http.
    """

    def __init__(
        self, method: str, uri: str, *, values: dict[str, str], headers: Mapping[str, str]
    ) -> None:
        super().__init__(method, uri, headers=dict(headers))
        self.payload = _Payload(values)
        self._values = values

    @property
    def form(self) -> dict[str, Any]:
        return self._values

    @property
    def args(self) -> dict[str, Any]:
        return self._values
