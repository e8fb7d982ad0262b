"""Starts servers quickly: imports the product once, then forks a child for every start.

A process of its own (`python -m tests.harness.forking_server`), spoken to in JSON, a line each way:
start a child, or wait for one to end. A child is `idp serve` in every respect but its imports and
what it need not compile. What is forked ends with this process, and this process ends when its
standard input does.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, NoReturn

# What a start would import; the migrations' tools among them.
import uvicorn.lifespan.on
import uvicorn.loops.uvloop
import uvicorn.protocols.http.httptools_impl
import uvicorn.protocols.websockets.auto
from sqlalchemy.dialects import postgresql, sqlite

import idp.app
from idp.cli import serve
from idp.sessions import beginning, device
from idp.sessions.device import Visit
from idp.sessions.prove import PASSWORD
from idp.users import queries
from tests.harness import compiled
from tests.harness.provider import Idp, Templates, settings_for
from tests.harness.workbench import ManualClock

IMPORTED = (idp.app, postgresql, sqlite, uvicorn)
with contextlib.suppress(ImportError):
    import psycopg  # noqa: F401


def main() -> None:
    _rehearse()
    children: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "start":
            child = os.fork()
            if child == 0:
                _serve(order)
            children.add(child)
            _answer({"pid": child})
        else:
            pid, status = os.waitpid(order["pid"], 0 if order["do"] == "wait" else os.WNOHANG)
            if pid:
                children.discard(pid)
            _answer({"status": status if pid else None})
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _rehearse() -> None:
    """Does what most tests begin with, so that patterns, pages and statements are compiled."""
    device.describe(device.Visit(ip=None, agent="Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0"))
    compiled.keep()
    with tempfile.TemporaryDirectory() as folder:
        url = Templates(Path(folder)).sqlite(Path(folder) / "idp.db")
        idp = Idp(settings_for(url), ManualClock())
        with idp.work.begin() as unit:
            # Nobody's password: its threads would be missing in what is forked.
            person = queries.create_user(unit, username="nobody")
            started = beginning.start(unit, person, [PASSWORD], Visit())
        assert isinstance(started, beginning.Started)
        for browser in (idp.browser(), idp.signed_in_browser(started)):
            assert browser.get("/account/sign-in").status_code in (200, 303)
            assert browser.get("/account/sessions").status_code in (200, 303)
        app = idp.register()
        tokens = idp.grant(app, started, scope="openid offline_access")
        assert idp.refresh(app, tokens["refresh_token"])[0] == 200
        idp.close()
    assert threading.active_count() == 1, "what is forked would wait for threads it does not have"


def _answer(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _serve(order: dict[str, Any]) -> NoReturn:
    status = 1
    try:
        os.setsid()
        for name in [one for one in os.environ if one.startswith("IDP_")]:
            del os.environ[name]
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for theirs, ours in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(theirs, ours)
        if order["doom"] is not None:
            importlib.import_module(order["doom"]["module"]).install(order["doom"])
        serve.serve()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
