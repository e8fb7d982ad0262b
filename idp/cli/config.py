"""`idp config`: the settings this process would run with."""

from typing import Any

import typer
from pydantic import BaseModel, SecretStr
from sqlalchemy.engine import make_url

from idp import settings as deployment
from idp.cli.terminal import AsJson, answer, table
from idp.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Settings: check them, show what is in force.")


@app.command()
def check(as_json: AsJson = False) -> None:
    """Read the settings; ends with 1 and a sentence when they cannot be used."""
    settings = deployment.load()
    answer({"ok": True, "issuer": settings.issuer}, ["The settings are good."], as_json=as_json)


@app.command()
def show(as_json: AsJson = False) -> None:
    """Show every setting with its value in force; secrets are masked."""
    values = _values(deployment.load())
    rows = [(name, values[name], description) for name, description in deployment.describe()]
    answer(values, table(("SETTING", "VALUE", "MEANING"), rows), as_json=as_json)


def _values(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            for inner in type(value).model_fields:
                values[f"IDP_{name.upper()}__{inner.upper()}"] = _masked(getattr(value, inner))
        else:
            values[f"IDP_{name.upper()}"] = _masked(value)
    values["IDP_DATABASE_URL"] = make_url(settings.database_url).render_as_string(
        hide_password=True
    )
    return values


def _masked(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, tuple):
        return [_masked(one) for one in value]
    return value
