"""A self-hosted OAuth 2 / OpenID Connect provider whose sessions are the product."""
