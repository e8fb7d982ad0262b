"""The sections of the settings, a class each, and what makes a value of one of them unsafe.

What they have to do with each other, and where values come from, is `idp.settings`.
"""

import re
from typing import Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from idp.hosts import is_loopback_host
from idp.listed import Listed, Networks

MAIL_SCHEMES = ("smtp", "smtps", "smtp+plain")
SYSLOG_SCHEMES = ("tcp+tls", "tcp", "udp")
_COLLECTOR = r"^(https?://[^/?#@\s]+(/[^?#\s]*)?)?$"
# A half of the sender's address: RFC 5322 section 3.2.3, without quoting.
_MAIL_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenSettings(Section):
    """Lifetimes in seconds. A client may have its own (K1)."""

    code_lifetime: int = Field(60, ge=5, le=600, description="authorization code")
    access_lifetime: int = Field(300, ge=30, le=86_400, description="access token")
    refresh_lifetime: int = Field(
        30 * 86_400, ge=60, le=400 * 86_400, description="refresh token family, from its start"
    )
    refresh_grace: int = Field(
        10, ge=0, le=60, description="a lost refresh answer may be fetched again for so long"
    )
    id_token_lifetime: int = Field(300, ge=30, le=86_400, description="ID token")
    request_lifetime: int = Field(
        600, ge=60, le=3_600, description="a sign-in that was begun may be finished for so long"
    )
    device_code_lifetime: int = Field(
        600, ge=120, le=1_800, description="device code, and the code that is typed for it"
    )


class PasswordSettings(Section):
    """argon2id cost (OWASP floor by default) and the bounded queue in front of it."""

    memory_kib: int = Field(19_456, ge=8_192, le=1_048_576, description="argon2id memory in KiB")
    time_cost: int = Field(2, ge=1, le=10, description="argon2id passes")
    workers: int = Field(
        0, ge=0, le=64, description="hashes computed at once; 0 means one per processor"
    )
    queue: int = Field(
        24, ge=1, le=1_000, description="hashes that may wait; beyond it sign-in answers 503"
    )
    minimum_length: int = Field(
        15, ge=8, le=64, description="characters a new password must have where it is all there is"
    )
    minimum_length_with_second_factor: int = Field(
        8, ge=8, le=64, description="characters it must have beside a passkey or codes"
    )
    breached_file: str = Field(
        "", description="file of known passwords: SHA-1 in hexadecimal, sorted, one a line"
    )

    @model_validator(mode="after")
    def _breached_file_is_one(self) -> Self:
        if self.breached_file:
            _require_digests(self.breached_file)
        return self


class ThrottleSettings(Section):
    """Wrong passwords that are allowed per window; counted before the password is checked."""

    window: int = Field(900, ge=60, le=86_400, description="seconds a count lasts")
    per_account: int = Field(10, ge=3, le=100, description="attempts per account from new devices")
    per_account_device: int = Field(
        10, ge=3, le=100, description="attempts per account from a device that signed in before"
    )
    per_account_ever: int = Field(
        100,
        ge=10,
        le=100,
        description="wrong passwords in a row, over any time, before only known devices, "
        "passkeys and a reset let their owner in",
    )
    per_account_codes: int = Field(
        5, ge=3, le=20, description="codes of a second factor per account"
    )
    per_address: int = Field(
        100, ge=10, le=100_000, description="attempts per address (IPv6: per /64)"
    )
    per_account_pairing_codes: int = Field(
        5, ge=3, le=20, description="codes of other devices that somebody may type wrong"
    )
    per_address_pairing_codes: int = Field(
        20, ge=5, le=10_000, description="codes of other devices typed wrong, per address"
    )
    per_address_pairings: int = Field(
        60,
        ge=10,
        le=100_000,
        description="codes an address may ask for, but for apps with a secret",
    )


class PasskeySettings(Section):
    """WebAuthn: which site passkeys belong to."""

    rp_id: str = Field("", description="domain passkeys belong to; empty: the host of IDP_URL")
    origins: Listed = Field(
        (), description="further origins that may use them (served at /.well-known/webauthn)"
    )


class AssuranceSettings(Section):
    """How long proofs count."""

    elevation: int = Field(
        300, ge=30, le=3_600, description="seconds a proof counts for sensitive operations"
    )
    totp_window: int = Field(
        1, ge=0, le=2, description="time steps before and after the present one whose code is taken"
    )
    trusted_device_days: int = Field(
        30, ge=1, le=90, description="days a trusted device is not asked for a second factor"
    )


class LinkSettings(Section):
    """Seconds for which a link that was sent may be used."""

    reset: int = Field(1_800, ge=300, le=86_400, description="password reset")
    verify: int = Field(86_400, ge=300, le=86_400, description="e-mail verification")
    invitation: int = Field(86_400, ge=300, le=604_800, description="invitation")
    set_up: int = Field(900, ge=60, le=86_400, description="first administrator (/setup)")


class MailSettings(Section):
    """How mail leaves. Without a server, on loopback only, it can be read at /dev/mail."""

    server: SecretStr = Field(
        SecretStr(""),
        description="`smtp://user:password@host:587` (STARTTLS) or `smtps://…`; "
        "`smtp+plain://…` on loopback only",
    )
    sender: str = Field("", description="address mail comes from; empty: no-reply@ our host")
    timeout: float = Field(15.0, gt=0, le=60, description="seconds for one whole mail")

    @field_validator("server")
    @classmethod
    def _server_is_safe(cls, value: SecretStr) -> SecretStr:
        """The sentences must not repeat the value: it holds the password."""
        address = value.get_secret_value()
        if not address:
            return value
        try:
            parts = urlsplit(address)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in MAIL_SCHEMES or not host or port == 0:
            raise ValueError("must be smtp://user:password@host:587 or smtps://user:password@host")
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(
                "has something behind the host; write %40, %2F, %3F, %23 for @ / ? # in a password"
            )
        if (parts.username is None) != (parts.password is None):
            raise ValueError("needs both a user name and a password, or neither")
        if parts.scheme == "smtp+plain" and not is_loopback_host(host):
            raise ValueError(
                "smtp+plain:// to another machine would send mail, with links that sign people "
                "in, readable by all between. Use smtp:// (STARTTLS) or smtps://"
            )
        return value

    @field_validator("sender")
    @classmethod
    def _sender_is_one_address(cls, value: str) -> str:
        local, at, domain = value.rpartition("@")
        if value and not (at and _MAIL_NAME.fullmatch(local) and _MAIL_NAME.fullmatch(domain)):
            raise ValueError("must be one plain address such as no-reply@example.com")
        return value


class ManagementSettings(Section):
    """A port for health and figures, apart from the public one. Off unless a port is set."""

    host: str = Field("127.0.0.1", description="address of the management port")
    port: int = Field(0, ge=0, le=65_535, description="management port; 0: none")
    token: SecretStr = Field(
        SecretStr(""), description="bearer token that /metrics asks for; empty: none"
    )
    drain: int = Field(
        0, ge=0, le=120, description="seconds between saying “not ready” and stopping"
    )


class OutboundSettings(Section):
    """The one HTTP client that calls apps. Private and loopback networks are refused by default."""

    allow_networks: Networks = Field(
        (), description="CIDR blocks that may be called although they are private"
    )
    allow_http: bool = Field(False, description="plain http to the networks above")
    timeout: float = Field(5.0, gt=0, le=30, description="seconds for one whole call")
    concurrency: int = Field(64, ge=1, le=1_000, description="calls under way at once")


class SyslogSettings(Section):
    """A receiver of the audit log that speaks syslog. The operator names it, so it may be anywhere."""

    address: str = Field(
        "",
        description="`tcp+tls://host:6514`, `tcp://host:601` or `udp://host:514`: where every "
        "event is sent; empty: nowhere",
    )
    facility: int = Field(13, ge=0, le=23, description="syslog facility; 13 is “log audit”")

    @field_validator("address")
    @classmethod
    def _address_is_one(cls, value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            is_whole = bool(parts.hostname and parts.port)
        except ValueError:
            parts, is_whole = urlsplit(""), False
        if parts.scheme not in SYSLOG_SCHEMES or not is_whole or "@" in value:
            raise ValueError(
                "must be tcp+tls://host:6514, tcp://host:601 or udp://host:514, with its port"
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("has something behind the port")
        return value


class TracingSettings(Section):
    """OpenTelemetry; what else there is to set are its own `OTEL_…` variables."""

    endpoint: str = Field("", pattern=_COLLECTOR, description="where traces go (OTLP over HTTP)")
    sample: float = Field(1.0, ge=0, le=1, description="the share of requests that is traced")


class GeoSettings(Section):
    """Files that say where an address is. They may come, change and go while we run, so only the
    settings themselves are checked at the start."""

    folder: str = Field(
        "geo", min_length=1, description="folder of MMDB files that say where addresses are"
    )
    attribution: str = Field(
        "",
        max_length=200,
        description="what is said where places are shown, and behind it a link; "
        "empty: what the files in use are known to ask for",
    )

    @field_validator("attribution")
    @classmethod
    def _attribution_is_one_line(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("must be one line, such as: IP Geolocation by DB-IP https://db-ip.com")
        return value


def _require_digests(file: str) -> None:
    try:
        with open(file, "rb") as listed:
            first = listed.readline(200)
    except OSError as error:
        raise ValueError(
            f"IDP_PASSWORD__BREACHED_FILE cannot be read ({error}); "
            "name a file that can, or leave the setting out"
        ) from None
    if not re.fullmatch(rb"[0-9A-Fa-f]{40}(:[0-9]+)?\s*", first):
        raise ValueError(
            "IDP_PASSWORD__BREACHED_FILE does not begin with a SHA-1 digest in hexadecimal; "
            "take the file “ordered by hash” of Have I Been Pwned, unpacked"
        )
