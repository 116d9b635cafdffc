"""State and the position it belongs to, saved so that a crash at any moment leaves a complete checkpoint behind.

Up to 1 MB a checkpoint is one record. A larger one goes as chunks first, and its manifest, which tells how many they
are and by what id they are known, last. Keys are fixed, so compaction keeps the topic short; manifests and chunks
alternate between two slots, so what is being written never replaces what would be restored. Keys of chunks contain
their writer's name: an owner that was stopped and wakes up amid a save writes over chunks of its own alone.

The part of a state that does not change any more can be handed over as *blocks*: each is written once, and named by
every checkpoint that still holds it. A block's key is used again once the newest checkpoint does not name it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from uuid import uuid4

from taktwatch.bus import Bus, Message, Outgoing, Partition
from taktwatch.errors import BadRecord
from taktwatch.records import BlockRef, Checkpoint, CheckpointChunk, CheckpointManifest
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["CHUNK_BYTES", "Checkpoints", "load_checkpoint", "save_checkpoint"]

CHUNK_BYTES = 2**20
SLOTS = 2


@dataclass(frozen=True)
class Found:
    """What a slot holds, and where it lies."""

    record: Checkpoint | CheckpointManifest
    message: Message
    slot: int


@dataclass(frozen=True)
class Written:
    """A block, and where it was written."""

    body: bytes
    ref: BlockRef


class Checkpoints:
    """The checkpoints of a group, as one of its members saves them; `member` is its stable name."""

    def __init__(self, bus: Bus, topics: Topics, group: str, member: str) -> None:
        self._bus = bus
        self._topic = topics.checkpoints
        self._group = group
        self._member = member
        self._slots: dict[Partition, int] = {}
        self._blocks: dict[Partition, tuple[Written, ...]] = {}

    async def load(self, partition: Partition) -> Checkpoint | None:
        """Return the newest complete checkpoint, or None where none was ever saved. Raises as `load_checkpoint`."""
        checkpoint, blocks, slot = await newest_complete(self._bus, self._topic, self._group, partition)
        self._slots[partition] = slot
        self._blocks[partition] = blocks
        return checkpoint

    def blocks(self, partition: Partition) -> tuple[bytes, ...]:
        """Return the blocks of the checkpoint that was loaded or saved last."""
        return tuple(written.body for written in self._blocks[partition])

    async def save(self, partition: Partition, position: int, state: bytes, blocks: Sequence[bytes] = ()) -> None:
        """Save state and position into the slot that would not be restored now; durable on return.

        `blocks` belong to the state; those that the last checkpoint had, the same objects, are not written again.
        """
        slot = (self._slots[partition] + 1) % SLOTS
        topic, number = partition
        named, outgoing = self._named(partition, blocks)
        refs = tuple(written.ref for written in named)
        record: Checkpoint | CheckpointManifest
        record = Checkpoint(
            group=self._group, topic=topic, partition=number, position=position, state=state, blocks=refs
        )
        if len(state) > CHUNK_BYTES:
            chunks, record = split(record, f"{self._member}.{slot}")
            keys = (chunk_key(record, chunk.index) for chunk in chunks)
            outgoing += [Outgoing(self._topic, key, *encode(chunk)) for key, chunk in zip(keys, chunks, strict=True)]
        if outgoing:
            await self._bus.publish(outgoing)
        await self._bus.publish([Outgoing(self._topic, slot_key(self._group, partition, slot), *encode(record))])
        self._slots[partition] = slot
        self._blocks[partition] = named

    def _named(self, partition: Partition, blocks: Sequence[bytes]) -> tuple[tuple[Written, ...], list[Outgoing]]:
        """Return where each block is, or is to be written; another member's blocks are written anew, as one's own."""
        own = [written for written in self._blocks[partition] if written.ref.writer == self._member]
        known = {id(written.body): written for written in own}
        taken = {written.ref.number for written in own}
        free = (number for number in count() if number not in taken)
        named, outgoing = [], []
        for body in blocks:
            written = known.get(id(body))
            if written is None:
                ref = BlockRef(writer=self._member, number=next(free), save_id=uuid4().hex)
                written = Written(body, ref)
                chunk = CheckpointChunk(save_id=ref.save_id, index=ref.number, state=body)
                outgoing.append(Outgoing(self._topic, block_key(self._group, partition, ref), *encode(chunk)))
            named.append(written)
        return tuple(named), outgoing


def slot_key(group: str, partition: Partition, slot: int = 0) -> bytes:
    """Return the key of a slot of a group and partition.

    >>> slot_key("kpi", ("taktwatch.results", 2)), slot_key("kpi", ("taktwatch.results", 2), 1)
    (b'kpi/taktwatch.results/2', b'kpi/taktwatch.results/2/1')
    """
    topic, number = partition
    return f"{group}/{topic}/{number}{f'/{slot}' if slot else ''}".encode()


def chunk_key(manifest: CheckpointManifest, index: int) -> bytes:
    """Return the key of a chunk: the same again each time its writer comes back to the slot."""
    return f"{manifest.group}/{manifest.topic}/{manifest.partition}/{manifest.chunks_of}/{index}".encode()


def block_key(group: str, partition: Partition, ref: BlockRef) -> bytes:
    """Return the key of a block: another for each that its writer's newest checkpoint names."""
    topic, number = partition
    return f"{group}/{topic}/{number}/{ref.writer}/block/{ref.number}".encode()


def split(whole: Checkpoint, chunks_of: str) -> tuple[list[CheckpointChunk], CheckpointManifest]:
    """Return the chunks of a checkpoint, and the manifest that names them."""
    save_id = uuid4().hex
    parts = [whole.state[first : first + CHUNK_BYTES] for first in range(0, len(whole.state), CHUNK_BYTES)]
    manifest = CheckpointManifest(
        group=whole.group,
        topic=whole.topic,
        partition=whole.partition,
        position=whole.position,
        chunks=len(parts),
        chunks_of=chunks_of,
        save_id=save_id,
        blocks=whole.blocks,
    )
    return [CheckpointChunk(save_id=save_id, index=index, state=part) for index, part in enumerate(parts)], manifest


async def save_checkpoint(bus: Bus, topics: Topics, checkpoint: Checkpoint) -> None:
    """Save a checkpoint that stays small, as one record; it is durable on return. `Checkpoints` saves large ones."""
    key = slot_key(checkpoint.group, (checkpoint.topic, checkpoint.partition))
    await bus.publish([Outgoing(topics.checkpoints, key, *encode(checkpoint))])


async def load_checkpoint(bus: Bus, topics: Topics, group: str, partition: Partition) -> Checkpoint | None:
    """Return the newest complete checkpoint of a group and partition, or None where none was saved.

    Raises `BadRecord` where checkpoints were saved and none is complete: to begin anew would count twice;
    `UnknownSchema` for one that a newer taktwatch wrote.
    """
    checkpoint, _, _ = await newest_complete(bus, topics.checkpoints, group, partition)
    return checkpoint


async def newest_complete(
    bus: Bus, topic: str, group: str, partition: Partition
) -> tuple[Checkpoint | None, tuple[Written, ...], int]:
    """Return the complete checkpoint with the highest offset, its blocks and slot; None, none and -1 without any."""
    found = []
    for slot in range(SLOTS):
        message = await bus.last(topic, slot_key(group, partition, slot))
        if message is not None:
            found.append(Found(checkpoint_in(message), message, slot))
    found.sort(key=lambda one: one.message.offset, reverse=True)
    for one in found:
        checkpoint = await assembled(bus, topic, one.record)
        blocks = await blocks_of(bus, topic, one.record)
        if checkpoint is not None and blocks is not None:
            return checkpoint, blocks, one.slot
    if found:
        raise BadRecord(
            f"no complete checkpoint of {group} for {partition[0]}/{partition[1]}: chunks of the newest, at "
            f"{found[0].message.place}, are missing in {topic}; restore that topic from a backup"
        )
    return None, (), -1


def checkpoint_in(message: Message) -> Checkpoint | CheckpointManifest:
    """Return the checkpoint or manifest in a message. Raises `BadRecord` for anything else, `UnknownSchema`."""
    found = decode(message.value, message.headers)
    if not isinstance(found, Checkpoint | CheckpointManifest):
        raise BadRecord(f"{message.topic} holds a {type(found).__name__} at {message.place}, not a checkpoint")
    return found


async def assembled(bus: Bus, topic: str, found: Checkpoint | CheckpointManifest) -> Checkpoint | None:
    """Return a checkpoint with its state; None where the chunks of its manifest are not all of one piece."""
    if isinstance(found, Checkpoint):
        return found
    parts = []
    for index in range(found.chunks):
        part = await chunk_at(bus, topic, chunk_key(found, index), found.save_id, index)
        if part is None:
            return None
        parts.append(part)
    return Checkpoint(
        group=found.group,
        topic=found.topic,
        partition=found.partition,
        position=found.position,
        state=b"".join(parts),
        blocks=found.blocks,
    )


async def blocks_of(bus: Bus, topic: str, found: Checkpoint | CheckpointManifest) -> tuple[Written, ...] | None:
    """Return the blocks that a checkpoint names; None where one of them is not there."""
    keys = [block_key(found.group, (found.topic, found.partition), ref) for ref in found.blocks]
    bodies = await asyncio.gather(
        *(chunk_at(bus, topic, key, ref.save_id, ref.number) for key, ref in zip(keys, found.blocks, strict=True))
    )
    blocks = [Written(body, ref) for body, ref in zip(bodies, found.blocks, strict=True) if body is not None]
    return tuple(blocks) if len(blocks) == len(bodies) else None


async def chunk_at(bus: Bus, topic: str, key: bytes, save_id: str, index: int) -> bytes | None:
    """Return what a chunk holds; None where there is none of that save."""
    message = await bus.last(topic, key)
    chunk = None if message is None else decode(message.value, message.headers)
    if not isinstance(chunk, CheckpointChunk) or (chunk.save_id, chunk.index) != (save_id, index):
        return None
    return chunk.state
