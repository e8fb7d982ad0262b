"""The protocol: OAuth 2 and OpenID Connect over our sessions. authlib stays inside this package."""
