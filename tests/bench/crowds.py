"""Who comes in at once: honest apps and people, and a flood of wrong sign-ins.

Each is a request or two at a given instant; how often they come is not decided here.
"""

import asyncio
import itertools
import random
from collections import deque
from typing import Literal

import orjson

from tests.bench.load import Operation, drive
from tests.bench.paced import Kind, Line, asked
from tests.bench.target import Target
from tests.bench.wire import Cookies
from tests.interop import provider

Addresses = Literal["many", "one"]
SIGN_IN = "/account/sign-in"
# One is refreshed by one request at a time.
FAMILIES = 200
# People with a device that they signed in on before; the flood knows some of their names.
PEOPLE = [f"person{number}" for number in range(60)]
KNOWN_TO_THE_FLOOD = PEOPLE[:10]
ATTACKING_BROWSERS = 40


class Honest:
    """Apps that refresh and introspect, and people who sign in on the devices they always use."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._app = target.clients["opaque"]
        grants = target.grants(self._app, FAMILIES)
        self._families = deque(grant["refresh_token"] for grant in grants)
        self._access = itertools.cycle([grant["access_token"] for grant in grants])
        self._devices: dict[str, Cookies] = {}
        for number, name in enumerate(PEOPLE):
            self._devices[name] = Cookies()
            drive(target.port, [self._signing_in_first(name, _home(number))])
        self._visits = itertools.cycle(enumerate(PEOPLE))

    async def refresh(self, line: Line, seen: Kind, due: float) -> None:
        while not self._families:
            await asyncio.sleep(0.02)
        token = self._families.popleft()
        fields = {"grant_type": "refresh_token", "refresh_token": token}
        answer = await asked(line, self._target.token(self._app, fields), seen, due)
        if answer is not None:
            if answer.status == 200:
                token = orjson.loads(answer.body)["refresh_token"]
            seen.note(due, "good" if answer.status == 200 else str(answer.status))
        self._families.append(token)

    async def introspect(self, line: Line, seen: Kind, due: float) -> None:
        path = self._target.path("introspection_endpoint")
        request = self._target.post(path, {"token": next(self._access)}, self._app.authorization)
        answer = await asked(line, request, seen, due)
        if answer is not None:
            is_good = answer.status == 200 and orjson.loads(answer.body)["active"] is True
            seen.note(due, "good" if is_good else str(answer.status))

    async def sign_in(self, line: Line, seen: Kind, due: float) -> None:
        """The page and the form; one try."""
        number, name = next(self._visits)
        steps = self._signing_in(self._devices[name], name, _home(number))
        request = next(steps)
        while True:
            answer = await asked(line, request, seen, due)
            if answer is None:
                return
            try:
                request = steps.send(answer)
            except StopIteration:
                seen.note(due, "good" if answer.status == 303 else str(answer.status))
                return

    def _signing_in(self, device: Cookies, name: str, home: dict[str, str]) -> Operation:
        """Somebody with their device's cookie and no session."""
        known = {"Cookie": f"idp_device={_device_of(device)}"} if device.header("/") else {}
        page = yield self._target.get(SIGN_IN, home | known)
        device.keep(page)
        known = {"Cookie": f"idp_device={_device_of(device)}"}
        fields = page.hidden_fields() | {"username": name, "password": provider.PASSWORD}
        yield self._target.post(SIGN_IN, fields, home | known)

    def _signing_in_first(self, name: str, home: dict[str, str]) -> Operation:
        steps = self._signing_in(self._devices[name], name, home)
        answer = yield next(steps)
        answer = yield steps.send(answer)
        answer.expect(303)


class Flood:
    """Wrong sign-ins: names that lead nowhere, and one in ten of somebody real."""

    def __init__(self, target: Target, addresses: Addresses) -> None:
        self._target = target
        self._random = random.Random(1)
        self._addresses = addresses
        self._forms: list[tuple[dict[str, str], dict[str, str]]] = []
        drive(target.port, [self._form() for _ in range(ATTACKING_BROWSERS)])

    async def sign_in(self, line: Line, seen: Kind, due: float) -> None:
        cookies, hidden = self._random.choice(self._forms)
        number = self._random.getrandbits(40)
        name = f"somebody{number}"
        if self._random.random() < 0.1:
            name = self._random.choice(KNOWN_TO_THE_FLOOD)
        fields = {**hidden, "username": name, "password": f"leaked-password-{number}"}
        headers = {**cookies, "X-Forwarded-For": self._address(), "Sec-Fetch-Site": "same-origin"}
        answer = await asked(line, self._target.post("/login", fields, headers), seen, due)
        if answer is not None:
            seen.note(due, str(answer.status))

    def _address(self) -> str:
        if self._addresses == "one":
            return "203.0.113.66"
        return ".".join(str(part) for part in (11, *self._random.randbytes(3)))

    def _form(self) -> Operation:
        """A request of an app that waits at the sign-in page of one attacking browser."""
        cookies = Cookies()
        answer = yield self._target.get(self._target.authorize(self._target.clients["opaque"]))
        cookies.keep(answer.expect(303))
        path = answer.path()
        answer = yield self._target.get(path, cookies.header(path))
        self._forms.append((cookies.header("/login"), answer.expect(200).hidden_fields()))


def _home(number: int) -> dict[str, str]:
    return {"X-Forwarded-For": f"198.51.100.{number + 1}", "Sec-Fetch-Site": "same-origin"}


def _device_of(cookies: Cookies) -> str:
    pairs = (pair.partition("=") for pair in cookies.header("/")["Cookie"].split("; "))
    return next(value for name, _, value in pairs if name == "idp_device")
