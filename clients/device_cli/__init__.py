"""A command line that signs in by a code, because it has no browser (RFC 8628)."""
