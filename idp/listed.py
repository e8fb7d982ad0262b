"""Settings that are lists: items with commas between, or a JSON array.

Left to itself pydantic-settings takes JSON alone, and meets everything else with a traceback.
A sentence names a network that is none, and repeats nothing else: some of these lists are secret.
"""

import ipaddress
import json
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr
from pydantic_settings import NoDecode


def _items(value: object) -> object:
    """A text as its items; what is a list already, as in `idp.toml`, stays one."""
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return [item for part in value.split(",") if (item := part.strip())]
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("is no JSON array; items with commas between will do") from None


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            raise ValueError(f"{error}; CIDR blocks are written like 10.0.0.0/8") from None
    return values


Listed = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items)]
Networks = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_items), AfterValidator(_networks)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_items)]
