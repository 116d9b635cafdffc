"""Control limits that somebody chose: made of stored windows, printed, and told to the charts."""

import os
from collections.abc import Mapping
from datetime import datetime

from rich.console import Console
from rich.table import Table

from kpi_engine.spc.baseline import Baseline, BaselineRefused, load
from kpi_engine.spc.fold import merged_windows
from kpi_engine.spc.phase1 import baseline
from kpi_engine.spc.plans import METRICS
from kpi_engine.spc_line import key_of
from kpi_engine.spc_rules import rules_of
from kpi_engine.spc_service import baseline_record
from taktwatch.activation import as_activated, read_activations
from taktwatch.app import open_line
from taktwatch.bus import Bus
from taktwatch.capability import capability_of_sums
from taktwatch.config import LineConfig
from taktwatch.errors import ConfigError
from taktwatch.records import KpiWindow, SpcBaseline
from taktwatch.store import KpiQuery
from taktwatch.store.connect import open_store
from taktwatch.topics import Topics
from taktwatch.wire import decode

__all__ = ["choose_baseline", "print_baseline"]

AUTHOR = "taktwatch baseline"


async def choose_baseline(
    config: LineConfig,
    since: datetime,
    until: datetime,
    station: str,
    product: str | None,
    *,
    metric: str | None = None,
    publish: bool,
    environ: Mapping[str, str] = os.environ,
) -> Baseline:
    """Make a baseline of the closed one-minute windows starting in [since, until), and publish it if asked to.

    Of the first figure that line.toml names, where `metric` names none. Raises `ConfigError` for a station without
    product and a figure that is not charted, `UnknownProduct`, `BaselineRefused` where the windows give no
    limits.
    """
    product = product or product_at(config, station)
    config.product(product)
    metric = charted(config, metric)
    windows = await stored_windows(config, KpiQuery("1m", since, until, config.line, station, product), environ)
    async with open_line(config, ()) as line:
        activations = await read_activations(line.bus, line.topics, config.line, config.products)
        rules = rules_of(as_activated(config, activations))
        identity, figure = rules.running(config.line, station, product, metric), rules.figure(metric)
        previous = await newest_baseline(line.bus, line.topics, key_of(identity))
        if previous is not None and previous.identity != identity:
            previous = None  # of another model or configuration: nothing is continued
        subgroups = merged_windows(windows, metric, figure.merger)
        made = baseline(subgroups, identity, family=figure.family, previous=previous)
        if publish:
            await line.bus.publish([baseline_record(line.topics, made, AUTHOR)])
    return made


def charted(config: LineConfig, metric: str | None) -> str:
    """Return the figure asked for, the first one charted where none is. Raises `ConfigError` for one that is not."""
    if metric is None:
        return config.spc.metrics[0]
    if metric not in config.spc.metrics:
        raise ConfigError(f"{metric!r} is not charted; spc.metrics in line.toml names {', '.join(config.spc.metrics)}")
    return metric


def product_at(config: LineConfig, station: str) -> str:
    """Return what line.toml says is inspected at a station. Raises `ConfigError`."""
    for one in config.stations:
        if one.name == station:
            return one.product
    known = ", ".join(one.name for one in config.stations) or "none"
    raise ConfigError(f"no station {station!r} in line.toml ({known}); name its product with --product")


async def stored_windows(config: LineConfig, query: KpiQuery, environ: Mapping[str, str]) -> list[KpiWindow]:
    """Read windows from the store."""
    store = open_store(config.kpis_url, environ)
    try:
        return await store.read(query)
    finally:
        await store.close()


async def newest_baseline(bus: Bus, topics: Topics, key: str) -> Baseline | None:
    """Return the baseline published last for a place; None where there is none that can be read."""
    message = await bus.last(topics.baselines, key.encode())
    if message is None:
        return None
    record = decode(message.value, message.headers)
    try:
        return load(record.body) if isinstance(record, SpcBaseline) else None
    except BaselineRefused:
        return None


def print_baseline(console: Console, made: Baseline, config: LineConfig, *, published: bool) -> None:
    """Print limits, what they rest on and what was removed on the way, and of measured values their capability."""
    identity, unit = made.identity, METRICS[made.identity.metric].unit
    removed = [(number, group) for number, one in enumerate(made.rounds, 1) for group in one.removed]
    table = Table(show_header=False, title=f"Baseline {made.baseline_id[:12]}, version {made.version}")
    table.title_justify = "left"
    rows = {
        "of": f"{identity.metric} of {identity.product} at {identity.line}/{identity.station}",
        "from": f"{made.since:%Y-%m-%d %H:%M} to {made.until:%Y-%m-%d %H:%M} UTC",
        "centre": f"{made.scale.centre * unit:.6g}",
        "sigma z": f"{made.scale.sigma_z:.4g}",
        "limits": f"{made.lower * unit:.6g} to {made.upper * unit:.6g} (3 sigma at the mean n)",
        **capability_words(made, config),
        "n": f"{made.n:.0f} in {len(made.subgroups)} subgroups",
        "removed": f"{len(removed)} beyond {made.width:g} sigma, in {len(made.rounds)} rounds",
        "model": identity.model_id,
        "settings": identity.config_sha256[:12],
        "replaces": made.replaces[:12] or "nothing",
    }
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table)
    for number, group in removed:
        console.print(
            f"  removed in round {number}: {group.start:%Y-%m-%d %H:%M} to {group.end:%H:%M}, "
            f"{group.amount * unit:g} of {group.n:g}",
            highlight=False,
        )
    said = "published: it holds for coming subgroups" if published else "not published"
    console.print(f"id {made.baseline_id}\n{said}", highlight=False, soft_wrap=True)


def capability_words(made: Baseline, config: LineConfig) -> dict[str, str]:
    """Say how well measured values fit below their limit; nothing of other figures, or where nothing varies."""
    upper = config.product(made.identity.product).upper_limit(made.identity.metric)
    if upper is None:
        return {}
    sums = [(round(group.n), group.amount, group.squares) for group in made.subgroups]
    found = capability_of_sums(sums, upper, single=config.spc.sections == 1)
    if found is None:
        return {}
    return {
        name: f"{index.value:.3g} ({index.low:.3g} to {index.high:.3g}; at most {upper:g}, n = {found.n})"
        for name, index in (("Cpk", found.cpk), ("Ppk", found.ppk))
    }
