"""A real Chromium for tests, driven by playwright: Debian's, or the one on PATH."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from servers.require import missing

__all__ = ["browser", "chromium"]

DEBIANS = Path("/usr/bin/chromium")
NAMES = ("chromium", "chromium-browser", "google-chrome")
REMEDY = "install it (apt-get install chromium)"
SWITCHES = (
    "--no-sandbox",  # containers run tests as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def chromium() -> Path:
    """Return the program; skips the test, or fails it where TAKTWATCH_REQUIRE names chromium."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None and not DEBIANS.exists():
        missing("chromium", REMEDY)
    return DEBIANS if found is None else Path(found)


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a headless browser for as long as the block."""
    program = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(SWITCHES), headless=True)
        try:
            yield started
        finally:
            started.close()
