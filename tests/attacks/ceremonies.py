"""Hostile answers to a WebAuthn ceremony: JSON, CBOR, and changes of a good credential."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

_GOOD = {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {}}


def _with(**members: object) -> str:
    return json.dumps(_GOOD | members)


# As text of the field `credential`; none of them is empty.
CREDENTIALS: dict[str, str] = {
    "blank": " ",
    "no JSON": "passkey",
    "cut short": '{"id": "AAAA", "response": {',
    "a mark in front": "\ufeff{}",
    "unicode": "ﬃ💥\u2028\u202e",
    "null": "null",
    "true": "true",
    "a number": "1e400",
    "a long number": "1" * 15_000,
    "NaN": '{"id": NaN}',
    "a string": '"public-key"',
    "a lone surrogate": '{"id": "\\ud800", "type": "public-key", "response": {}}',
    "an escaped NUL": '{"id": "\\u0000", "type": "public-key", "response": {}}',
    "a list": "[]",
    "a list of one": f"[{json.dumps(_GOOD)}]",
    "an empty object": "{}",
    "of another type": _with(type="password"),
    "type a list": _with(type=["public-key"]),
    "response null": _with(response=None),
    "response a list": _with(response=[1]),
    "response text": _with(response="{}"),
    "response empty": _with(),
    "id a number": _with(id=1),
    "id an object": _with(id={}),
    "members of numbers": _with(
        response={"clientDataJSON": 1, "authenticatorData": 2, "signature": 3, "userHandle": 4}
    ),
    "members of rubbish": _with(
        response=dict.fromkeys(
            ("clientDataJSON", "authenticatorData", "attestationObject", "signature"), "!!!"
        )
    ),
    "a member twice": '{"id": "AAAA", "id": "BBBB", "type": "public-key", "response": {}}',
    "ten thousand members": json.dumps({str(number): 0 for number in range(1_500)}),
    "lists in lists": "[" * 8_000 + "]" * 8_000,
    "lists that never end": "[" * 16_000,
    "objects in objects": '{"a":' * 3_000,
    "17 KiB": _with(padding="A" * 17_000),
    "60 KiB": "{" + " " * 60_000 + "}",
    "60 KiB of lists": "[" * 20_000,
}


def _head(major: int, length: int) -> bytes:
    return bytes([major << 5 | 27]) + length.to_bytes(8, "big")


# CBOR in the place of one map.
_MAPS: dict[str, bytes] = {
    "nothing": b"",
    "lists in lists": b"\x81" * 10_000,
    "maps in maps": b"\xa1\x01" * 5_000,
    "tags in tags": b"\xc6" * 10_000,
    "4 GiB of bytes": _head(2, 1 << 32) + b"A",
    "2^64 - 1 bytes": _head(2, (1 << 64) - 1),
    "2^62 characters": _head(3, 1 << 62),
    "2^63 items": _head(4, 1 << 63) + b"\x00",
    "2^63 pairs": _head(5, 1 << 63) + b"\x00\x00",
    "an endless map": b"\xbf" * 9_000,
    "endless bytes": b"\x5f" + b"\x41A" * 4_000,
    "a key twice": b"\xa2\x61a\x01\x61a\x02",
    "a list as a key": b"\xa1\x80\x01",
    "NaN": b"\xa1\x61a\xf9\x7e\x00",
    "infinity": b"\xa1\x61a\xfb\x7f\xf0" + bytes(6),
    "a big number": b"\xa1\x61a\xc2\x5a\x00\x00\x1f\x40" + b"\xff" * 8_000,
    "a date": b"\xc1\x1a\x00\x00\x00\x00",
    "a shared value": b"\xd8\x1c\x81\xd8\x1d\x00",
    "a break": b"\xff",
    "a reserved length": b"\x1c",
    "bytes behind": b"\xa0\x00",
    "no UTF-8": b"\xa1\x62\xc3\x28\x01",
    "a number written long": b"\xa1\x18\x01\x01",
    "many members": b"\xb9\x03\xe8" + b"".join(b"\x19" + n.to_bytes(2, "big") + b"\x00"
                                                 for n in range(1_000, 2_000)) + b"\x00",
}  # fmt: skip
EXTENSIONS = _MAPS
# In the place of the attestation object.
OBJECTS: dict[str, bytes] = {
    **{f"object: {name}": encoded for name, encoded in _MAPS.items()},
    "object: empty": b"\xa0",
    "object: a number": b"\x01",
    "object: other members": b"\xa3\x01\x02\x03\x04\x05\x06",
    "object: authData of 12 KB": b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData"
    + b"\x59\x2e\xe0"
    + b"\xff" * 12_000,
}


@dataclass(frozen=True)
class Json:
    """A change: where (by number, so that it fits any credential), how, and to what."""

    where: tuple[int, ...]
    how: str
    value: Any

    @staticmethod
    def changes() -> st.SearchStrategy["Json"]:
        scalars = (
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
            | st.binary(max_size=60).map(lambda data: data.hex())
        )  # fmt: skip
        values = st.recursive(
            scalars,
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.text(max_size=8), inner, max_size=4)
            ),
            max_leaves=12,
        )
        return st.builds(
            Json,
            where=st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
            how=st.sampled_from(("replace", "remove", "cut", "repeat", "flip", "text")),
            value=values,
        )


def altered(credential: dict[str, Any], change: Json) -> str:
    """The credential with one change, as text."""
    if change.how == "text":
        text = json.dumps(change.value, ensure_ascii=False)
        # What is no text at all never reaches a form.
        return text.encode("utf-8", "replace").decode() or "x"
    holder, name = credential, ""
    for number in change.where:
        names = sorted(holder)
        name = names[number % len(names)]
        if not isinstance(holder[name], dict) or not holder[name]:
            break
        if number is not change.where[-1]:
            holder = holder[name]
    if name not in holder:
        name = sorted(holder)[0]
    old = holder[name]
    if change.how == "remove":
        del holder[name]
    elif change.how == "cut" and isinstance(old, str):
        holder[name] = old[: len(old) // 2]
    elif change.how == "repeat" and isinstance(old, str):
        holder[name] = old * 2
    elif change.how == "flip" and isinstance(old, str) and old:
        holder[name] = ("B" if old[0] == "A" else "A") + old[1:]
    else:
        holder[name] = change.value
    return json.dumps(credential)
