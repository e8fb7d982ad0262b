"""Benchmarks: how dear each endpoint is, next to npm `oidc-provider` in the same run."""
