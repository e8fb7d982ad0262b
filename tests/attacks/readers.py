"""Everything that reads a token, and one good token of each kind to try on them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import select

from idp.oauth import client_auth
from idp.oauth.model import SigningKey
from tests.attacks import forge
from tests.attacks.wire import Wire, basic
from tests.harness.provider import ISSUER, Flow, Idp, Registered


@dataclass
class Target:
    """A provider with one good token of each kind that is a JWT, and the keys behind them."""

    idp: Idp
    wire: Wire
    app: Registered
    client_key: ECKey
    asserting: Registered
    good: dict[str, str]
    session_secret: str

    @property
    def own_key(self) -> ECKey:
        """The provider's ES256 key: what no forger has, and a careless server signs with."""
        key = self.signing_key("ES256")
        assert isinstance(key, ECKey)
        return key

    def signing_key(self, alg: str) -> ECKey | RSAKey:
        """The key that signs now, as it lies sealed in the database."""
        with self.idp.work.read() as unit:
            row = unit.orm.scalars(
                select(SigningKey).where(SigningKey.alg == alg, SigningKey.state == "active")
            ).one()
            jwk = orjson.loads(unit.vault.open_text(row.private_jwk, f"key:{row.kid}"))
        return ECKey.import_key(jwk) if alg == "ES256" else RSAKey.import_key(jwk)

    def key_of(self, kind: str) -> ECKey:
        return self.client_key if kind == "client_assertion" else self.own_key

    def assertion(self, **changes: Any) -> str:
        now = self.idp.clock.now() // 1_000_000
        claims = {
            "iss": self.asserting.id,
            "sub": self.asserting.id,
            "aud": ISSUER,
            "jti": f"jti-{time.perf_counter_ns()}",
            "iat": now,
            "exp": now + 60,
        }
        header = {"alg": "ES256", "kid": self.client_key.kid}
        return forge.signed(header, claims | changes, self.client_key)

    # --- who reads tokens: each says whether it believed one ------------------------------------

    def introspection(self, token: str) -> bool:
        answer = self.wire.post("/introspect", {"token": token}, authorization=basic(self.app))
        assert answer.status == 200
        return bool(answer.json["active"])

    def userinfo(self, token: str) -> bool:
        return self._bearer("/userinfo", token)

    def sessions_api(self, token: str) -> bool:
        return self._bearer("/api/v1/users/sessions", token)

    def _bearer(self, path: str, token: str) -> bool:
        answer = self.wire.get(path, authorization=f"Bearer {token}")
        assert answer.status in (200, 401), (answer.status, answer.body)
        return answer.status == 200

    def hint(self, token: str) -> bool:
        parameters = Flow(self.app).parameters(id_token_hint=token, prompt="none")
        answer = self.wire.get("/authorize", parameters, cookie=self.session_secret)
        if answer.status == 400 and len(token) > 6_000:
            return False
        assert answer.error in (None, "invalid_request")
        return answer.error is None

    def logout_hint(self, token: str) -> bool:
        """Only whether it would be believed: with no session in the browser nothing ends."""
        answer = self.wire.get("/logout", {"id_token_hint": token, "client_id": "cli_other"})
        assert answer.status == 400
        return b"belongs to another app" in answer.body

    def client_authentication(self, token: str) -> bool:
        answer = self.wire.post(
            "/token",
            {
                "grant_type": "client_credentials",
                "client_assertion_type": client_auth.ASSERTION_TYPE,
                "client_assertion": token,
            },
        )
        assert answer.status in (200, 401)
        return answer.status == 200

    @property
    def readers(self) -> dict[str, Callable[[str], bool]]:
        return {
            "introspection": self.introspection,
            "userinfo": self.userinfo,
            "sessions API": self.sessions_api,
            "id_token_hint": self.hint,
            "logout": self.logout_hint,
            "client authentication": self.client_authentication,
        }

    def believers(self, token: str) -> set[str]:
        return {name for name, reads in self.readers.items() if reads(token)}


# Which kind of token is for whom; everywhere else it is refused (JW-11).
MEANT_FOR = {
    "access_token": {"introspection", "userinfo", "sessions API"},
    "opaque access token": {"introspection", "userinfo", "sessions API"},
    "id_token": {"id_token_hint", "logout"},
    "client_assertion": {"client authentication"},
    # At introspection too it is its own app's alone, and says nothing to an API it is shown to.
    "refresh_token": set(),
    "logout token": set(),
    "authorization code": set(),
    "client secret": set(),
    "session secret": set(),
}


def make_target(idp: Idp, wire: Wire) -> Target:
    """A person signed in to an app whose access tokens are JWTs, and a client with a key."""
    app = idp.register(access_token_format="jwt", scope="openid profile sessions")
    key = ECKey.generate_key("P-256", {"kid": "client-key"})
    asserting = idp.register(
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [key.as_dict(private=False)]},
        scope="openid read",
    )
    started = idp.session(idp.person())
    tokens = idp.grant(app, started, scope="openid profile sessions")
    good = {"access_token": tokens["access_token"], "id_token": tokens["id_token"]}
    secret = f"idp_session={started.secret}"
    made = Target(idp, wire, app, key, asserting, good, secret)
    good["refresh_token"] = tokens["refresh_token"]
    return made
