"""`python -m tests.bench.logout_fanout`: one session with a hundred apps in it is ended.

Everything goes through the real endpoints of `idp serve`: a person signs in to each app with a code,
opens the account page and ends the session there. Measured, from the answer to that click: when
introspection first says that a token is dead, and when each app has its logout token. It never
fails on a time; it does fail when a token is still good or an app is never told.
"""

import argparse
import base64
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import servers
from tests.bench.contestants import REDIRECT_URI
from tests.bench.load import Operation, drive, quantile
from tests.bench.receivers import Receivers, listening
from tests.bench.target import RegisteredClient, Target
from tests.bench.wire import Cookies
from tests.interop import provider

SCOPE = "openid profile"
PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Round:
    """What one end took, in seconds; the last two counted from its answer."""

    ending: float = 0.0
    until_inactive: float = 0.0
    until_told: list[float] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    servers.raise_open_files()
    with (
        listening(arguments.apps) as receivers,
        tempfile.TemporaryDirectory(prefix="fanout-") as folder,
    ):
        port = servers.free_port()
        directory = Path(folder)
        clients = _registered(directory, port, receivers)
        with servers.start(
            [sys.executable, "-m", "idp", "serve"],
            port=port,
            log=directory / "idp.log",
            cwd=directory,
            environment=provider.environment(directory, port),
        ) as server:
            target = Target(
                label="ours",
                port=port,
                clients=clients,
                login_fields=lambda name: {"username": name, "password": provider.PASSWORD},
                usernames=["alice"],
                keeps_sessions=True,
            )
            target.discover()
            before = server.cpu()
            rounds = [_round(target, receivers) for _ in range(arguments.rounds)]
            spent = server.cpu() - before
    _print(rounds, arguments.apps, spent)


def _registered(directory: Path, port: int, receivers: Receivers) -> dict[str, RegisteredClient]:
    registrations = {
        f"app-{number}": {
            "redirect_uris": [REDIRECT_URI],
            "scope": SCOPE,
            "first_party": 1,
            "backchannel_logout_uri": f"http://127.0.0.1:{listens}/backchannel-logout",
        }
        for number, listens in enumerate(receivers.ports)
    }
    registered = provider.prepare(directory, port, people=["alice"], registrations=registrations)
    return {
        name: RegisteredClient(one["client_id"], one["client_secret"], SCOPE)
        for name, one in registered.items()
    }


def _round(target: Target, receivers: Receivers) -> Round:
    browser = Cookies()
    tokens: dict[str, dict[str, str]] = {}

    def sign_in_to_all() -> Operation:
        for name, client in target.clients.items():
            through = target.silent if tokens else target.signed_in
            code = yield from through(browser, client)
            tokens[name] = yield from target.redeem(client, code)

    drive(target.port, [sign_in_to_all()])
    names = list(tokens)
    _check(target, tokens, names, is_active=True)
    receivers.clear()
    seen = Round()
    sid = _claims(tokens[names[0]]["id_token"])["sid"]
    answered: list[float] = []
    drive(target.port, [_end(target, browser, sid, seen, answered)])
    while True:
        if _inactive(target, tokens[names[-1]], target.clients[names[-1]]):
            seen.until_inactive = time.perf_counter() - answered[0]
            break
    if not receivers.wait_for_all(PATIENCE_SECONDS):
        missing = sum(not times for times in receivers.arrived.values())
        raise SystemExit(f"{missing} apps were never told")
    seen.until_told = [times[0] - answered[0] for times in receivers.arrived.values()]
    _check(target, tokens, names, is_active=False)
    return seen


def _end(
    target: Target, browser: Cookies, sid: str, seen: Round, answered: list[float]
) -> Operation:
    """The account page, and the click that ends this session."""
    answer = yield target.get("/account/sessions", browser.header("/account/sessions"))
    csrf = answer.expect(200).hidden_fields()["csrf"]
    path = f"/account/sessions/{sid}/end"
    headers = browser.header(path) | {
        "Origin": f"http://{target.host}",
        "Sec-Fetch-Site": "same-origin",
    }
    before = time.perf_counter()
    answer = yield target.post(path, {"csrf": csrf}, headers)
    answered.append(time.perf_counter())
    seen.ending = answered[0] - before
    answer.expect(303)


def _inactive(target: Target, token: dict[str, str], client: RegisteredClient) -> bool:
    states: list[bool] = []
    drive(target.port, [_introspect(target, token, client, states)])
    return not states[0]


def _check(
    target: Target, tokens: dict[str, dict[str, str]], names: list[str], *, is_active: bool
) -> None:
    states: list[bool] = []
    drive(
        target.port,
        [_introspect(target, tokens[name], target.clients[name], states) for name in names],
    )
    if states != [is_active] * len(names):
        raise SystemExit(f"{states.count(not is_active)} tokens are not active={is_active}")


def _introspect(
    target: Target, token: dict[str, str], client: RegisteredClient, states: list[bool]
) -> Operation:
    path = target.path("introspection_endpoint")
    answer = yield target.post(path, {"token": token["access_token"]}, client.authorization)
    states.append(json.loads(answer.expect(200).body)["active"])


def _claims(id_token: str) -> dict[str, str]:
    payload = id_token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def _print(rounds: list[Round], apps: int, spent: float) -> None:
    told = [delay for one in rounds for delay in one.until_told or []]
    print(f"Ending one session with {apps} apps, {len(rounds)} rounds; milliseconds\n")
    print(f"{'':42} {'p50':>8} {'p99':>8} {'max':>8}")
    for label, values in (
        ("the click itself (POST to its answer)", [one.ending for one in rounds]),
        ("answer to first introspection: inactive", [one.until_inactive for one in rounds]),
        ("answer to logout token received, per app", told),
        ("answer to the last app told, per round", [max(one.until_told or [0]) for one in rounds]),
    ):
        cells = (quantile(values, 0.5), quantile(values, 0.99), max(values))
        print(f"{label:42} " + " ".join(f"{cell * 1e3:8.1f}" for cell in cells))
    per_round = spent / len(rounds) * 1e3
    print(f"\nProcessor time of the server per round, signing in to {apps} apps included:")
    print(f"{per_round:.0f} ms. All {apps} tokens refused after every end.")


if __name__ == "__main__":
    main()
