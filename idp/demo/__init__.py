"""`idp demo`: the provider, two apps and an API on this machine, ready to be tried.

Works from a checkout, because the apps live in `clients/`, outside the package. Everything it keeps
is in `.demo`: a second start finds it and only moves addresses when the ports moved. Not for
production: plain http, and passwords in a file.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from idp.demo.install import ADMINISTRATOR, CHECKOUT, Demo, Ports, install
from idp.demo.processes import refuse_dead, refuse_taken, running
from idp.errors import Refused

PORT_BASE = 8000


def run() -> None:
    """Installs the demo into `.demo` and runs it until Ctrl-C or SIGTERM.

    Raises `Refused` when it cannot: no checkout, a port that is taken, a process that ends.
    """
    stopping: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopping.append(number)

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ports = Ports.following(_port_base())
        refuse_taken(ports)
        demo = install(
            CHECKOUT / ".demo", ports, password=os.environ.get("IDP_DEMO__PASSWORD") or None
        )
        with running(demo) as children:
            print(_summary(demo), flush=True)
            while not stopping:
                refuse_dead(children)
                time.sleep(0.2)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    print("\nStopped. Everything is kept in .demo for the next time.")


def _port_base() -> int:
    text = os.environ.get("PORT_BASE") or str(PORT_BASE)
    if not text.isdigit() or not 1024 <= int(text) <= 65_532:
        raise Refused("demo", "PORT_BASE must be a number between 1024 and 65532.")
    return int(text)


def _summary(demo: Demo) -> str:
    urls = {app["name"]: app["url"] for app in demo.facts["apps"]}
    security = f"{demo.settings.issuer}/account/security"
    names = [person["username"] for person in demo.facts["people"]]
    people = [name for name in names if name != ADMINISTRATOR]
    return f"""
  The demo is running. Ctrl-C stops it.

    App One      {urls["App One"]}
    App Two      {urls["App Two"]}
    Your page    {demo.settings.issuer}/account/sessions
    Everybody's  {demo.settings.issuer}/admin   (as {ADMINISTRATOR}, in another browser)
    The API      {urls["API"]}/whoami
    Mail         {demo.settings.issuer}/dev/mail   (what would have been sent by mail)

    Sign in as   {", ".join(people)}; {ADMINISTRATOR} is the administrator
    Password     {demo.facts["people"][0]["password"]}

  Try this:
    1. Sign in to App One, then click "Sign in" in App Two: no password is asked.
    2. Keep both open. On your page, find the one session with both apps in it, and click
       "Sign out": both apps say at once that you were signed out.
    3. Take another browser as a second device, and "Sign out other devices" from the first.
    4. "Make a payment" in App One: the API wants two proofs, both of the last five minutes, and
       you have one, a password. Add a passkey at {security},
       pay again, and use it: you come back to the very payment.
    5. As {ADMINISTRATOR}, open Sessions under Administration and sign in to App One elsewhere: the new
       session appears by itself, and is gone when you sign it out.
    6. Let a terminal in, and sign it out from your page:
         {sys.executable} -m clients.device_cli --issuer {demo.settings.issuer} login
         {sys.executable} -m clients.device_cli --issuer {demo.settings.issuer} whoami

  Ids and secrets of the clients: {_shown(demo.folder / "demo.json")}; logs beside it.
"""


def _shown(file: Path) -> str:
    return os.path.relpath(file) if file.is_relative_to(Path.cwd()) else str(file)
