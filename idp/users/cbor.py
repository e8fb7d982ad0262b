"""Reading CBOR (RFC 8949) that a stranger sent: the canonical form of CTAP2, but for the order of keys.

Pure. No tags, floats or indefinite lengths; nothing is set aside before the bytes for it are there,
so that a length of four gigabytes costs nothing. Does not know what the items mean.
Specs: CTAP 2.2 section 8 (message encoding).
"""

from typing import Any

# CTAP 2.2 section 8: "limited to at most four levels".
_DEEPEST = 4
# What stands for true, false and null: nothing looks at them, and True would equal 1.
SIMPLE = object()


def whole(data: bytes) -> Any:
    """The one item that `data` is; raises `ValueError` or, where it is cut short, `IndexError`."""
    found, end = item(data, 0)
    _require(end == len(data), "bytes behind the item")
    return found


def item(data: bytes, at: int, depth: int = 0) -> tuple[Any, int]:
    """The item that begins at `at`, and where it ends; raises as `whole` does."""
    major, short = data[at] >> 5, data[at] & 31
    if major == 7:
        _require(short in (20, 21, 22), "a float or an unknown value")
        return SIMPLE, at + 1
    value, at = _argument(data, at, short)
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        end = at + value
        _require(end <= len(data), "cut short")
        return (data[at:end] if major == 2 else data[at:end].decode("utf-8")), end
    _require(depth < _DEEPEST, "too deep")
    if major == 4:
        items = []
        for _ in range(value):
            one, at = item(data, at, depth + 1)
            items.append(one)
        return items, at
    _require(major == 5, "a tag")
    found: dict[int | str, Any] = {}
    for _ in range(value):
        key, at = item(data, at, depth + 1)
        _require(isinstance(key, int | str), "a key that is no number or text")
        _require(key not in found, "a key came twice")
        found[key], at = item(data, at, depth + 1)
    return found, at


def _argument(data: bytes, at: int, short: int) -> tuple[int, int]:
    at += 1
    if short < 24:
        return short, at
    _require(short <= 27, "an indefinite length")
    size = 1 << (short - 24)
    _require(at + size <= len(data), "cut short")
    value = int.from_bytes(data[at : at + size])
    least = 24 if size == 1 else 1 << (4 * size)
    _require(value >= least, "a number written too long")
    return value, at + size


def _require(holds: bool, check: str) -> None:
    if not holds:
        raise ValueError(f"CBOR: {check}")
