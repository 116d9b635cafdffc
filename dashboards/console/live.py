"""Keeps the live view up to date: tails the bus, watches the clock and the store, and tells the pages what changed."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from dashboards.console.hub import Hub
from dashboards.console.metrics import BUS_UP, RECORDS
from dashboards.console.present import alerts_out, board_out, review_out, station_out
from dashboards.console.schema import BoardOut, LineOut, SnapshotOut, StationOut, StationsOut
from dashboards.console.view import Heard, LiveView, empty_view, find_board, fold, line_clock
from taktwatch import __version__, clock
from taktwatch.bus import Bus, Message
from taktwatch.config import LineConfig
from taktwatch.errors import BackendUnavailable, BadInput, OffsetLost, RecordNotFound
from taktwatch.records import AlertTransition, InspectionResult, Notification, Review
from taktwatch.store import KpiQuery, KpiStore
from taktwatch.topics import Topics
from taktwatch.wire import decode

__all__ = ["LiveLine"]

RECALL_RESULTS = 2000
"""How many results and marks per partition are read back at the start: those of some minutes."""
RECALL_BOARDS = 2000
RECALL_ALERTS = 50_000
"""How many alert transitions are read back: an alert may stand for weeks."""
RECALL_REVIEWS = 2000
SNAPSHOT_BOARDS = 40
"""Boards of each station that a new page gets."""
RETRY_S = 1.0
TICK_S = 1.0
STATUS_TICKS = 5
KPI_TICKS = 2
KPI_WATCHED = timedelta(hours=1)
TICK_MARGIN = timedelta(minutes=1)

log = structlog.get_logger()


class LiveLine:
    """The newest of one line, folded from the bus, and what its pages are told. Used from one event loop."""

    def __init__(self, config: LineConfig, bus: Bus, topics: Topics, store: KpiStore, hub: Hub) -> None:
        self.config = config
        self.bus = bus
        self.topics = topics
        self.store = store
        self.hub = hub
        products = {station.name: station.product for station in config.stations}
        views = {name: product.views for name, product in config.products.items() if product.views > 1}
        self.view: LiveView = empty_view(config.line, products, config.reviews.sample_rate, views)
        self.silent_after = timedelta(seconds=config.kpi.silent_after_s)
        self.away: set[str] = {topics.results, topics.boards, topics.alerts, topics.reviews}
        self.store_away = False
        self.told: dict[str, str] = {}
        self.kpis_seen: dict[tuple[datetime, str, str], tuple[int, str]] = {}

    async def run(self) -> None:
        """Follow bus, clock and store for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.tail(self.topics.results, RECALL_RESULTS))
            group.create_task(self.tail(self.topics.boards, RECALL_BOARDS))
            group.create_task(self.tail(self.topics.alerts, RECALL_ALERTS))
            group.create_task(self.tail(self.topics.reviews, RECALL_REVIEWS))
            group.create_task(self.watch())

    async def tail(self, topic: str, recall: int) -> None:
        """Follow a topic for ever, from its recent past on; while the bus is away, keep what is known and try again."""
        positions: dict[int, int] | None = None
        while True:
            try:
                if positions is None:
                    positions = await self.recall(topic, recall)
                async for batch in self.bus.follow(topic, start=positions):
                    self.hear(topic)
                    for message in batch:
                        positions[message.partition] = message.offset + 1
                    self.take(batch)
            except OffsetLost as error:
                log.warning("reading the recent past again", topic=topic, reason=str(error))
                positions = None
            except (BackendUnavailable, RecordNotFound) as error:
                self.lose(topic, error)
                await asyncio.sleep(RETRY_S)

    async def recall(self, topic: str, most: int) -> dict[int, int]:
        """Fold the newest `most` records of each partition, tell the pages to draw anew, and return where to go on."""
        spans = await self.bus.spans(topic)
        start = {number: max(span.first, span.next - most) for number, span in spans.items()}
        end = {number: span.next for number, span in spans.items()}
        async for batch in self.bus.read(topic, start=start, end=end):
            for message in batch:
                self.fold(message)
        self.hear(topic)
        self.hub.publish("snapshot", self.snapshot().model_dump_json())
        return end

    def hear(self, topic: str) -> None:
        """Note that the bus answers."""
        if topic in self.away:
            self.away.discard(topic)
            BUS_UP.set(not self.away)
            self.hub.publish("status", self.line().model_dump_json())

    def lose(self, topic: str, error: Exception) -> None:
        """Note that the bus does not answer."""
        if topic not in self.away:
            log.warning("the bus is away", topic=topic, reason=str(error))
            self.away.add(topic)
            BUS_UP.set(0)
            self.hub.publish("status", self.line().model_dump_json())

    def fold(self, message: Message) -> Heard | None:
        """Fold one message; return it where it changed the view. What cannot be read is logged and left out."""
        try:
            record = decode(message.value, message.headers)
        except BadInput as error:
            log.warning("left out", place=message.place, reason=str(error))
            return None
        RECORDS.labels(topic=message.topic).inc()
        heard = Heard(record=record, place=message.place, logged_at=message.timestamp)
        before, self.view = self.view, fold(self.view, heard)
        return None if self.view is before else heard

    def take(self, batch: Iterable[Message]) -> None:
        """Fold a batch and tell the pages: every board, and each station and the alerts once."""
        alerts = False
        for message in batch:
            match self.fold(message):
                case Heard(record=InspectionResult(frame_id=frame_id)):
                    if board := find_board(self.view, frame_id):
                        self.hub.publish("result", board_out(board).model_dump_json())
                case Heard(record=AlertTransition() | Notification()):
                    alerts = True
                case Heard(record=Review() as review):
                    self.hub.publish("review", review_out(review).model_dump_json())
        if alerts:
            self.hub.publish("alert", alerts_out(self.view).model_dump_json())
        self.tell_stations()

    def tell_stations(self) -> None:
        """Send every station whose state, mark or last board changed since it was told last."""
        for station in self.stations().stations:
            text = station.model_dump_json()
            if self.told.get(station.station) != text:
                self.told[station.station] = text
                self.hub.publish("mark", text)

    async def watch(self) -> None:
        """Once a second: stations that fell silent, the server's clock, and KPI windows that changed in the store."""
        tick = 0
        while True:
            await asyncio.sleep(TICK_S)
            tick += 1
            self.tell_stations()
            if tick % STATUS_TICKS == 0:
                self.hub.publish("status", self.line().model_dump_json())
            if tick % KPI_TICKS == 0 and self.hub.clients:
                await self.watch_kpis()

    async def watch_kpis(self) -> None:
        """Tell the pages where a recent KPI window has a new revision."""
        until = line_clock(self.view, clock.now()) + TICK_MARGIN
        query = KpiQuery(window="1m", since=until - KPI_WATCHED, until=until, line=self.config.line)
        try:
            windows = await self.store.read(query)
        except BackendUnavailable as error:
            if not self.store_away:
                log.warning("the KPI store is away", reason=str(error))
            self.store_away = True
            return
        self.store_away = False
        seen = {(w.start, w.station, w.product): (w.revision, str(w.state)) for w in windows}
        if seen != self.kpis_seen:
            self.kpis_seen = seen
            self.hub.publish("kpi", f'{{"until": "{until.isoformat()}", "windows": {len(seen)}}}')

    def stations(self) -> StationsOut:
        """Return all stations as they are now."""
        now = clock.now()
        return StationsOut(stations=tuple(self.station(name, now) for name in self.view.stations))

    def station(self, name: str, now: datetime) -> StationOut:
        """Return one station as it is now."""
        return station_out(self.view.stations[name], now, self.silent_after)

    def boards(self, station: str | None, verdict: str | None, limit: int) -> tuple[BoardOut, ...]:
        """Return the newest boards in the order they were logged, newest first."""
        boards = [b for view in self.view.stations.values() if station in (None, view.station) for b in view.boards]
        boards.sort(key=lambda board: (board.logged_at, board.place.partition, board.place.offset), reverse=True)
        shown = (board_out(board) for board in boards)
        return tuple(board for board in shown if verdict in (None, board.verdict))[:limit]

    def line(self) -> LineOut:
        """Return the state of the line and of what the console stands on."""
        now = clock.now()
        return LineOut(
            line=self.config.line,
            now=now,
            clock=line_clock(self.view, now),
            bus="away" if self.away else "hearing",
            store="away" if self.store_away else "answering",
            version=__version__,
        )

    def snapshot(self) -> SnapshotOut:
        """Return what a page needs to begin."""
        return SnapshotOut(
            line=self.line(),
            stations=self.stations().stations,
            boards=tuple(board for name in self.view.stations for board in self.boards(name, None, SNAPSHOT_BOARDS)),
            alerts=alerts_out(self.view),
        )
