"""The alerts service: KPI windows and points of control charts in, alert transitions out, and people told.

Loop one folds windows into alerts: it publishes the transitions of a batch, then saves state and position as one
record, then commits. After a crash the windows since the saved position are folded again and give the same transitions
with the same names. Loop two, one per channel, reads the alerts topic and notifies, where loop one holds the partition.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256

import msgspec
import structlog

from alerts.channels import open_sender
from alerts.fold import State, fold, without_retired
from alerts.lifecycle import OPEN_STATES
from alerts.metrics import BAD_RECORDS, OPEN, TRANSITIONS, WINDOWS
from alerts.notify import FIRST_PAUSE_S, Notifier, pause, pause_after
from taktwatch.bus import Bus, Message, Outgoing, Partition, Rebalance
from taktwatch.checkpoints import load_checkpoint, save_checkpoint
from taktwatch.clock import now
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, BadRecord
from taktwatch.records import AlertTransition, Checkpoint, ControlPoint, DeadLetter, KpiWindow, Severity
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["GROUP", "AlertsService"]

GROUP = "alerts"
BATCH = 500
POLL = timedelta(seconds=1)
SAVE_EVERY = 1000
"""Records after which the position is saved although no alert could change."""

HEALTHY_S = 60.0
"""A loop that ran so long before the bus went away starts its pauses anew."""

LONGEST_PAUSE_S = 30.0

log = structlog.get_logger()


class AlertsService:
    """Rules over KPI windows, and the channels of line.toml.

    Raises `ConfigError` at construction for a channel whose address or secret is missing. Channels stay
    shut in a replay: it wakes nobody.
    """

    def __init__(
        self, config: LineConfig, bus: Bus, topics: Topics, *, member: str = GROUP, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self.config = config
        self.bus = bus
        self.topics = topics
        self.member = member
        channels = () if topics.is_replay else config.alerts.channels
        senders = [open_sender(channel) for channel in channels]
        self.notifiers = [Notifier(sender, bus, topics, first_pause_s=first_pause_s) for sender in senders]
        self.active = asyncio.Event()
        self.held: dict[Partition, State] = {}
        self.positions: dict[Partition, int] = {}
        self.saved: dict[Partition, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`. An absent bus is waited for; any other failure ends all loops and is raised."""
        try:
            await self.keep_at(self.prepare, stop)
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self.keep_at(lambda: self.evaluate(stop), stop))
                for notifier in self.notifiers:
                    loops.create_task(self.tell(notifier, stop))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            for notifier in self.notifiers:
                await notifier.sender.close()

    async def keep_at(self, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
        """Do the work to its end, again from its start after each time the bus went away."""
        clock = asyncio.get_running_loop().time
        failures = 0
        while not stop.is_set():
            began = clock()
            try:
                await work()
            except BackendUnavailable as error:
                failures = 1 if clock() - began > HEALTHY_S else failures + 1
                seconds = pause_after(failures, longest_s=LONGEST_PAUSE_S)
                log.warning("alerts wait for the bus", error=str(error), pause_s=seconds)
                await pause(seconds, stop)
            else:
                return

    async def prepare(self) -> None:
        """Give every channel its position before the first transition is published."""
        for notifier in self.notifiers:
            await notifier.prepare()

    async def tell(self, notifier: Notifier, stop: asyncio.Event) -> None:
        """Run one channel."""
        await self.keep_at(lambda: notifier.run(stop, self.active), stop)

    async def evaluate(self, stop: asyncio.Event) -> None:
        """Fold windows into alerts until `stop`. Raises `BackendUnavailable`; then state is restored when run again."""
        rebalance = Rebalance(self.assigned, self.revoked)
        consumer = self.bus.consumer(
            GROUP, [self.topics.kpis, self.topics.spc], member=self.member, rebalance=rebalance
        )
        try:
            async with consumer:
                while not stop.is_set():
                    if messages := await consumer.poll(BATCH, POLL):
                        await consumer.commit(await self.take(messages))
                await self.save(self.held)
        finally:
            self.let_go(frozenset(self.held))

    async def assigned(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        """Restore state and position of partitions that become ours."""
        restored = {}
        for partition in partitions:
            checkpoint = await load_checkpoint(self.bus, self.topics, GROUP, partition)
            state: State = {}
            if checkpoint is not None:
                restored[partition] = self.positions[partition] = self.saved[partition] = checkpoint.position
                state, closed = without_retired(self.config, state_in(checkpoint))
                await self.announce(closed)
            self.held[partition] = state
        self.count_open()
        if self.holds_windows():
            self.active.set()
        return restored

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        """Save and forget partitions that are given away."""
        await self.save(partitions & self.held.keys())
        self.let_go(partitions)

    def holds_windows(self) -> bool:
        """Whether the kpis partition is ours: its one holder tells people, of what control charts show, too."""
        return any(topic == self.topics.kpis for topic, _ in self.held)

    def let_go(self, partitions: frozenset[Partition]) -> None:
        """Forget partitions; what was not saved is folded again by whoever holds them next."""
        for partition in partitions:
            self.held.pop(partition, None)
            self.positions.pop(partition, None)
            self.saved.pop(partition, None)
        if not self.holds_windows():
            self.active.clear()
        self.count_open()

    async def take(self, messages: Sequence[Message]) -> Mapping[Partition, int]:
        """Fold a batch, publish what changed, save; return the positions to commit."""
        held, positions = dict(self.held), dict(self.positions)
        transitions: list[AlertTransition] = []
        for message in messages:
            partition = (message.topic, message.partition)
            record = await self.record_in(message)
            if record is not None:
                held[partition], new = fold(self.config, held[partition], record)
                transitions += new
            positions[partition] = message.offset + 1
        await self.announce(transitions)
        before, self.held, self.positions = self.held, held, positions
        changed = {partition for partition, state in held.items() if state is not before[partition]}
        behind = {
            partition for partition in positions if positions[partition] - self.saved.get(partition, 0) >= SAVE_EVERY
        }
        await self.save(changed | behind)
        self.count_open()
        return positions

    async def record_in(self, message: Message) -> KpiWindow | ControlPoint | None:
        """The window or control point in a message; anything else goes to the dead topic and the next one is read."""
        try:
            record = judged_record(message, self.topics)
        except BadRecord as error:
            BAD_RECORDS.inc()
            log.warning("a KPI record cannot be read", offset=message.offset, error=str(error))
            await self.publish([dead_letter(self.topics, message, error)])
            return None
        if isinstance(record, KpiWindow):
            WINDOWS.labels(record.state.value).inc()
        return record

    async def announce(self, transitions: Sequence[AlertTransition]) -> None:
        """Publish transitions; the notifiers find them on the topic."""
        outgoing = []
        for transition in transitions:
            log.info("alert", rule=transition.rule, state=transition.state.value, summary=transition.summary)
            TRANSITIONS.labels(transition.rule, transition.state.value).inc()
            key = f"{transition.rule}/{transition.labels.get('station', '')}".encode()
            outgoing.append(Outgoing(self.topics.alerts, key, *encode(transition)))
        await self.publish(outgoing)

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish, if there is anything."""
        if outgoing:
            await self.bus.publish(outgoing)

    async def save(self, partitions: Iterable[Partition]) -> None:
        """Save state and position of partitions as one record each."""
        for partition in partitions:
            position = self.positions.get(partition)
            if position is None:
                continue  # nothing was read yet
            topic, number = partition
            state = msgspec.msgpack.encode(self.held[partition])
            await save_checkpoint(
                self.bus,
                self.topics,
                Checkpoint(group=GROUP, topic=topic, partition=number, position=position, state=state),
            )
            self.saved[partition] = position

    def count_open(self) -> None:
        """Set the gauge of open alerts."""
        counts = Counter(
            series.severity
            for state in self.held.values()
            for series in state.values()
            if series.told.state in OPEN_STATES
        )
        for severity in Severity:
            OPEN.labels(severity.value).set(counts[severity])


def judged_record(message: Message, topics: Topics) -> KpiWindow | ControlPoint:
    """Read a message of the kpis or the spc topic. Raises `BadRecord` for a record that does not belong there."""
    record = decode(message.value, message.headers)
    if message.topic == topics.spc:
        if isinstance(record, ControlPoint):
            return record
        raise BadRecord(f"a {type(record).__name__} on {message.topic}, where only control points belong")
    if isinstance(record, KpiWindow):
        return record
    raise BadRecord(f"a {type(record).__name__} on {message.topic}, where only KPI windows belong")


def state_in(checkpoint: Checkpoint) -> State:
    """The state of a checkpoint. Raises `BadRecord` for one that another version wrote."""
    try:
        return msgspec.msgpack.decode(checkpoint.state, type=State)
    except msgspec.MsgspecError as error:
        raise BadRecord(
            f"the saved state of group {checkpoint.group} cannot be read ({error}); was it written by another version?"
        ) from error


def dead_letter(topics: Topics, message: Message, error: BadRecord) -> Outgoing:
    """Bytes that are no record to judge, for the dead topic."""
    letter = DeadLetter(
        error=str(error),
        source=GROUP,
        received_at=now(),
        body=message.value,
        body_bytes=len(message.value),
        sha256=sha256(message.value).hexdigest(),
        place=message.place,
    )
    return Outgoing(topics.dead, message.key, *encode(letter))
