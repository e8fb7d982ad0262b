"""The OpenAPI document of our JSON APIs, made from the tables that the routes are made from.

Spec: OpenAPI 3.1.
"""

import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from idp.admin.operation import ROOT, Operation
from idp.admin.routes import OPERATIONS
from idp.policy import management
from idp.web.api_description import DESCRIBED, Described
from idp.web.lines import MEDIA_TYPE

_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_REF = "#/components/schemas/{model}"
_PROBLEM = {
    "type": "object",
    "description": "What was refused, and why (RFC 9457); `code` is stable.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "code"],
}
_OWN_SCOPES = {"sessions": "One's own sessions.", "openid": "Who one is."}


def document(issuer: str) -> dict[str, Any]:
    """The document for a deployment at this address."""
    schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for described in DESCRIBED:
        paths.setdefault(described.path, {})[described.method.lower()] = _own(described)
    for one in OPERATIONS:
        paths.setdefault(ROOT + one.path, {})[one.method.lower()] = _managed(one, schemas)
    scopes = dict.fromkeys(management.SCOPES, "Management") | _OWN_SCOPES
    return {
        "openapi": "3.1.0",
        "info": {"title": "idp", "version": "1"},
        "servers": [{"url": issuer}],
        "paths": paths,
        "components": {
            "schemas": schemas | {"Problem": _PROBLEM},
            "securitySchemes": {
                "oauth2": {
                    "type": "oauth2",
                    "flows": {
                        "clientCredentials": {"tokenUrl": f"{issuer}/token", "scopes": scopes},
                        "authorizationCode": {
                            "authorizationUrl": f"{issuer}/authorize",
                            "tokenUrl": f"{issuer}/token",
                            "scopes": scopes,
                        },
                    },
                }
            },
        },
    }


def _schemas() -> dict[str, Any]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
    every: list[Operation | Described] = [*OPERATIONS, *DESCRIBED]
    for one in every:
        if one.takes is not None:
            wanted[one.takes, "validation"] = None
        if one.gives is not None:
            wanted[one.gives, "serialization"] = None
    _, made = models_json_schema(list(wanted), ref_template=_REF)
    schemas: dict[str, Any] = made["$defs"]
    for schema in schemas.values():
        for name, member in schema.get("properties", {}).items():
            # A member that may be left out is not null for it.
            if member.get("default", ...) is None and "anyOf" not in member:
                schema["properties"][name] = {
                    key: value for key, value in member.items() if key != "default"
                }
    return schemas


def _managed(one: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    parameters = _in_path(one.path)
    if one.takes is not None and not one.has_body:
        schema = schemas[one.takes.__name__]
        required = schema.get("required", ())
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": member}
            for name, member in schema["properties"].items()
        ]
    if one.repeat == "keyed":
        parameters.append(_header("Idempotency-Key", "So that a request sent again is done once."))
    if one.tag == "required":
        parameters.append(_header("If-Match", "The ETag of what the change was made from."))
        parameters.append(_header("If-None-Match", "`*`: there is none yet."))
    described = _described(one.name, one.summary, one.scope, parameters, one.gives, one.status)
    if one.sends == "lines" and one.gives is not None:
        said = {"type": "string", "description": f"A {one.gives.__name__} as JSON in each line."}
        described["responses"]["200"]["content"] = {MEDIA_TYPE: {"schema": said}}
    roles = sorted(name for name, held in management.ROLES.items() if one.scope in held)
    described |= {"tags": [one.path.split("/")[1]], "x-roles": roles, "x-proof": one.proof}
    if one.takes is not None and one.has_body:
        described["requestBody"] = _body(one.takes)
    return described


def _own(one: Described) -> dict[str, Any]:
    described = _described(one.name, one.summary, one.scope, _in_path(one.path), one.gives, 200)
    if one.takes is not None:
        described["requestBody"] = _body(one.takes)
    return described | {"tags": ["own sessions"]}


def _described(
    name: str,
    summary: str,
    scope: str,
    parameters: list[dict[str, Any]],
    gives: type[BaseModel] | None,
    status: int,
) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if gives is not None:
        done["content"] = {"application/json": {"schema": _ref(gives)}}
    refused = {
        "description": "Refused.",
        "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
    }
    return {
        "operationId": name,
        "summary": " ".join(summary.split()),
        "security": [{"oauth2": [scope]}],
        "parameters": parameters,
        "responses": {str(status): done, "4XX": refused, "503": refused},
    }


def _in_path(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


def _body(model: type[BaseModel]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": _ref(model)}}}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
