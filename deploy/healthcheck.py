# ruff: noqa: INP001 - a script of the image, no package
"""Ask this container's service whether it lives: exit status 0 for an HTTP answer of 200 at HEALTH_URL, else 1."""

import os
import sys
import urllib.request

URL = os.environ.get("HEALTH_URL", "http://127.0.0.1:9100/metrics")


def main() -> int:
    """Ask once."""
    try:
        with urllib.request.urlopen(URL, timeout=4) as answer:  # noqa: S310 - the address is the image's own setting
            return 0 if answer.status == 200 else 1  # noqa: PLR2004 - HTTP OK
    except OSError as error:
        sys.stderr.write(f"{URL}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
