"""Answers kept on disk as they are given, one JSON line each, so that an interrupted comparison goes on."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from detector.proving.parity import Answer

__all__ = ["AnswerLog"]


class AnswerLog:
    """What one engine said of which boards, in a file named by everything that an answer depends on (`key`).

    The last line for a board counts. A line that was cut off by a crash is ignored, and what follows it is whole.
    """

    def __init__(self, folder: Path, name: str, key: Iterable[str]) -> None:
        digest = hashlib.sha256(msgspec.json.encode(list(key))).hexdigest()
        self.path = folder / f"{name}-{digest[:16]}.jsonl"
        self.known: dict[int, Answer] = {}
        if self.path.exists():
            for line in self.path.read_bytes().splitlines():
                try:
                    answer = msgspec.json.decode(line, type=Answer)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
                self.known[answer.board] = answer

    def add(self, answers: Iterable[Answer]) -> None:
        """Keep answers."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = list(answers)
        with self.path.open("ab") as file:
            file.write(b"".join(b"\n" + msgspec.json.encode(one) for one in fresh))
        self.known.update((one.board, one) for one in fresh)
