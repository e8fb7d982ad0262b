"""`python -m clients.device_cli login | whoami | logout`

Settings: `ISSUER`, `CLIENT_ID`, `TOKENS_FILE`, or the options of the same names. Exit codes: 0 done,
1 not signed in (any more), 2 wrong usage, 3 the provider does not answer.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .keeping import Tokens
from .provider import Denied, Provider, SignedOut, Unreachable
from .screen import show_code

SCOPE = "openid profile email"
# An access token is exchanged this many seconds before it expires.
REFRESH_EARLY = 10


def main(arguments: list[str] | None = None, *, provider: Provider | None = None) -> int:
    """Runs one command; gives the exit code."""
    given = _parser().parse_args(arguments)
    asked = provider or Provider(given.issuer, given.client_id)
    commands: dict[str, Callable[[Provider, Tokens, Any], int]] = {
        "login": login,
        "whoami": whoami,
        "logout": logout,
    }
    try:
        return commands[given.command](asked, Tokens(Path(given.tokens_file)), given)
    except Unreachable as error:
        print(error, file=sys.stderr)
        return 3


def login(provider: Provider, tokens: Tokens, given: Any) -> int:
    """Shows a code, waits until somebody lets this device in, and keeps the tokens."""
    scope = f"{SCOPE} offline_access" if given.stay else SCOPE
    try:
        code = provider.ask_for_code(scope)
        show_code(code)
        found = provider.wait(code)
    except Denied as error:
        print(f"Not signed in. {error}", file=sys.stderr)
        return 1
    with tokens.held():
        tokens.write(found)
    return whoami(provider, tokens, given)


def whoami(provider: Provider, tokens: Tokens, _: Any) -> int:
    """Says who is signed in, with a token that is refreshed where it must be."""
    with tokens.held():
        kept = tokens.read()
        if kept is None:
            print("Not signed in. Sign in with: login", file=sys.stderr)
            return 1
        try:
            person = None
            if kept.get("expires_at", 0) > time.time() + REFRESH_EARLY:
                person = provider.person(kept["access_token"])
            if person is None:
                # Refused before its time, or nearly over: whether the session lives, this tells.
                kept = provider.refresh(kept)
                tokens.write(kept)
                person = provider.person(kept["access_token"])
        except SignedOut as end:
            tokens.forget()
            print(f"You were signed out. {end}".rstrip(), file=sys.stderr)
            return 1
    if person is None:
        print("The provider does not say who is signed in.", file=sys.stderr)
        return 1
    name = person.get("name") or person.get("preferred_username") or person["sub"]
    print(f"Signed in as {name}")
    return 0


def logout(provider: Provider, tokens: Tokens, _: Any) -> int:
    """Gives the tokens back and forgets them."""
    with tokens.held():
        kept = tokens.read()
        if kept is not None:
            provider.give_back(kept)
        tokens.forget()
    print("Signed out.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="device_cli", description=__doc__)
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    kept = os.environ.get("TOKENS_FILE") or str(Path(home) / "idp-device-cli" / "tokens.json")
    issuer = os.environ.get("ISSUER", "http://localhost:8000")
    parser.add_argument("--issuer", default=issuer)
    parser.add_argument("--client-id", default=os.environ.get("CLIENT_ID", "device-cli"))
    parser.add_argument("--tokens-file", default=kept)
    commands = parser.add_subparsers(dest="command", required=True)
    signing_in = commands.add_parser("login", help="sign in")
    signing_in.add_argument(
        "--stay", action="store_true", help="stay signed in after the session has expired"
    )
    commands.add_parser("whoami", help="who is signed in")
    commands.add_parser("logout", help="sign out")
    return parser


if __name__ == "__main__":
    sys.exit(main())
