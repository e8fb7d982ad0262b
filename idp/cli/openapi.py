"""`idp openapi`: the OpenAPI document of our JSON APIs."""

import sys

import orjson

from idp import settings as deployment


def openapi() -> None:
    """Print the OpenAPI document of the management and self-service APIs (JSON)."""
    from idp.admin.openapi import document

    made = document(deployment.load().issuer)
    sys.stdout.write(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode() + "\n")
