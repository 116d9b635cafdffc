"""The control charts as a service: windows of the kpis topic in, points of charts out.

Windows are folded in log order, every revision, so that where a batch ends means nothing. In this order: publish the
points, save state and position as one record, commit. A crash in between folds a few windows again and publishes the
same points with the same revisions.

A baseline that somebody chose comes by a topic of its own, at no place of the kpis log. It is taken only where all that
another life of this service may have published is folded again, and is saved before any window meets it. So is it
heeded that another model was activated.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

import structlog

from kpi_engine.membership import stay_joined
from kpi_engine.metrics import BAD_RECORDS, BASELINES, CONTROL_POINTS, SPC_SIGNALS
from kpi_engine.spc.baseline import Baseline, BaselineRefused, load, require
from kpi_engine.spc.baseline import save as save_baseline
from kpi_engine.spc.plans import METRICS, setup
from kpi_engine.spc_line import LineCharts, adopt, fold, in_force, key_of, restore, save, settings_of, turned_to
from kpi_engine.spc_rules import rules_of
from taktwatch.activation import as_activated, read_activations
from taktwatch.bus import Bus, Message, Outgoing, Partition, Rebalance
from taktwatch.checkpoints import load_checkpoint, save_checkpoint
from taktwatch.config import LineConfig
from taktwatch.errors import BadRecord
from taktwatch.records import Checkpoint, ControlPoint, KpiWindow, SpcBaseline
from taktwatch.topics import Topics
from taktwatch.wire import decode, encode

__all__ = ["GROUP", "PHASE_ONE", "SpcService", "baseline_record"]

GROUP = "spc"
BATCH = 1000
PHASE_ONE = "phase I"
"""Who made a baseline that nobody chose."""

log = structlog.get_logger()


class SpcService:
    """Keeps the charts of a line. The kpis topic has one partition, so one state and one position."""

    def __init__(self, config: LineConfig, bus: Bus, topics: Topics, *, member: str = GROUP) -> None:
        self.bus = bus
        self.topics = topics
        self.member = member
        self.config = config
        self.configured = rules_of(config)
        self.interval_s = config.kpi.checkpoint_interval_s
        self.begin(LineCharts(), 0)

    def begin(self, state: LineCharts, position: int) -> None:
        """Hold this state, nothing published of it yet."""
        self.state = state
        self.rules = in_force(state, self.configured)
        self.settings = settings_of(state, self.rules)
        self.models_read = -1
        self.position = self.saved = position
        self.points: list[ControlPoint] = []
        self.made: list[Baseline] = []
        self.caught_up = 0
        self.baselines_read = 0
        self.held: Partition | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`. An absent bus is waited for; then everything since the last checkpoint is folded again."""
        await stay_joined(GROUP, lambda: self.work(stop), stop)

    async def work(self, stop: asyncio.Event) -> None:
        """Join the group and fold until `stop`. Raises `BackendUnavailable`, `OffsetLost`."""
        self.begin(LineCharts(), 0)
        rebalance = Rebalance(self.assigned, self.revoked)
        async with self.bus.consumer(GROUP, [self.topics.kpis], member=self.member, rebalance=rebalance) as consumer:
            self.consumer = consumer
            try:
                await self.fold_until(stop)
            except BaseException:
                self.held = None  # half published perhaps: nothing of it may be saved on the way out
                raise

    async def fold_until(self, stop: asyncio.Event) -> None:
        """Poll, fold, and settle every interval."""
        clock = asyncio.get_running_loop().time
        due = clock() + self.interval_s
        while not stop.is_set():
            messages = await self.consumer.poll(BATCH, timedelta(seconds=max(0.0, due - clock())))
            if messages:
                await asyncio.to_thread(self.fold_all, messages)
            if clock() >= due:
                await self.settle()
                await self.follow_models()
                await self.take_chosen()
                due = clock() + self.interval_s
        await self.settle()

    async def assigned(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        """Restore state and position, and note how far another life of this service may have come."""
        for partition in partitions:
            checkpoint = await load_checkpoint(self.bus, self.topics, GROUP, partition)
            state, position = LineCharts(), 0
            if checkpoint is not None:
                state, position = await asyncio.to_thread(restore, checkpoint.state), checkpoint.position
            self.begin(state, position)
            self.held = partition
            spans = await self.bus.spans(self.topics.kpis)
            self.caught_up = spans[partition[1]].next
            if checkpoint is not None:
                return {partition: position}
        return {}

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        """Settle and forget what is given away."""
        if self.held in partitions:
            await self.settle()
            self.held = None

    def fold_all(self, messages: Sequence[Message]) -> None:
        """Fold messages in their order; what is no window is left to the sink, which puts it aside."""
        for message in messages:
            try:
                window = window_in(message, self.rules.metrics)
            except BadRecord as error:
                log.warning("a window cannot be charted", place=str(message.place), error=str(error))
                BAD_RECORDS.labels(message.topic).inc()
            else:
                before = self.state.baselines
                self.state, points, made = fold(self.state, window, self.rules, self.settings)
                self.points += points
                self.made += made
                if self.state.baselines is not before:
                    self.settings = settings_of(self.state, self.rules)
            self.position = message.offset + 1

    async def settle(self) -> None:
        """Publish points and baselines, then save state and position, then commit."""
        if self.held is None or self.position == self.saved:
            return
        outgoing = [
            Outgoing(self.topics.spc, f"{point.line}/{point.station}".encode(), *encode(point)) for point in self.points
        ]
        outgoing += [baseline_record(self.topics, made, PHASE_ONE) for made in self.made if await self.unclaimed(made)]
        if outgoing:
            await self.bus.publish(outgoing)
        for point in self.points:
            CONTROL_POINTS.labels(point.chart).inc()
            SPC_SIGNALS.labels(point.line, point.station).inc(len(point.signals))
        for made in self.made:
            told(made, PHASE_ONE)
        self.points, self.made = [], []
        await self.save_state()
        await self.consumer.commit({self.held: self.position})

    async def unclaimed(self, made: Baseline) -> bool:
        """Whether nobody chose limits for this place meanwhile: theirs must stay the newest on the topic."""
        identity = made.identity
        key = key_of(identity).encode()
        message = await self.bus.last(self.topics.baselines, key)
        if message is None:
            return True
        try:
            chosen = chosen_in(message)
            require(chosen, identity)
        except (BadRecord, BaselineRefused):
            return True  # of something else: no limits for what runs now
        return chosen.baseline_id == made.baseline_id

    async def save_state(self) -> None:
        """Save state and position as one record."""
        assert self.held is not None  # noqa: S101 - callers hold the partition
        topic, number = self.held
        state = await asyncio.to_thread(save, self.state)
        checkpoint = Checkpoint(group=GROUP, topic=topic, partition=number, position=self.position, state=state)
        await save_checkpoint(self.bus, self.topics, checkpoint)
        self.saved = self.position

    async def follow_models(self) -> None:
        """Where another model was activated, its predecessor's limits hold no longer; its own are learnt, or chosen."""
        if self.held is None or self.position < self.caught_up:
            return
        after = (await self.bus.spans(self.topics.models))[0].next
        if after == self.models_read:
            return
        activations = await read_activations(self.bus, self.topics, self.config.line, self.config.products)
        rules = await asyncio.to_thread(rules_of, as_activated(self.config, activations))
        self.models_read = after
        self.state, refused = turned_to(self.state, rules)
        for error in refused:
            log.warning("limits are no longer valid; learning new ones", error=str(error))
        if rules != self.rules:
            log.info("other models or settings are in force", models=rules.models)
            self.rules, self.baselines_read = rules, 0  # limits that were refused may be right for what runs now
            self.settings = settings_of(self.state, rules)
            await self.save_state()  # before any window meets it

    async def take_chosen(self) -> None:
        """Take baselines that somebody chose; the newest of each figure at each place."""
        if self.held is None or self.position < self.caught_up:
            return
        spans = await self.bus.spans(self.topics.baselines)
        if spans[0].next <= self.baselines_read:
            return
        newest: dict[str, Baseline] = {}
        async for batch in self.bus.read(
            self.topics.baselines, start={0: max(self.baselines_read, spans[0].first)}, end={0: spans[0].next}
        ):
            for message in batch:
                try:
                    chosen = chosen_in(message)
                except (BadRecord, BaselineRefused) as error:
                    refuse(message.place, error)
                else:
                    newest[key_of(chosen.identity)] = chosen
        for chosen in newest.values():
            await self.take_one(chosen)
        self.baselines_read = spans[0].next

    async def take_one(self, chosen: Baseline) -> None:
        """Take one baseline, unless it is held already, or of something else than what runs and is charted."""
        identity = chosen.identity
        if identity.metric not in self.rules.metrics:
            return
        try:
            require(chosen, self.rules.running(identity.line, identity.station, identity.product, identity.metric))
            setup(self.rules.figure(identity.metric).plans, chosen)  # whether its scale gives these charts
        except (BadRecord, BaselineRefused) as error:
            refuse(key_of(identity), error)
            return
        known = self.state.baselines.get(key_of(identity))
        if known is not None and known.baseline_id == chosen.baseline_id:
            return
        self.state = adopt(self.state, chosen)
        self.settings = settings_of(self.state, self.rules)
        await self.save_state()  # before any window meets it
        told(chosen, "chosen")


def refuse(place: object, error: Exception) -> None:
    """Say that a baseline is not taken."""
    log.warning("a baseline is refused", place=str(place), error=str(error))
    BASELINES.labels("refused").inc()


def window_in(message: Message, metrics: Sequence[str]) -> KpiWindow:
    """Return the window in a message. Raises `BadRecord` for anything else, and for counts that cannot be."""
    record = decode(message.value, message.headers)
    if not isinstance(record, KpiWindow):
        raise BadRecord(f"a {type(record).__name__} in {message.topic}, where KPI windows are expected")
    for metric in metrics:
        figure = METRICS[metric]
        amount, n = figure.counts(record)
        impossible = amount < 0 or n < 0 or record.end <= record.start
        if figure.family in {"binomial", "geometric"}:
            impossible = impossible or amount > n
        if figure.family == "means":
            squares = figure.squares(record)
            impossible = impossible or n * squares < amount * amount or (n == 0 and squares != 0)
        if impossible:
            raise BadRecord(
                f"a window of {record.line}/{record.station} with {amount} of {n} as {metric}, ending {record.end}"
            )
    return record


def chosen_in(message: Message) -> Baseline:
    """Return the baseline in a message. Raises `BadRecord`, `BaselineRefused`."""
    record = decode(message.value, message.headers)
    if not isinstance(record, SpcBaseline):
        raise BadRecord(f"a {type(record).__name__} in {message.topic}, where baselines are expected")
    return load(record.body)


def baseline_record(topics: Topics, made: Baseline, author: str) -> Outgoing:
    """Return a baseline as it goes on its topic."""
    identity = made.identity
    record = SpcBaseline(
        line=identity.line,
        station=identity.station,
        product=identity.product,
        metric=identity.metric,
        baseline_id=made.baseline_id,
        author=author,
        body=save_baseline(made),
    )
    return Outgoing(topics.baselines, key_of(identity).encode(), *encode(record))


def told(taken: Baseline, author: str) -> None:
    """Log limits that hold from now on."""
    BASELINES.labels(author).inc()
    log.info(
        "limits hold",
        station=taken.identity.station,
        product=taken.identity.product,
        metric=taken.identity.metric,
        baseline=taken.baseline_id[:12],
        author=author,
        centre=taken.scale.centre,
        subgroups=len(taken.subgroups),
    )
