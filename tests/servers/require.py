"""What a test does whose server is absent: it skips and says how to get it, or fails where the server is required."""

import os
from typing import NoReturn

import pytest


def required() -> frozenset[str]:
    """Servers named in TAKTWATCH_REQUIRE, separated by commas: their absence is a failure (set in CI)."""
    return frozenset(name.strip() for name in os.environ.get("TAKTWATCH_REQUIRE", "").split(",") if name.strip())


def missing(server: str, remedy: str) -> NoReturn:
    """Skip the test, or fail it where TAKTWATCH_REQUIRE names the server. `remedy` is the command that provides it."""
    if server in required():
        pytest.fail(f"{server} is required (TAKTWATCH_REQUIRE) and absent; {remedy}", pytrace=False)
    pytest.skip(f"{server} is absent; {remedy}")
