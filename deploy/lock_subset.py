# ruff: noqa: INP001 - a script of the image, no package
"""The part of requirements.lock that one image needs, hashes included.

pip checks hashes only where every requirement has them, and the lock is of all rooms together. So pip is asked first
what it would install (`pip install --dry-run --report`), and this picks those entries out of the lock.

    python lock_subset.py requirements.lock report.json > image.lock
    python lock_subset.py requirements.lock --name setuptools > build.lock
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ENTRY = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)


def canonical(name: str) -> str:
    """A distribution's name as the registry compares it.

    >>> canonical("Typing_Extensions")
    'typing-extensions'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def subset(lock: str, names: Iterable[str]) -> str:
    r"""The entries of a lock for these names, markers and hashes included. Raises `KeyError` for a name it lacks.

    >>> print(subset("a==1 --hash=sha256:00\nb==2 --hash=sha256:11\n", ["B"]), end="")
    b==2 --hash=sha256:11
    """
    starts = [match.start() for match in ENTRY.finditer(lock)]
    entries: dict[str, list[str]] = {}
    for start, end in zip(starts, [*starts[1:], len(lock)], strict=True):
        entry = lock[start:end]
        entries.setdefault(canonical(entry.partition("==")[0]), []).append(entry)
    return "".join(entry for name in sorted({canonical(name) for name in names}) for entry in entries[name])


def names_in(report: str) -> list[str]:
    """What `pip install --report` would install, our own package left out."""
    names = [item["metadata"]["name"] for item in json.loads(report)["install"]]
    return [name for name in names if canonical(name) != "taktwatch"]


def main(arguments: list[str]) -> None:
    """Print the subset; exit with one line where the lock lacks something."""
    lock_path, *rest = arguments
    names = rest[1:] if rest[0] == "--name" else names_in(Path(rest[0]).read_text(encoding="utf-8"))
    try:
        sys.stdout.write(subset(Path(lock_path).read_text(encoding="utf-8"), names))
    except KeyError as error:
        sys.exit(f"{lock_path} has no entry for {error}; run make lock")


if __name__ == "__main__":
    main(sys.argv[1:])
