"""`idp` and `python -m idp`: runs one command, and says what was refused."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from idp.errors import Refused
from idp.settings import SettingsError

REFUSED = 1


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and ends the process with its exit code: 0 done, 1 refused, 2 misused."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given == ["healthcheck"]:
            # A container asks every few seconds: what the other commands import takes two of them.
            from idp.cli.healthcheck import healthcheck

            healthcheck()
        else:
            from idp.cli.commands import app

            app(args=given)
    except Refused as refusal:
        _refuse(refusal.sentence, refusal.detail)
    except SettingsError as error:
        _refuse(str(error))
    sys.exit(0)


def _refuse(sentence: str, detail: str | None = None) -> NoReturn:
    sys.stderr.write(f"{sentence}\n")
    # Whoever types commands on the server runs it, and may see the reason that pages keep back.
    if detail is not None:
        sys.stderr.write(f"({detail})\n")
    sys.exit(REFUSED)


if __name__ == "__main__":
    main()
