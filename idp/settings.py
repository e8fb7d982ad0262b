"""Deployment settings: values fixed for the life of a process.

Order of precedence: arguments, environment (`IDP_…`, `__` between levels), `idp.toml` in the
working directory, defaults. `IDP_SECRET_KEY`, `IDP_DATABASE_URL` and `IDP_MAIL__SERVER` may come
from files named by `…_FILE`. Unknown keys and unsafe combinations refuse to start with a sentence
that says how to fix them. The sections are `idp.sections`. What administrators change while running
are Rules (`idp.policy`).
"""

import os
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from idp.hosts import is_loopback_host
from idp.listed import Networks, Secrets
from idp.sections import (
    AssuranceSettings,
    GeoSettings,
    LinkSettings,
    MailSettings,
    ManagementSettings,
    OutboundSettings,
    PasskeySettings,
    PasswordSettings,
    Section,
    SyslogSettings,
    ThrottleSettings,
    TokenSettings,
    TracingSettings,
)

MINIMUM_SECRET_LENGTH = 32
_ORIGIN = re.compile(r"https://[a-z0-9.-]+(:[0-9]{1,5})?|android:apk-key-hash:[A-Za-z0-9_-]+")
# Read by the demo and test commands, never by the server itself.
_FOREIGN_KEYS = frozenset({"IDP_TEST_DATABASE_URL", "IDP_DEMO__PASSWORD"})
# Files whose text is the setting of the same name.
_SECRET_FILES = (
    "IDP_SECRET_KEY_FILE",
    "IDP_DATABASE_URL_FILE",
    "IDP_REDIS_URL_FILE",
    "IDP_MAIL__SERVER_FILE",
    "IDP_MANAGEMENT__TOKEN_FILE",
)


class SettingsError(Exception):
    """The settings cannot be used; the message says which and how to fix it."""


class Settings(BaseSettings):
    """All settings of one deployment."""

    model_config = SettingsConfigDict(
        env_prefix="IDP_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    url: str = Field("http://localhost:8000", description="issuer: the public address, no path")
    name: str = Field("idp", max_length=40, description="name shown on pages")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="port to listen on")
    secret_key: SecretStr = Field(
        SecretStr(""), description="at least 32 random characters; encrypts and signs what we keep"
    )
    previous_secret_keys: Secrets = Field(
        (), description="older secret keys, still read, never written with"
    )
    database_url: str = Field(
        "sqlite:///idp.db", description="`sqlite:///file` or `postgresql+psycopg://…`"
    )
    redis_url: SecretStr = Field(
        SecretStr(""),
        description="`redis://…`, `rediss://…`, `redis+sentinel://host,host/primary` or "
        "`redis+cluster://host,host`; empty: each node keeps its own cache",
    )
    trusted_proxies: Networks = Field(
        (), description="CIDR blocks whose X-Forwarded-For is believed"
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="log level")
    log_format: str = Field(
        "text", pattern="^(text|json)$", description="`text` for people, `json` for collectors"
    )
    history_days: int = Field(
        90, ge=1, le=3_650, description="days that ended sessions stay visible"
    )
    registration: bool = Field(
        False,
        description="apps may register themselves at `/register`, with a token from an administrator",
    )
    tokens: TokenSettings = TokenSettings()
    password: PasswordSettings = PasswordSettings()
    throttle: ThrottleSettings = ThrottleSettings()
    passkeys: PasskeySettings = PasskeySettings()
    assurance: AssuranceSettings = AssuranceSettings()
    links: LinkSettings = LinkSettings()
    mail: MailSettings = MailSettings()
    outbound: OutboundSettings = OutboundSettings()
    management: ManagementSettings = ManagementSettings()
    syslog: SyslogSettings = SyslogSettings()
    geo: GeoSettings = GeoSettings()
    tracing: TracingSettings = TracingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        return (
            init_settings,
            env_settings,
            InitSettingsSource(settings_cls, _from_secret_files()),
            TomlConfigSettingsSource(settings_cls, Path("idp.toml")),
        )

    @property
    def issuer(self) -> str:
        """The issuer identifier (OpenID Connect Discovery 1.0 section 3), without trailing slash."""
        return self.url.rstrip("/")

    @property
    def is_secure(self) -> bool:
        """Whether browsers reach us over https, so that `__Host-` cookies can be set."""
        return self.issuer.startswith("https://")

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("IDP_URL must be an absolute address such as https://id.example.com")
        if parts.path.strip("/") or parts.query or parts.fragment or parts.username:
            raise ValueError("IDP_URL must have no path, query, fragment or user name")
        if parts.scheme == "http" and not is_loopback_host(parts.hostname):
            raise ValueError(
                "IDP_URL is plain http on a public host; cookies and tokens would travel readable. "
                "Use https://, or http://localhost for trying things out"
            )
        for key in (self.secret_key, *self.previous_secret_keys):
            if len(key.get_secret_value()) < MINIMUM_SECRET_LENGTH:
                which = "SECRET_KEY" if key is self.secret_key else "PREVIOUS_SECRET_KEYS: each"
                raise ValueError(
                    f"IDP_{which} must have at least 32 characters; make one with: "
                    "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
                )
        rp_id = self.passkeys.rp_id
        if rp_id and parts.hostname != rp_id and not parts.hostname.endswith(f".{rp_id}"):
            raise ValueError(
                f"IDP_PASSKEYS__RP_ID must be {parts.hostname} or a parent domain of it; "
                "browsers refuse any other"
            )
        for origin in self.passkeys.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"IDP_PASSKEYS__ORIGINS: {origin!r} must be an origin such as "
                    "https://example.com, without a path"
                )
        scheme = self.database_url.split(":", 1)[0]
        if scheme not in ("sqlite", "postgresql+psycopg"):
            raise ValueError("IDP_DATABASE_URL must begin with sqlite:/// or postgresql+psycopg://")
        if scheme != "sqlite" and find_spec("psycopg") is None:
            raise ValueError("IDP_DATABASE_URL needs psycopg; run: pip install 'idp[postgres]'")
        folder = Path(self.database_url.removeprefix("sqlite:///")).parent
        if scheme == "sqlite" and not folder.is_dir():
            raise ValueError(f"IDP_DATABASE_URL: there is no folder {folder}; make it first")
        return self


def load(**overrides: Any) -> Settings:
    """Reads the settings of this process; raises `SettingsError` with a sentence."""
    known = _known_environment_names()
    for name in os.environ:
        if name.startswith("IDP_") and name not in known:
            raise SettingsError(
                f"{name} is not a setting; see the table in README for those that are"
            )
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_sentences(error)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"idp.toml is not valid TOML: {error}") from None


def _from_secret_files() -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _SECRET_FILES:
        if name in os.environ:
            try:
                text = Path(os.environ[name]).read_text().strip()
            except OSError as error:
                raise SettingsError(f"{name} cannot be read: {error}") from None
            section, _, key = (
                name.removeprefix("IDP_").removesuffix("_FILE").lower().rpartition("__")
            )
            (values.setdefault(section, {}) if section else values)[key] = text
    return values


def _known_environment_names() -> set[str]:
    names = set(_FOREIGN_KEYS) | set(_SECRET_FILES)
    for key, _ in describe():
        names.add(key)
    return names


def describe() -> list[tuple[str, str]]:
    """Every setting by its environment name, with its description: what README must list."""
    rows: list[tuple[str, str]] = []
    for name, field in Settings.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            rows.extend(
                (f"IDP_{name.upper()}__{inner.upper()}", inner_field.description or "")
                for inner, inner_field in annotation.model_fields.items()
            )
        else:
            rows.append((f"IDP_{name.upper()}", field.description or ""))
    return rows


def _sentences(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        place = "__".join(str(part).upper() for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"IDP_{place}: {message}" if place else message)
    return "; ".join(lines)
