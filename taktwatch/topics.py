"""The topics of a line and what each is set up for. A replay uses the same names under a prefix of its own."""

from dataclasses import dataclass
from datetime import timedelta

from taktwatch.bus import Bus, TopicSpec

__all__ = ["LIVE_PREFIX", "Topics", "lag", "replay_topics"]

LIVE_PREFIX = "taktwatch"


@dataclass(frozen=True)
class Topics:
    """Topic names under one prefix.

    >>> Topics().frames
    'taktwatch.frames'
    """

    prefix: str = LIVE_PREFIX

    @property
    def is_replay(self) -> bool:
        """Whether these are the topics of a replay run: nobody is called for what happens there."""
        return ".replay." in self.prefix

    @property
    def frames(self) -> str:
        """Encoded pictures, keyed by frame id, spread over many partitions."""
        return f"{self.prefix}.frames"

    @property
    def results(self) -> str:
        """Inspection results and station marks, keyed by line."""
        return f"{self.prefix}.results"

    @property
    def boards(self) -> str:
        """Verdicts of boards with revisions, keyed by line."""
        return f"{self.prefix}.boards"

    @property
    def kpis(self) -> str:
        """KPI windows with revisions; one partition."""
        return f"{self.prefix}.kpis"

    @property
    def spc(self) -> str:
        """Points of control charts with revisions, keyed by line and station; one partition."""
        return f"{self.prefix}.spc"

    @property
    def baselines(self) -> str:
        """Limits of control charts, keyed by line, station and product; compacted, kept for ever."""
        return f"{self.prefix}.baselines"

    @property
    def alerts(self) -> str:
        """Alert transitions and notifications; one partition."""
        return f"{self.prefix}.alerts"

    @property
    def reviews(self) -> str:
        """What people said of verdicts, keyed by line; append-only, kept for ever; one partition."""
        return f"{self.prefix}.reviews"

    @property
    def dead(self) -> str:
        """Bytes as received that could not be used."""
        return f"{self.prefix}.dead"

    @property
    def checkpoints(self) -> str:
        """State with its position, keyed by group and partition; compacted."""
        return f"{self.prefix}.checkpoints"

    @property
    def assets(self) -> str:
        """Golden templates by hash; compacted, kept for ever; one partition, so that a reader meets them in order."""
        return f"{self.prefix}.assets"

    @property
    def models(self) -> str:
        """Which model inspects which product, keyed by line and product; compacted, kept for ever; one partition."""
        return f"{self.prefix}.models"

    @property
    def shadow(self) -> str:
        """What a model that runs beside the counted one would have said, keyed by line; nothing counts it."""
        return f"{self.prefix}.shadow"

    def specs(self, retention: timedelta | None) -> list[TopicSpec]:
        """Return how each topic is set up; `retention` bounds frames, results, boards, KPIs and dead letters."""
        return [
            TopicSpec(self.frames, 8, retention),
            TopicSpec(self.results, 4, retention),
            TopicSpec(self.boards, 4, retention),
            TopicSpec(self.kpis, 1, retention),
            TopicSpec(self.spc, 1, retention),
            TopicSpec(self.baselines, 1, None, compacted=True),
            TopicSpec(self.alerts, 1, None),
            TopicSpec(self.reviews, 1, None),
            TopicSpec(self.dead, 1, retention),
            TopicSpec(self.checkpoints, 1, None, compacted=True),
            TopicSpec(self.assets, 1, None, compacted=True),
            TopicSpec(self.models, 1, None, compacted=True),
            TopicSpec(self.shadow, 1, retention),
        ]


def replay_topics(replay_id: str, prefix: str = LIVE_PREFIX) -> Topics:
    """Return the topics of a replay run; they are created with `retention=None`, since their records carry old times.

    >>> replay_topics("r1").results
    'taktwatch.replay.r1.results'
    """
    return Topics(f"{prefix}.replay.{replay_id}")


async def lag(bus: Bus, group: str, topic: str) -> int:
    """Return how many records of the topic the group has not committed yet."""
    committed = await bus.committed(group, topic)
    spans = await bus.spans(topic)
    return sum(span.next - committed.get(partition, span.first) for partition, span in spans.items())
