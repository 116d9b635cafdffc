"""State and the position it belongs to, saved as one record of a compacted topic."""

from taktwatch.bus import Bus, Outgoing, Partition
from taktwatch.errors import BadRecord
from taktwatch.records import Checkpoint
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["load_checkpoint", "save_checkpoint"]


def checkpoint_key(group: str, partition: Partition) -> bytes:
    """One key per group and partition.

    >>> checkpoint_key("kpi", ("taktwatch.results", 2))
    b'kpi/taktwatch.results/2'
    """
    topic, number = partition
    return f"{group}/{topic}/{number}".encode()


async def save_checkpoint(bus: Bus, topics: Topics, checkpoint: Checkpoint) -> None:
    """Save a checkpoint; it is durable on return."""
    value, headers = encode(checkpoint)
    key = checkpoint_key(checkpoint.group, (checkpoint.topic, checkpoint.partition))
    await bus.publish([Outgoing(topics.checkpoints, key, value, headers)])


async def load_checkpoint(bus: Bus, topics: Topics, group: str, partition: Partition) -> Checkpoint | None:
    """Return the newest checkpoint of a group and partition, or None where none was saved."""
    message = await bus.last(topics.checkpoints, checkpoint_key(group, partition))
    if message is None:
        return None
    checkpoint = decode(message.value, message.headers)
    if not isinstance(checkpoint, Checkpoint):
        raise BadRecord(
            f"{topics.checkpoints} holds a {type(checkpoint).__name__} at {message.place}, not a checkpoint"
        )
    return checkpoint
