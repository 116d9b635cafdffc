"""The charts of a whole line: limits learnt where nobody chose any, and kept with what was folded.

    state, points, made = fold(state, window, rules, settings)

Pure. Each figure has charts and a baseline of its own. Without one its first subgroups of a product at a station are
collected (phase I); once there are enough, a baseline is made of them and holds from the next window on. A baseline
that somebody chose is taken by `adopt`. Which windows met which limits is part of the state: the same log and the same
adoptions give the same points.
"""

from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import attrgetter

import msgspec

from kpi_engine.spc.baseline import Baseline, BaselineRefused, Identity, require
from kpi_engine.spc.fold import SpcState, fold_window, subgroups_of
from kpi_engine.spc.fold import restore as restore_charts
from kpi_engine.spc.fold import save as save_charts
from kpi_engine.spc.merger import Merger
from kpi_engine.spc.phase1 import baseline
from kpi_engine.spc.plans import DEFAULT_PLANS, SECTIONS, Figure, Plan, SpcSettings, figure_of
from kpi_engine.spc.points import Subgroup
from kpi_engine.spc.rules import LIMITS_ONLY, Rule
from taktwatch.config import LineConfig
from taktwatch.errors import BadRecord, UnknownSchema
from taktwatch.records import ControlPoint, KpiWindow

__all__ = [
    "LineCharts",
    "LineRules",
    "adopt",
    "fold",
    "in_force",
    "key_of",
    "merger_of",
    "place_key",
    "restore",
    "save",
    "sections_of",
    "settings_of",
    "still_valid",
    "turned_to",
]

VERSION = 2
MOST_COLLECTED = 4
"""A process that gives no limits within so many times the wanted subgroups is judged by its latest ones."""


@dataclass(frozen=True)
class LineRules:
    """How charts are kept; `models` names the model of each product, `configs` the hash of its settings."""

    models: dict[str, str]
    configs: dict[str, str]
    wanted: int = 25
    metrics: tuple[str, ...] = ("defect_rate",)
    merger: Merger = field(default_factory=Merger)
    plans: tuple[Plan, ...] = DEFAULT_PLANS
    sections: Merger = SECTIONS
    rules: tuple[Rule, ...] = LIMITS_ONLY

    def figure(self, metric: str) -> Figure:
        """Say how a figure is charted. Raises `ValueError` for one that nothing is known of."""
        return figure_of(metric, self.plans, self.merger, self.sections, self.rules)

    def running(self, line: str, station: str, product: str, metric: str) -> Identity:
        """Say what runs at a station; a product that line.toml does not know has neither model nor settings."""
        return Identity(
            line=line,
            station=station,
            product=product,
            metric=metric,
            model_id=self.models.get(product, ""),
            config_sha256=self.configs.get(product, ""),
        )


class LineCharts(msgspec.Struct, frozen=True):
    """Charts, the baselines they are held to, and the subgroups collected where there is none, by `place_key`.

    What is collected is kept by model and settings, too: what another model saw gives no limits. `models` and `configs`
    are those in force by product, as in `LineRules`; none before anybody looked.
    """

    charts: SpcState = SpcState()
    baselines: dict[str, Baseline] = {}
    collected: dict[str, tuple[Subgroup, ...]] = {}
    version: int = VERSION
    models: dict[str, str] = {}
    configs: dict[str, str] = {}


def merger_of(config: LineConfig) -> Merger:
    """Return how line.toml wants windows of counts merged."""
    own = config.spc
    return Merger(min_n=own.min_n, least_n=own.least_n, max_age_us=round(own.max_age_hours * 3_600_000_000))


def sections_of(config: LineConfig) -> Merger:
    """Return how line.toml wants windows of measured values merged."""
    own = config.spc
    max_age_us = round(own.max_age_hours * 3_600_000_000)
    return Merger(min_n=own.sections, least_n=min(own.sections, 2), max_age_us=max_age_us)


def place_key(line: str, station: str, product: str, metric: str) -> str:
    """Name a figure of a product at a station.

    >>> place_key("line-1", "top", "board", "dpu")
    'line-1/top/board/dpu'
    """
    return f"{line}/{station}/{product}/{metric}"


def key_of(identity: Identity) -> str:
    """Name what a baseline is for."""
    return place_key(identity.line, identity.station, identity.product, identity.metric)


def fold(
    state: LineCharts, window: KpiWindow, rules: LineRules, settings: SpcSettings
) -> tuple[LineCharts, list[ControlPoint], list[Baseline]]:
    """Take one revision of a window; return the points that are new or changed, and baselines made of the first ones.

    `settings` are `settings_of` this state's baselines, kept from window to window. Only one-minute windows of
    single stations count: hours, and sums over stations, hold the same boards again.
    """
    if window.window != "1m" or not window.station:
        return state, [], []
    folded, points = fold_window(state.charts, window, settings)
    if folded is state.charts:
        return state, points, []
    state = msgspec.structs.replace(state, charts=folded)
    told, found = list[ControlPoint](), list[Baseline]()
    for metric, group in groupby(points, key=attrgetter("metric")):
        running = rules.running(window.line, window.station, window.product, metric)
        state, own, made = learn(state, list(group), running, rules)
        told += own
        found += [] if made is None else [made]
    return state, told, found


def learn(
    state: LineCharts, points: list[ControlPoint], running: Identity, rules: LineRules
) -> tuple[LineCharts, list[ControlPoint], Baseline | None]:
    """Collect the subgroups of a figure's points where it has no limits yet; return the baseline made of enough."""
    key = key_of(running)
    if key in state.baselines:
        return state, points, None
    learner = f"{key}\x1f{running.model_id}\x1f{running.config_sha256}"
    held = collect(state.collected.get(learner, ()), points, MOST_COLLECTED * rules.wanted)
    made = learnt(held, running, rules)
    points = [msgspec.structs.replace(point, collected=len(held), wanted=rules.wanted) for point in points]
    if made is None:
        return msgspec.structs.replace(state, collected={**state.collected, learner: held}), points, None
    return adopt(state, made), points, made


def learnt(held: tuple[Subgroup, ...], identity: Identity, rules: LineRules) -> Baseline | None:
    """Make a baseline of what was collected, or of its latest part; None while neither gives limits."""
    if len(held) < rules.wanted:
        return None
    for subgroups in (held, held[-rules.wanted :]):
        try:
            return baseline(subgroups, identity, family=rules.figure(identity.metric).family)
        except BaselineRefused:
            continue
    return None


def collect(held: tuple[Subgroup, ...], points: list[ControlPoint], most: int) -> tuple[Subgroup, ...]:
    """Add the subgroups of new points, put corrected ones in their place, and keep the latest `most`."""
    found = {group.start: group for group in held}
    for group in subgroups_of(points):
        found[group.start] = group
    return tuple(found[start] for start in sorted(found))[-most:]


def adopt(state: LineCharts, chosen: Baseline) -> LineCharts:
    """Hold a product at a station to a baseline from the next window on."""
    key = key_of(chosen.identity)
    collected = {place: held for place, held in state.collected.items() if not place.startswith(f"{key}\x1f")}
    return msgspec.structs.replace(state, baselines={**state.baselines, key: chosen}, collected=collected)


def still_valid(state: LineCharts, rules: LineRules) -> tuple[LineCharts, list[BaselineRefused]]:
    """Drop baselines of another model or configuration than what runs now, and say which and why."""
    kept, refused = {}, []
    for key, known in state.baselines.items():
        identity = known.identity
        try:
            require(known, rules.running(identity.line, identity.station, identity.product, identity.metric))
        except BaselineRefused as error:
            refused.append(error)
        else:
            kept[key] = known
    return (msgspec.structs.replace(state, baselines=kept) if refused else state), refused


def in_force(state: LineCharts, rules: LineRules) -> LineRules:
    """Return the rules with the models and settings that the state was folded with last."""
    return replace(rules, models=state.models, configs=state.configs) if state.models else rules


def turned_to(state: LineCharts, rules: LineRules) -> tuple[LineCharts, list[BaselineRefused]]:
    """Put other models and settings in force; baselines of what runs no more are dropped, and it is said why."""
    state, refused = still_valid(state, rules)
    return msgspec.structs.replace(state, models=rules.models, configs=rules.configs), refused


def settings_of(state: LineCharts, rules: LineRules) -> SpcSettings:
    """Return the settings of the charts; the baselines were checked when they were adopted."""
    limits = tuple((known.identity, known) for known in state.baselines.values())
    return SpcSettings(
        limits=limits,
        plans=rules.plans,
        metrics=rules.metrics,
        merger=rules.merger,
        sections=rules.sections,
        rules=rules.rules,
    )


def save(state: LineCharts) -> bytes:
    """Return the state as bytes."""
    return msgspec.msgpack.encode(state)


class Versioned(msgspec.Struct):
    """What every version of a saved state has."""

    version: int


def restore(saved: bytes) -> LineCharts:
    """Return what `save` wrote. Raises `BadRecord` for other bytes, `UnknownSchema` for another version's.

    Version 1 knew one figure a line: its baselines are named by their figure now, and what it had collected anew.
    """
    try:
        version = msgspec.msgpack.decode(saved, type=Versioned).version
        if version in {1, VERSION}:
            state = msgspec.msgpack.decode(saved, type=LineCharts)
            if version == 1:
                named = {key_of(known.identity): known for known in state.baselines.values()}
                state = msgspec.structs.replace(state, baselines=named, collected={}, version=VERSION)
            return msgspec.structs.replace(state, charts=restore_charts(save_charts(state.charts)))
    except msgspec.MsgspecError as error:
        raise BadRecord(f"a damaged checkpoint of control charts: {error}") from error
    raise UnknownSchema(f"a checkpoint of control charts of version {version}, this taktwatch reads {VERSION}")
