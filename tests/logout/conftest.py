from tests.harness.backends import (  # noqa: F401
    clock,
    database_url,
    outbound,
    receivers,
    sqlite_work,
    work,
)
