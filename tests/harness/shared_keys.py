"""Reading the providers' private keys once for all tests: checking an RSA key takes most of a setup.

A plugin, so that whoever needs whole providers has it; every test starts from a copy of the same
prepared database, so the keys are the same.
"""

from collections.abc import Iterator

import pytest
from joserfc.jwk import ECKey, RSAKey

from idp.oauth import keys
from idp.oauth.model import SigningKey
from idp.storage.unit_of_work import UnitOfWork


@pytest.fixture(autouse=True, scope="session")
def keys_are_read_once() -> Iterator[None]:
    read = keys._private
    known: dict[str, ECKey | RSAKey] = {}

    def remembered(unit: UnitOfWork, row: SigningKey) -> ECKey | RSAKey:
        if row.private_jwk not in known:
            known[row.private_jwk] = read(unit, row)
        return known[row.private_jwk]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_private", remembered)
        yield
