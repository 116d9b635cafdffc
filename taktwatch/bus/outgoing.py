"""What both backends ask of a record on its way out: its partition, and that it fits."""

import re
from collections.abc import Mapping, Sequence
from zlib import crc32

from taktwatch.bus import MAX_RECORD_BYTES, Outgoing, TopicSpec
from taktwatch.errors import ConfigError, RecordTooLarge

__all__ = ["check_name", "check_sizes", "partition_of", "record_bytes"]

CERTAINLY_FITS = MAX_RECORD_BYTES // 2
"""What the names of headers add is never as much again: they are ours."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,248}")


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key, the same on every backend, 0 to `partitions` - 1.

    >>> partition_of(b"line-1", 4)
    0
    """
    return crc32(key) % partitions


def record_bytes(record: Outgoing) -> int:
    """Return the size of a record, key and headers included.

    >>> record_bytes(Outgoing("t", b"key", b"value", {"h": b"1"}))
    10
    """
    headers = sum(len(name.encode()) + len(value) for name, value in record.headers.items())
    return len(record.key) + len(record.value) + headers


def check_sizes(records: Sequence[Outgoing]) -> None:
    """Raise `RecordTooLarge` for the first record that no backend would take; nothing of the batch is published."""
    named: Mapping[str, bytes] = {}
    header_bytes = 0
    for record in records:
        if record.headers is not named:  # shared by records of a kind
            named = record.headers
            header_bytes = sum(map(len, named.values()))
        if len(record.key) + len(record.value) + header_bytes < CERTAINLY_FITS:
            continue
        if (size := record_bytes(record)) > MAX_RECORD_BYTES:
            raise RecordTooLarge(
                f"a record of {size:,} bytes for {record.topic} exceeds the bus's limit of {MAX_RECORD_BYTES:,} bytes; "
                "split it or send a smaller picture"
            )


def check_name(spec: TopicSpec) -> None:
    """Raise `ConfigError` for a topic that cannot be created; its name must be one that Kafka and a disk take."""
    if not NAME.fullmatch(spec.name):
        raise ConfigError(f"{spec.name!r} is no topic name: letters, digits, dot, underscore and dash, at most 249")
    if spec.partitions < 1:
        raise ConfigError(f"topic {spec.name} needs at least one partition, not {spec.partitions}")
