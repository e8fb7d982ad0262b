"""Forged tokens at everything that reads one (attack group JW)."""

import json
import time
import zlib
from collections.abc import Iterator

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.attacks import forge
from tests.attacks.readers import MEANT_FOR, Target
from tests.attacks.wire import FORM
from tests.harness.receivers import Receiver, listening

TYPES = ("access_token", "id_token", "client_assertion")


def good_of(target: Target, kind: str) -> str:
    """A good token; assertions work once, so each is a new one."""
    return target.assertion() if kind == "client_assertion" else target.good[kind]


def refused(target: Target, tokens: Iterator[str]) -> None:
    count = 0
    for token in tokens:
        count += 1
        assert target.believers(token) == set(), token[:300]
    assert count
    # And the real ones still work, so it was not for another reason that those were refused.
    for kind in TYPES:
        assert target.believers(good_of(target, kind)) == MEANT_FOR[kind], kind


@pytest.mark.attack("JW-01")
def test_a_token_without_a_signature_is_nothing(target: Target) -> None:
    def forged() -> Iterator[str]:
        for kind in TYPES:
            good = good_of(target, kind)
            header, claims = forge.parts_of(good)
            head, payload, seal = good.split(".")
            for alg in ("none", "None", "NONE", "nOnE", "noNE", "", "n\u043ene"):
                text = forge.unsigned(header | {"alg": alg}, claims)
                yield from (f"{text}.", text, f"{text}.{seal}", f"{text}.{forge.b64(b'x')}")
            yield forge.unsigned({"typ": header["typ"]} if "typ" in header else {}, claims) + "."
            yield from (
                f"{head}.{payload}.",
                f"{head}.{payload}",
                f"{head}..{seal}",
                f".{payload}.",
            )
            yield from (f"{head}.{payload}.{seal[:-4]}", f"{head}.{payload}.{forge.b64(bytes(64))}")
            yield from (f"{good}.", f".{good}", f"{good}.{seal}")
            # Another payload under the good signature.
            changed = forge.b64(json.dumps(claims | {"sub": "usr_other"}).encode())
            yield f"{head}.{changed}.{seal}"

    refused(target, forged())


@pytest.mark.attack("JW-02")
def test_a_public_key_is_no_secret_to_sign_with(target: Target) -> None:
    def secrets(key: ECKey | RSAKey) -> Iterator[bytes]:
        public = key.as_dict(private=False)
        yield key.as_pem(private=False)
        yield key.as_pem(private=False).strip()
        yield key.as_der(private=False)
        yield json.dumps(public).encode()
        yield json.dumps(public, separators=(",", ":"), sort_keys=True).encode()
        for member in ("x", "y", "n", "e", "kid"):
            if member in public:
                yield str(public[member]).encode()
                yield forge.unb64(str(public[member]) + "A" * (member == "kid"))
        yield b""

    def forged() -> Iterator[str]:
        rsa = target.signing_key("RS256")
        for kind in TYPES:
            header, claims = forge.parts_of(good_of(target, kind))
            for key in (target.key_of(kind), rsa):
                for secret in secrets(key):
                    for alg in ("HS256", "HS512"):
                        named = header | {"alg": alg, "kid": key.kid}
                        yield forge.with_secret(named, claims, secret)

    refused(target, forged())


@pytest.mark.attack("JW-02")
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_the_algorithm_is_the_keys_not_the_tokens(target: Target) -> None:
    def forged() -> Iterator[str]:
        rsa = target.signing_key("RS256")
        for kind in TYPES:
            header, claims = forge.parts_of(good_of(target, kind))
            key = target.key_of(kind)
            for alg in ("RS256", "PS256", "ES384", "ES512", "ES256K", "EdDSA", "es256", "RSA-OAEP"):
                yield forge.signed(header | {"alg": alg}, claims, key)
            yield forge.signed(header | {"kid": key.kid}, claims, rsa)
            yield forge.signed(header | {"alg": "ES256", "kid": rsa.kid}, claims, rsa)
            # Somebody else's key under the name of ours.
            yield forge.signed(header, claims, ECKey.generate_key("P-256"))

    refused(target, forged())


@pytest.mark.attack("JW-04")
def test_a_critical_extension_that_is_not_known_is_refused(target: Target) -> None:
    def forged() -> Iterator[str]:
        for kind in TYPES:
            for crit in (["x"], ["b64"], [], ["alg"], ["exp", "x"], "x", None, {"x": 1}, 1, [[]]):
                header, claims = forge.parts_of(good_of(target, kind))
                extra = {"crit": crit, "x": 1, "b64": True}
                yield forge.signed(header | extra, claims, target.key_of(kind))
            header, claims = forge.parts_of(good_of(target, kind))
            yield forge.signed(header | {"b64": False}, claims, target.key_of(kind))

    refused(target, forged())


@pytest.mark.attack("JW-05")
def test_a_json_serialisation_is_not_a_token(target: Target) -> None:
    def forged() -> Iterator[str]:
        for kind in TYPES:
            head, payload, seal = good_of(target, kind).split(".")
            flat = {"payload": payload, "protected": head, "signature": seal}
            yield json.dumps(flat)
            yield json.dumps({"payload": payload, "header": {"alg": "none"}, "signature": ""})
            yield json.dumps({"payload": payload, "signatures": [flat]})
            yield json.dumps([head, payload, seal])
            # With exactly two dots, so that it looks like a compact one to whoever counts.
            yield json.dumps(flat | {"x": ".."})
            for odd in ("=", "+", "/", "%2E", "\u0130"):
                yield f"{head}.{payload}.{seal}{odd}"
                yield f"{head}{odd}.{payload}.{seal}"
            yield f"{head}.{payload}\n.{seal}"

    refused(target, forged())


@pytest.mark.attack("JW-07")
def test_a_header_names_no_key_but_ours_and_nobody_is_asked_for_one(target: Target) -> None:
    own = ECKey.generate_key("P-256", {"kid": "evil"})

    def forged(sink: Receiver) -> Iterator[str]:
        kids: tuple[object, ...] = (
            "../../../../dev/null", "/dev/null", "' OR 1=1 --", "x' UNION SELECT 'k", "k" * 10_240,
            "", ["client-key"], {"a": 1}, 1, None, True, "\ud800", "evil", "http://127.0.0.1/",
        )  # fmt: skip
        for kind in TYPES:
            header, claims = forge.parts_of(good_of(target, kind))
            for kid in kids:
                yield forge.signed(header | {"kid": kid}, claims, own)
            lures = {
                "jku": sink.uri,
                "x5u": sink.uri,
                "jwk": own.as_dict(private=False),
                "x5c": ["MIIB"],
                "kid": "evil",
            }
            yield forge.signed(header | lures, claims, own)
            yield forge.signed(header | lures | {"kid": header["kid"]}, claims, own)

    with listening() as receivers:
        sink = receivers.add()
        refused(target, forged(sink))
        assert sink.connections == 0


def test_a_header_that_is_no_object_is_refused(target: Target) -> None:
    def forged() -> Iterator[str]:
        for kind in TYPES:
            _, claims = forge.parts_of(good_of(target, kind))
            for header in ("alg", ["alg"], ["alg", "kid"], 1, None, True, {}, [["alg", "ES256"]]):
                text = forge.unsigned(header, claims)
                yield f"{text}.{forge.b64(forge.signature(text.encode(), target.key_of(kind)))}"

    refused(target, forged())


@pytest.mark.attack("JW-08")
def test_an_oversized_token_or_a_bomb_costs_nothing(target: Target) -> None:
    header, claims = forge.parts_of(target.good["access_token"])
    bomb = forge.b64(zlib.compress(b"\x00" * 10_000_000, 9))
    jwe = {"alg": "dir", "enc": "A256GCM", "zip": "DEF"}
    slow = {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 10**9, "p2s": "AAAA"}
    large = {
        "a payload of 40 KiB": forge.signed(header, claims | {"x": "y" * 40_000}, target.own_key),
        "a header of 40 KiB": forge.signed(header | {"x": "y" * 40_000}, claims, target.own_key),
        "a signature of 40 KiB": f"{forge.unsigned(header, claims)}.{'A' * 40_000}",
        "deeply nested": f"{forge.b64(b'[' * 20_000)}.{forge.b64(b'[' * 20_000)}.AAAA",
        "a huge number": forge.b64(b'{"alg":' + b"9" * 9_000 + b"}") + ".AAAA.AAAA",
        "a compressed bomb": f"{forge.b64(json.dumps(jwe).encode())}..AAAA.{bomb}.AAAA",
        "a billion rounds": f"{forge.b64(json.dumps(slow).encode())}.AAAA.AAAA.AAAA.AAAA",
        "only dots": "." * 40_000,
        "an opaque token of 40 KiB": "at_" + "A" * 40_000,
    }
    for name, token in large.items():
        began = time.process_time()
        assert target.believers(token) == set(), name
        # Six readers: a tenth of a second is ten times what they take on a slow machine.
        assert time.process_time() - began < 0.25, name
    began = time.process_time()
    form = f"token={'A' * 1_048_576}".encode()
    answer = target.wire.post("/introspect", form, content_type=FORM)
    assert (answer.status, answer.error) == (413, "invalid_request")
    assert not target.userinfo("A" * 1_048_576)
    assert time.process_time() - began < 0.25
