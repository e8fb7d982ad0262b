"""What this app is told by its environment."""

import os
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """One deployment of the app. `issuer` is the provider's address, exactly as in its metadata."""

    name: str
    url: str
    issuer: str
    client_id: str
    client_secret: str
    api_url: str
    accent: str

    @classmethod
    def from_environment(cls) -> "Config":
        """Reads the environment; a missing name raises `KeyError` with that name."""
        accent = os.environ.get("APP_ACCENT", "indigo")
        return cls(
            name=os.environ["APP_NAME"],
            url=os.environ.get("APP_URL", f"http://localhost:{os.environ['APP_PORT']}"),
            issuer=os.environ["ISSUER"],
            client_id=os.environ["CLIENT_ID"],
            client_secret=os.environ["CLIENT_SECRET"],
            api_url=os.environ["API_URL"],
            accent=accent if accent in ("indigo", "teal") else "indigo",
        )

    @property
    def cookie(self) -> str:
        """The name of the session cookie.

        Browsers share cookies between the ports of one host, so the app's name is part of it.
        """
        return re.sub(r"[^a-z0-9]+", "_", self.name.lower()) + "_session"

    @property
    def is_secure(self) -> bool:
        return self.url.startswith("https://")
